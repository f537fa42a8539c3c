"""The simulated device without its numbers: what is launched for sizes that would take minutes to compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from . import device, streams


def forget_numbers(patch: pytest.MonkeyPatch) -> None:
    """Let operations have sizes alone, and let nothing arrive; who reads a value gets an error."""
    patch.setattr(device, "_numbers", lambda item: item.near.to("meta"))
    patch.setattr(streams, "copy_late", lambda held, value: None)


def of_size(*size: int) -> Tensor:
    """A tensor in half precision on the device."""
    return device.Far(torch.empty(size, dtype=torch.float16, device="meta"))
