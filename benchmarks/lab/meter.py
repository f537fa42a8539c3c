"""How long something takes and how much memory: a GPU's by its own events and allocator, a CPU's by the process's."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")
Work = Callable[[], Any]


class Meter:
    """Measures on one device.

    Args:
        device: that computes; where it is the CPU, seconds are the process's own, so that others' work does not count.
    """

    def __init__(self, device: torch.device) -> None:
        self.module: Any = None if device.type == "cpu" else torch.get_device_module(device)

    def seconds(self, run: Work) -> float:
        """Time a run, on a GPU between events at both of its ends."""
        if self.module is None:
            begun = time.process_time()
            run()
            return time.process_time() - begun
        begin, end = (self.module.Event(enable_timing=True) for _ in range(2))
        self.module.synchronize()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def steps(self, step: Work, warm: int, count: int) -> list[float]:
        """Seconds of some steps after some that warm up; peaks are of those that count."""
        for _ in range(warm):
            step()
        self.forget_peaks()
        return [self.seconds(step) for _ in range(count)]

    def in_turn(self, runs: Sequence[Work], turns: int) -> Iterator[tuple[int, float]]:
        """Time all runs in each turn, their order reversed from one to the next: what drifts falls on all alike.

        Yields:
            which run it was, and its seconds; peaks are its own.
        """
        for turn in range(turns):
            for place in list(range(len(runs)))[:: -1 if turn % 2 else 1]:
                self.forget_peaks()
                yield place, self.seconds(runs[place])

    def forget_peaks(self) -> None:
        """Count peaks again, where it can be done: loading a model takes more than some of the training."""
        if self.module is not None:
            self.module.reset_peak_memory_stats()
        elif STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5", "ascii")

    def peak(self) -> int:
        """Bytes at most since `forget_peaks`: of a GPU's tensors, else resident (since the start, but on Linux)."""
        if self.module is not None:
            return int(self.module.max_memory_allocated())
        if not STATUS.exists():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        line = next(line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def reserved(self) -> int:
        """Bytes that a GPU's allocator held at most since `forget_peaks`."""
        return int(self.module.max_memory_reserved())
