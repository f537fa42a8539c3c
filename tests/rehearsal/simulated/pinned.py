"""Memory of the host that the simulated device copies from without the host's waiting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_PINNED = WeakTensorKeyDictionary()
_empty = torch.empty


def unwritten(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
    """As `torch.empty`, which cannot pin memory where there is no accelerator."""
    made = _empty(*size, **options)
    if pin_memory:
        _PINNED[made] = True
    return made


def is_pinned(tensor: Tensor) -> bool:
    """Whether a tensor was made in pinned memory; a view of it was not."""
    return tensor in _PINNED
