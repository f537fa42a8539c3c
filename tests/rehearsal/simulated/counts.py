"""What happens on the simulated device: operations launched, and each wait of the host for it, with its line."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS = tuple(str(ROOT / folder) + "/" for folder in ("scenescope", "host", "nodes"))
_WRAPPERS = "/comfy/patcher_extension.py"
_PASSED_OVER = ("/torch/", "/einops/", "/tests/rehearsal/")


@dataclass(eq=False)
class Counts:
    """What was counted while `counting`.

    Args:
        launches: operations that a device would be given.
        operations: the same by name.
        waits: how often the host waited, by (kind, where): `item`, `to host`, `to device`, `event`, ...
    """

    launches: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def waited(self) -> int:
        """All waits."""
        return sum(self.waits.values())

    def minus(self, other: Counts) -> Counts:
        """What is more than another's: of a recorded run, what recording adds."""
        return Counts(self.launches - other.launches, self.operations, self.waits - other.waits)

    def most(self) -> str:
        """The lines that wait most, for a message."""
        return "; ".join(f"{count} times {kind} at {where}" for (kind, where), count in self.waits.most_common(6))


_OPEN: list[Counts] = []
_LAUNCHED, _TELLING = [0], [0]
_NOT_TOLD = ("event", "synchronize")


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Count until left."""
    counts = Counts()
    _OPEN.append(counts)
    try:
        yield counts
    finally:
        _OPEN.remove(counts)


def count_launch(name: str) -> None:
    """An operation is given to the device."""
    _LAUNCHED[0] += 1
    for counts in _OPEN:
        counts.launches += 1
        counts.operations[name] += 1


def launched() -> int:
    """Operations so far, which serve as the device's time."""
    return _LAUNCHED[0]


def count_wait(kind: str) -> None:
    """The host waits for the device; CUDA's mode warns of it, but not where the host says itself that it waits."""
    if _TELLING[0] and kind not in _NOT_TOLD:
        warnings.warn(f"called a synchronizing CUDA operation ({kind} at {_line()})", stacklevel=3)
    if _OPEN and not threading.current_thread().name.startswith("scenescope"):  # a writer's wait holds nobody up
        where = _line()
        for counts in _OPEN:
            counts.waits[kind, where] += 1


def telling() -> int:
    """Whether waits are warned of: 0 or 1, as `torch.cuda.get_sync_debug_mode` has it."""
    return _TELLING[0]


def tell(mode: int) -> None:
    """Warn of waits, or no more."""
    _TELLING[0] = mode


def _line() -> str:
    """The line of the pack that caused what happens now, else the nearest line of the host's.

    What the host does while a wrapper of the pack's waits for it is the host's own: a plain run has it too.
    """
    nearest, frame = "", sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if nearest and name.endswith(_WRAPPERS):
            return nearest
        if name.startswith(OURS):
            return f"{name[len(str(ROOT)) + 1 :]}:{frame.f_lineno}"
        if not nearest and not any(part in name for part in _PASSED_OVER):
            nearest = f"{'/'.join(name.split('/')[-3:])}:{frame.f_lineno}"
        frame = frame.f_back
    return nearest or "the backward pass"
