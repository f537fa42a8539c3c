"""The pretended device without its numbers: what is launched for sizes that would take minutes to compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from . import device, streams


def forget_numbers(patch: pytest.MonkeyPatch) -> None:
    """Let operations have sizes alone, and let nothing arrive; who reads a value gets an error."""
    near = device._near

    def without(value: Any) -> Any:
        return value.near.to("meta") if isinstance(value, device.Far) else near(value)

    patch.setattr(device, "_near", without)
    patch.setattr(streams, "copy_late", lambda held, value: None)


def of_size(*size: int) -> Tensor:
    """A tensor in half precision on the device."""
    return device.Far(torch.empty(size, dtype=torch.float16, device="meta"))
