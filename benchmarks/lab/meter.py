"""How long something takes and how much memory: a GPU's by its own events and allocator, a CPU's by the process's."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")


class Meter:
    """Measures on one device.

    Args:
        device: that computes; where it is the CPU, seconds are the process's own, so that others' work does not count.
    """

    def __init__(self, device: torch.device) -> None:
        self.module: Any = None if device.type == "cpu" else torch.get_device_module(device)

    def seconds(self, run: Callable[[], Any]) -> float:
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
