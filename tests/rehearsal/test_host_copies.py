"""Copies to and from devices that lack what CUDA has."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope import host_copies
from pack.scenescope.host_copies import HostCopies, sent
from pack.tests.rehearsal.counts import counting
from pack.tests.rehearsal.device import DEVICE
from pack.tests.rehearsal.recorded import assert_on_host

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
        far = sent(VALUES, DEVICE)
    assert counts.waited == waits
    assert torch.equal(far.cpu(), VALUES)


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
