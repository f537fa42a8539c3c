"""Streams, events and late copies of the simulated device.

Streams are ordered by vector clocks: each knows how far it has followed the others, and a tensor that one stream wrote
may be read on another only after that one waited. A copy to the host arrives once somebody waited for it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from . import counts

LATE = 60
"""An event is over when so many operations were launched after it, or when it was waited for."""

Clock = Mapping[int, int]
"""How far streams are, by their numbers; 0 for those that are missing."""

LOCK = threading.RLock()
_NUMBERS = itertools.count()
_HERE = threading.local()
_OVER: dict[int, int] = {}
"""What the host knows to be over, and so all that it launches next may read; many runs leave streams behind."""


class Stream:
    """A queue of operations; `seen` says how far it has followed others, apart from what the host waited for."""

    def __init__(self, *_device: object, **_options: object) -> None:
        self.number, self.tick, self.seen = next(_NUMBERS), 0, dict[int, int]()

    def launch(self) -> None:
        """Take one more operation."""
        self.tick += 1
        _BUSY.add(self)

    def may_read(self, number: int, tick: int) -> bool:
        """Whether what a stream wrote is over before what this one does next."""
        return number == self.number or self.seen.get(number, 0) >= tick or _OVER.get(number, 0) >= tick

    def now(self) -> Clock:
        """How far each stream is, as this one sees it."""
        return {**self.seen, self.number: self.tick}

    def follow(self, seen: Clock) -> None:
        """Do nothing further before all this is over."""
        _go_on(self.seen, seen)

    def wait_stream(self, other: Stream) -> None:
        """As torch's."""
        self.follow(other.now())

    def wait_event(self, event: Event) -> None:
        """As torch's."""
        self.follow(event.seen)

    def record_event(self) -> Event:
        """As torch's."""
        event = Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        """The host waits for all of it."""
        wait("synchronize", upto=self.now())

    def query(self) -> bool:
        """Whether all of it is over."""
        return False


class Event:
    """A mark in a stream."""

    def __init__(self, *_device: object, enable_timing: bool = False, **_options: object) -> None:
        self.seen: Clock = {}
        self._at, self._timed, self._when = 0, enable_timing, 0.0

    def record(self, stream: Stream | None = None) -> None:
        """Mark what the stream has been given so far."""
        self.seen, self._at = (stream or current_stream()).now(), counts.launched()
        self._when = time.perf_counter()

    def synchronize(self) -> None:
        """The host waits for it."""
        wait("event", upto=self.seen)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this to another, both of which were made for it."""
        if not (self._timed and end._timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        return 1000 * (end._when - self._when)

    def query(self) -> bool:
        """Whether it is over; the host does not wait."""
        over = counts.launched() >= self._at + LATE
        if over:
            with LOCK:
                _arrive(self.seen)
        return over


@dataclass(frozen=True)
class _Late:
    """A copy that has not arrived."""

    held: Tensor
    value: Tensor
    stream: int
    tick: int


_PENDING: list[_Late] = []


def copy_late(held: Tensor, value: Tensor) -> None:
    """Let a tensor of the host hold a value as soon as somebody waited for what this stream has been given."""
    stream = current_stream()
    _PENDING.append(_Late(held, value, stream.number, stream.tick))


def wait(kind: str, upto: Clock | None = None) -> None:
    """The host waits for the device, or for a part of what it was given."""
    with LOCK:
        counts.count_wait(kind)
        if upto is None:
            upto = {stream.number: stream.tick for stream in _BUSY}
            _BUSY.clear()
        _arrive(upto)


def _arrive(seen: Clock) -> None:
    """The host knows that this is over, and so does all that it launches next."""
    arrived = [late for late in _PENDING if seen.get(late.stream, 0) >= late.tick]
    _PENDING[:] = [late for late in _PENDING if seen.get(late.stream, 0) < late.tick]
    for late in arrived:
        late.held.copy_(late.value)
    _go_on(_OVER, seen)


def _go_on(clock: dict[int, int], seen: Clock) -> None:
    """Put a clock on to where another is further."""
    for number, tick in seen.items():
        if clock.get(number, 0) < tick:
            clock[number] = tick


def current_stream(device: object = None) -> Stream:
    """As torch's."""
    return getattr(_HERE, "stream", _FIRST)


@contextlib.contextmanager
def on_stream(stream: Stream) -> Iterator[None]:
    """As torch's `stream`."""
    before = current_stream()
    _HERE.stream = stream
    try:
        yield
    finally:
        _HERE.stream = before


_BUSY: set[Stream] = set()
"""Streams that were given something since the host last waited for all."""
_FIRST = Stream()
