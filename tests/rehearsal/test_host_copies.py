"""Copies to and from devices that lack what CUDA has."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope import host_copies
from pack.scenescope.host_copies import DeviceCopies, HostCopies, to_device
from pack.tests.rehearsal.recorded import assert_on_host
from pack.tests.rehearsal.simulated.counts import counting
from pack.tests.rehearsal.simulated.device import DEVICE

VALUES = torch.tensor([1.0, 2.0, 3.0])


def test_maps_arrive_from_a_device_that_torch_has_no_module_of(monkeypatch: pytest.MonkeyPatch):
    """Oracle: the numbers that were sent (DirectML; torch raises as it does here)."""
    far = VALUES.to(DEVICE)
    other = torch.get_device_module

    def none(device: object = None) -> object:
        return other(torch.device("meta"))

    monkeypatch.setattr(torch, "get_device_module", none)
    copies = HostCopies()
    incoming = copies.add(far)
    copies.send()
    assert torch.equal(incoming.get(), VALUES)


@pytest.mark.parametrize(("pinning", "waits"), [({DEVICE.type}, 0), (set(), 1)])
def test_only_devices_that_keep_pinned_memory_copy_without_a_wait(
    pinning: set[str], waits: int, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: by hand: one copy, waited for where its source may be used afresh before it is through."""
    monkeypatch.setattr(host_copies, "PINNING", pinning)
    with counting() as counts:
        (far,) = to_device([VALUES], DEVICE)
    assert counts.waited == waits
    assert torch.equal(far.cpu(), VALUES)


MIXED = [VALUES, torch.tensor([[1, -2]], dtype=torch.int8), torch.rand(3, 5).half(), torch.tensor(2.0), VALUES[:0]]


def test_what_will_be_asked_for_goes_over_with_the_first_whatever_its_type():
    """Oracle: the numbers that were sent, in any order; one upload, which is not waited for."""
    copies = DeviceCopies()
    copies.expect(MIXED)
    with counting() as counts:
        far = [copies.take(tensor, DEVICE) for tensor in (MIXED[1], MIXED[2], MIXED[0], *MIXED[3:])]
    assert counts.waited == 0, counts.most()
    assert counts.launches == 2  # the first of them was asked for later than it was expected
    for tensor, its in zip((MIXED[1], MIXED[2], MIXED[0], *MIXED[3:]), far, strict=True):
        assert its.dtype == tensor.dtype
        assert its.shape == tensor.shape
        assert torch.equal(its.cpu(), tensor)


def test_a_device_that_may_misread_bytes_gets_each_tensor_as_it_is(monkeypatch: pytest.MonkeyPatch):
    """Oracle: by hand: one upload each and no view of bytes as another type, which crashed MPS until torch 2.6."""
    monkeypatch.setattr(host_copies, "PINNING", set())
    copies = DeviceCopies()
    copies.expect(MIXED[:4])
    with counting() as counts:
        far = [copies.take(tensor, DEVICE) for tensor in MIXED[:4]]
    assert counts.launches == 4
    assert all(torch.equal(its.cpu(), tensor) for its, tensor in zip(far, MIXED[:4], strict=True))


def test_uploads_are_parted_where_they_are_large(monkeypatch: pytest.MonkeyPatch):
    """Oracle: by hand: two tensors fit in a part, and the third has one of its own; what nobody expected goes alone."""
    monkeypatch.setattr(host_copies, "PART_BYTES", 2 * VALUES.nbytes)
    copies, tensors = DeviceCopies(), [VALUES * times for times in (1, 2, 3, 4)]
    copies.expect(tensors[:3])
    with counting() as counts:
        far = [copies.take(tensor, DEVICE) for tensor in tensors]
    assert counts.launches == 3
    assert all(torch.equal(its.cpu(), tensor) for its, tensor in zip(far, tensors, strict=True))


def test_what_there_is_no_room_to_pack_is_copied_by_itself(monkeypatch: pytest.MonkeyPatch):
    """Oracle: the numbers that were sent, on the host; the device has no memory for the packet."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(host_copies, "_Packet", full)
    copies = HostCopies()
    incoming = [copies.add((VALUES * times).to(DEVICE)) for times in (1, 2)]
    copies.send()
    assert_on_host(*(item.get() for item in incoming))
    assert torch.equal(incoming[1].get(), VALUES * 2)
