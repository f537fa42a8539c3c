"""ComfyUI on the simulated device: what it asks about a GPU is answered here, and all else is its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as management
import pytest
import torch
from comfy.cli_args import args
from pack.scenescope import host_copies
from pack.scenescope.training.run import optimiser

from . import autocast  # noqa: F401  which the device has from its import on
from .backend import NAME, TOTAL
from .device import DEVICE, patch_torch


def put_host_on_device(patch: pytest.MonkeyPatch) -> None:
    """Let the host take the simulated device for its GPU.

    Source: host contract, ComfyUI 0.33 `comfy/model_management.py`.
    """
    patch_torch(patch.setattr)
    patch.setattr(torch.nn.Module, "_apply", _moving(torch.nn.Module._apply))
    patch.setattr(host_copies, "ARRIVALS", _Later())
    patch.setattr(host_copies, "PINNING", {NAME})
    patch.setattr(optimiser, "FUSED", {NAME})  # it steps many parameters at once, as CUDA does
    patch.setattr(args, "disable_pinned_memory", True)
    patch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    patch.setattr(management, "get_torch_device", lambda: DEVICE)
    patch.setattr(management, "text_encoder_device", lambda: DEVICE)
    patch.setattr(management, "vae_device", lambda: DEVICE)
    for name in ("get_total_memory", "get_free_memory"):
        patch.setattr(management, name, _memory(getattr(management, name)))
    for name in ("should_use_fp16", "should_use_bf16"):
        patch.setattr(management, name, lambda device=None, *_, **__: not management.is_device_cpu(device))
    patch.setattr(management, "lora_compute_dtype", lambda device: torch.float16)


def keep_all_on_device(patch: pytest.MonkeyPatch) -> None:
    """As `--gpu-only` does: pictures, masks, latents and conditionings stay on the device, and so do models."""
    patch.setattr(management, "intermediate_device", lambda: DEVICE)
    for name in ("text_encoder_offload_device", "unet_offload_device", "vae_offload_device"):
        patch.setattr(management, name, lambda: DEVICE)


class _Later:
    """A thread for arrivals that is never in time: whoever needs one waits for it, and is counted."""

    def submit(self, run: Callable[[], None]) -> _Late:
        return _Late(run)


class _Late:
    def __init__(self, run: Callable[[], None]) -> None:
        self._run: Callable[[], None] | None = run

    def result(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run()


def _moving(of_torch: Any) -> Any:
    """What moves a module: on a GPU, parameters from inference mode that are moved outside of it can't be viewed again.

    Here they can, because a simulated tensor takes the old one's place instead of its content's.
    """

    def apply(module: torch.nn.Module, *how: Any) -> torch.nn.Module:
        inside = torch.is_inference_mode_enabled()
        born = any(given.is_inference() for given in module.parameters(recurse=False))
        assert inside or not born, f"{type(module).__name__} is moved outside of inference mode, where it was born"
        moved: torch.nn.Module = of_torch(module, *how)
        return moved

    return apply


def _memory(of_host: Any) -> Any:
    def memory(dev: Any = None, *both: bool, **named: bool) -> Any:
        if dev is None or getattr(dev, "type", None) == NAME:
            return (TOTAL, 0) if any((*both, *named.values())) else TOTAL
        return of_host(dev, *both, **named)

    return memory
