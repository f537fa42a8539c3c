"""What `torch.simulated` offers, by `torch.cuda`'s names: streams, events, memory, and the mode that tells of waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from . import counts, streams

NAME = "simulated"
TOTAL = 8 * 2**30
"""Bytes that the device says it has."""


class Backend:
    """The module of the device; memory is not counted, so that peaks are 0."""

    Stream, Event = streams.Stream, streams.Event
    stream, current_stream = staticmethod(streams.on_stream), staticmethod(streams.current_stream)

    @staticmethod
    def synchronize(device: object = None) -> None:
        streams.wait("synchronize")

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def get_device_name(device: object = None) -> str:
        return "a simulated device"

    @staticmethod
    def get_device_properties(device: object = None) -> Any:
        return SimpleNamespace(name=Backend.get_device_name(), total_memory=TOTAL, major=0, minor=0)

    @staticmethod
    def empty_cache() -> None:
        return None

    @staticmethod
    def memory_allocated(device: object = None) -> int:
        return 0

    max_memory_allocated = max_memory_reserved = memory_allocated

    @staticmethod
    def reset_peak_memory_stats(device: object = None) -> None:
        return None

    @staticmethod
    def set_per_process_memory_fraction(fraction: float, device: object = None) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0 ~ 1")

    @staticmethod
    def get_sync_debug_mode() -> int:
        return counts.telling()

    @staticmethod
    def set_sync_debug_mode(debug_mode: int | str) -> None:
        counts.tell({"default": 0, "warn": 1}.get(debug_mode, debug_mode))

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        return None

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    @staticmethod
    def get_rng_state(device: object = None) -> Tensor:
        raise RuntimeError("simulated: the device has no random state")

    @staticmethod
    def set_rng_state(new_state: Tensor, device: object = None) -> None:
        raise RuntimeError("simulated: the device has no random state")
