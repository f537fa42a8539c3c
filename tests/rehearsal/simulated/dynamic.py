"""ComfyUI's dynamic memory on the simulated device: weights stay on the CPU and come over when a layer asks.

Its library needs a real GPU; what stands here in its place keeps memory by address, as that does.
"""

from __future__ import annotations

from typing import Any

import comfy.memory_management
import comfy.model_patcher
import comfy_aimdo.host_buffer
import comfy_aimdo.model_vbar
import comfy_aimdo.torch
import pytest
import torch
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from torch import Tensor

from .device import DEVICE

ALIGNED = 512


class Memory:
    """A model's memory on the device, given out piece by piece; there is always room.

    Source: host contract, comfy_aimdo 0.4 `model_vbar.ModelVBAR`.
    """

    def __init__(self, size: int, device: int) -> None:
        self._pieces: dict[int, Tensor] = {}
        self._next = 0

    def prioritize(self) -> None:
        """Nothing to be moved for it."""

    def alloc(self, num_bytes: int) -> tuple[Memory, int, int]:
        """A piece: of whom, where, and how many bytes."""
        at, self._next = self._next, self._next + -(-num_bytes // ALIGNED) * ALIGNED
        return self, at, num_bytes

    def fault(self, alloc: int, size: int) -> bytes:
        """The piece is there; the same name as before says that what it held is, too."""
        return b"there"

    def unpin(self, alloc: int, size: int) -> None:
        """The piece may be taken away again, but is not."""

    def loaded_size(self) -> int:
        """Bytes that are held."""
        return sum(piece.nbytes for piece in self._pieces.values())

    def free_memory(self, size_bytes: int) -> int:
        """Bytes that were given back."""
        return 0

    def tensor(self, at: int, size: int) -> Tensor:
        """The bytes of a piece."""
        if at not in self._pieces:
            self._pieces[at] = torch.empty(size, dtype=torch.uint8, device=DEVICE)
        return self._pieces[at]


class HostBuffer:
    """Pinned memory of the host, of which none is used.

    Source: host contract, comfy_aimdo 0.4 `host_buffer.HostBuffer`.
    """

    size = 0

    def __init__(self, *_sizes: int) -> None:
        """Nothing is pinned."""


def load_dynamically(patch: pytest.MonkeyPatch) -> None:
    """Let the host load models as it does where its library found a GPU.

    Source: host contract, ComfyUI 0.33 `main.py`, after `comfy_aimdo.control.init_devices`.
    """
    patch.setattr(comfy_aimdo.model_vbar, "ModelVBAR", Memory)
    patch.setattr(comfy_aimdo.model_vbar, "vbars_analyze", lambda *_: 0)
    patch.setattr(comfy_aimdo.host_buffer, "HostBuffer", HostBuffer)
    patch.setattr(comfy_aimdo.torch, "aimdo_to_tensor", _tensor)
    patch.setattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcherDynamic)
    patch.setattr(comfy.memory_management, "aimdo_enabled", True)
    patch.setattr(ModelPatcherDynamic, "_load_list", _load_list)


def _tensor(alloc: tuple[Any, int, int], _device: object) -> Tensor:
    memory, at, size = alloc
    return memory.tensor(at, size)


def _load_list(
    self: ModelPatcherDynamic, for_dynamic: bool = False, default_device: torch.device | None = None
) -> list[Any]:
    """As the host's; a parameter beside modules is put on the device as a new one, since it cannot change its kind."""
    for module in self.model.modules() if default_device is not None else ():
        own = dict(module.named_parameters(recurse=False))
        if own and len(own) < len(dict(module.named_parameters())):
            for key, parameter in own.items():
                kind = getattr(module, f"{key}_comfy_model_dtype", None)
                setattr(module, key, torch.nn.Parameter(parameter.to(default_device, kind), requires_grad=False))
    return ModelPatcher._load_list(self, for_dynamic)
