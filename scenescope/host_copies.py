"""Between the CPU and a device: many tensors in one copy, which runs in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import RLock
from typing import Any
from weakref import ref

import torch
from torch import Tensor

PART_BYTES = 64 * 2**20
"""At most this much may wait on a device before it is sent."""
ALIGNED = 64
"""In a buffer of several types, each tensor begins at a multiple of so many bytes."""
DEVICE_BYTES = 256 * 2**20
"""At most this much may be on its way; then the oldest copy is waited for, and its memory is freed."""
PINNING = {"cuda", "xpu"}
"""Devices whose pinned memory is not used again before copies from it are through; that of others may be."""
ARRIVALS = ThreadPoolExecutor(1, thread_name_prefix="scenescope-arrivals")
"""Takes in what has arrived during the model's next step: new memory for 8 MB of maps takes the CPU some 5 ms."""


class Incoming:
    """A tensor that will be on the CPU; `get` waits if it is not there yet.

    Args:
        value: where it is now; on the CPU it is available at once.
    """

    def __init__(self, value: Tensor) -> None:
        self.nbytes = value.numel() * value.element_size()
        self._value: Tensor | None = value
        self._packet: _Packet | None = None
        self._index = 0

    @property
    def at_hand(self) -> bool:
        """Whether it is on the CPU."""
        return self._packet is None and self._value is not None and self._value.device.type == "cpu"

    def get(self) -> Tensor:
        """The tensor on the CPU, in memory of its own."""
        if self._packet is not None:
            self._value, self._packet = self._packet.take(self._index), None
        assert self._value is not None
        self._value = self._value.cpu()  # where it was in no packet
        return self._value

    def pack(self, packet: _Packet, index: int) -> None:
        """Travel in a packet from now on."""
        self._value, self._packet, self._index = None, packet, index

    def queued(self) -> Tensor | None:
        """The tensor, as long as it is in no packet."""
        return self._value


class HostCopies:
    """Sends tensors to the CPU, those of a device and type in one buffer with one copy on a stream of its own.

    The copies go to pinned memory; where a device has no streams, or no more memory can be pinned, the packet's one
    copy is waited for. Tensors that nobody needs any more by then are left out.
    """

    def __init__(self) -> None:
        self._queue: list[ref[Incoming]] = []
        self._queued_bytes = 0
        self._flying: deque[_Packet] = deque()
        self._streams: dict[torch.device, Any] = {}
        self._lock = RLock()  # several devices may answer parts of one evaluation at the same time

    def add(self, tensor: Tensor) -> Incoming:
        """Queue a tensor, which nobody may write to afterwards."""
        incoming = Incoming(tensor)
        if not incoming.at_hand:
            with self._lock:
                self._queue.append(ref(incoming))
                self._queued_bytes += incoming.nbytes
                if self._queued_bytes >= PART_BYTES:
                    self.send()
        return incoming

    def send(self) -> None:
        """Begin to copy all that is queued."""
        with self._lock:
            queue, self._queue, self._queued_bytes = self._queue, [], 0
            groups: dict[tuple[torch.device, torch.dtype], list[tuple[Incoming, Tensor]]] = {}
            for item in filter(None, (queued() for queued in queue)):
                if (tensor := item.queued()) is not None:
                    groups.setdefault((tensor.device, tensor.dtype), []).append((item, tensor))
            for (device, _), items in groups.items():
                try:
                    packet = _Packet([tensor for _, tensor in items], self._stream(device))
                except torch.OutOfMemoryError:  # each is copied by itself when it is asked for
                    continue
                for index, (item, _) in enumerate(items):
                    item.pack(packet, index)
                self._flying.append(packet)
            while sum(packet.device_bytes for packet in self._flying) > DEVICE_BYTES:
                self._flying.popleft().land()
            while self._flying and not self._flying[0].device_bytes:
                self._flying.popleft()

    def _stream(self, device: torch.device) -> Any:
        """A stream of the device for copies alone; None where it has no streams."""
        if device not in self._streams:
            try:
                kind = getattr(torch.get_device_module(device), "Stream", None)
            except RuntimeError:  # torch has no module for it (DirectML)
                kind = None
            self._streams[device] = None if kind is None else kind(device)
        return self._streams[device]


class _Packet:
    """Tensors of one device and type in one buffer, on its way to the CPU."""

    def __init__(self, tensors: Sequence[Tensor], stream: Any) -> None:
        self._shapes = [tensor.shape for tensor in tensors]
        self._packed: Tensor | None = torch.cat([tensor.reshape(-1) for tensor in tensors])  # (number)
        self._event: Any = None
        self._parts: list[Tensor | None] = []
        self._host = self._begin(self._packed, stream)
        self._arrival: Future[None] | None = None
        if self._event is None:
            self._arrive()
        else:  # in the mode of whoever sends it, which a thread does not have by itself
            self._arrival = ARRIVALS.submit(torch.inference_mode(torch.is_inference_mode_enabled())(self._arrive))

    @property
    def device_bytes(self) -> int:
        """Bytes that it holds on the device."""
        packed = self._packed  # which may arrive meanwhile
        return 0 if packed is None else packed.numel() * packed.element_size()

    def land(self) -> None:
        """Wait until it is here, if it is not yet."""
        if self._arrival is not None:
            self._arrival.result()

    def _arrive(self) -> None:
        """Wait for the copy, give its memory on the device back, and part what it brought."""
        if self._event is not None and not self._event.query():
            self._event.synchronize()
        self._packed = None
        pieces = self._host.split([shape.numel() for shape in self._shapes])
        # Memory of their own: pinned memory is scarce, and one map must not keep all the others alive.
        self._parts = [piece.reshape(shape).clone() for piece, shape in zip(pieces, self._shapes, strict=True)]
        self._host = self._host[:0].clone()

    def take(self, index: int) -> Tensor:
        """One of the tensors, once."""
        self.land()
        part, self._parts[index] = self._parts[index], None
        assert part is not None
        return part

    def _begin(self, packed: Tensor, stream: Any) -> Tensor:
        if stream is None:
            return packed.cpu()
        try:
            host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
        except RuntimeError:  # no more memory can be pinned
            return packed.cpu()
        module = torch.get_device_module(packed.device)
        stream.wait_stream(module.current_stream(packed.device))
        with module.stream(stream):
            host.copy_(packed, non_blocking=True)
            self._event = stream.record_event()
        return host


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors to the CPU with one wait for each device and type, not one for each tensor.

    >>> [part.tolist() for part in to_host([torch.tensor([1.0]), torch.tensor([[2.0, 3.0]])])]
    [[1.0], [[2.0, 3.0]]]
    """
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    found = list(tensors)
    for index, tensor in enumerate(found):
        if tensor.device.type != "cpu":
            groups.setdefault((tensor.device, tensor.dtype), []).append(index)
    for indices in groups.values():
        packet = _Packet([found[index] for index in indices], None)
        for place, index in enumerate(indices):
            found[index] = packet.take(place)
    return found


def to_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copy float32 tensors from the CPU to a device in one buffer that the host does not wait for.

    >>> [part.tolist() for part in to_device([torch.tensor([1.0]), torch.tensor([[2.0, 3.0]])], torch.device("cpu"))]
    [[1.0], [[2.0, 3.0]]]
    """
    if device.type == "cpu":
        return list(tensors)
    parts = _sent_as_one([tensor.reshape(-1) for tensor in tensors], device)
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _sent_as_one(pieces: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Pieces (number) of one type in one buffer; by way of pinned memory, from where alone the host need not wait."""
    sizes = [len(piece) for piece in pieces]
    try:
        pinned = torch.empty(sum(sizes), dtype=pieces[0].dtype, pin_memory=True) if device.type in PINNING else None
    except RuntimeError:  # no more memory can be pinned: the copy is waited for
        pinned = None
    if pinned is None:
        return torch.cat(list(pieces)).to(device).split(sizes)
    return torch.cat(list(pieces), out=pinned).to(device, non_blocking=True).split(sizes)


class DeviceCopies:
    """Sends tensors of the CPU to a device: with the first that is asked for go those that will be next."""

    def __init__(self) -> None:
        self._expected: list[Tensor] = []
        self._there: dict[int, tuple[Tensor, Tensor]] = {}  # the CPU's, held, and the device's
        self._lock = RLock()  # several devices may answer parts of one evaluation at the same time

    def expect(self, tensors: Iterable[Tensor]) -> None:
        """Soon these will be asked for, in this order."""
        with self._lock:
            self._expected += tensors

    def take(self, tensor: Tensor, device: torch.device) -> Tensor:
        """A tensor on a device.

        >>> copies, values = DeviceCopies(), torch.tensor([1.0, 2.0])
        >>> copies.expect([values])
        >>> copies.take(values, torch.device("cpu")).tolist()
        [1.0, 2.0]
        """
        if device.type not in PINNING:  # others have misread bytes that are taken for another type (torch 2.5 on MPS)
            return tensor.to(device)
        with self._lock:
            if id(tensor) not in self._there:
                self._send(tensor, device)
            return self._there.pop(id(tensor))[1]

    def _send(self, first: Tensor, device: torch.device) -> None:
        """As bytes, since types are mixed, each beginning where any type may begin."""
        queue = self._expected
        at = next((at for at, tensor in enumerate(queue) if tensor is first), len(queue))
        going, held = [first], first.nbytes
        for tensor in queue[at + 1 :]:
            held += tensor.nbytes
            if held > PART_BYTES:
                break
            going.append(tensor)
        self._expected = queue[:at] + queue[at + len(going) :]
        pieces = []
        for tensor in going:
            pieces += [tensor.reshape(-1).view(torch.uint8), torch.empty(-tensor.nbytes % ALIGNED, dtype=torch.uint8)]
        for tensor, piece in zip(going, _sent_as_one(pieces, device)[::2], strict=True):
            self._there[id(tensor)] = tensor, piece.view(tensor.dtype).view(tensor.shape)
