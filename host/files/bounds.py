"""How far a stranger's file is read: up to the free memory, and only until a cancel."""

from __future__ import annotations

import comfy.model_management
import torch

from ...scenescope.files.safetensors_file import Bounds


def reading_bounds() -> Bounds:
    """The current bounds, for one file."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    return Bounds(room=int(free), between=comfy.model_management.throw_exception_if_processing_interrupted)
