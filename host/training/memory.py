"""How much memory a run takes, in which precision it computes, and what to say if memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.model_management
import torch

from ...scenescope.dims import bytes_text
from ...scenescope.errors import HostError
from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from .copies import types_for
from .text_encoder import encoder_of

HELD = {("half", False): 1024, ("half", True): 213, ("single", False): 1507, ("single", True): 369}
"""Bytes that a step of phase 2 holds beyond what stays, for each latent cell and channel of the first level, by
precision and checkpointing: counted from shapes at 512x512."""
SINGLE_BYTES, HALF_BYTES = 4, 2
MOMENTS_BYTES = 2 + 8 / 256
"""Of both small moments of a weight: a byte each, and of each 256 their exponent, four bytes."""
GROUP_BYTES = 2**28
"""What the small optimiser computes with at a time."""
HOPELESS = 1.5
"""Multiple of a device's memory above which a run is not even started; below it, swapping may still let it through."""


def with_precision(settings: Settings, device: torch.device) -> Settings:
    """The settings with `auto` settled: bfloat16 where the device has it, else float16; float32 on a CPU.

    Source: host contract, ComfyUI 0.33 `model_management.should_use_bf16`, `should_use_fp16`.
    """
    if settings.precision != "auto":
        return settings
    manage = comfy.model_management
    if manage.is_device_cpu(device) or manage.is_device_mps(device):
        return replace(settings, precision="float32")
    if manage.should_use_bf16(device):
        return replace(settings, precision="bfloat16")
    return replace(settings, precision="float16" if manage.should_use_fp16(device) else "float32")


def memory_wanted(model: Any, clip: Any, scene: Scene, settings: Settings, *, checkpointing: bool = False) -> int:
    """Bytes of tensors that a run holds on the device at its peak: weights, what the optimiser keeps, and a step's own.

    The device needs some hundred MB more for its libraries, and for what lies unused between tensors.
    """
    settings = with_precision(settings, model.load_device)
    unet, encoder = model.model.diffusion_model, encoder_of(clip.cond_stage_model).transformer
    weights = sum(_bytes(module, settings) for module in (unet, encoder))
    cells = settings.batch * scene.latent.height * scene.latent.width
    width = int(model.model.model_config.unet_config.get("model_channels", 320))
    step = cells * width * HELD["single" if settings.precision == "float32" else "half", checkpointing]
    trained = _trained(unet, settings) + (_trained(encoder.text_model, settings) if settings.text_encoder else 0)
    if settings.mode == "lora" or not settings.phase2_steps:
        return weights + step + 4 * SINGLE_BYTES * trained
    return weights + _of_full(trained, step, settings, checkpointing)


def _of_full(trained: int, step: int, settings: Settings, checkpointing: bool) -> int:
    """Bytes beside the weights: their copy, two moments, and gradients, which come as what the step holds goes.

    The class pictures' pass runs while the gradients of the step's own are kept. In half precision a pass holds a half
    copy of each weight that it has met, unless blocks are computed twice.
    """
    earlier = settings.prior == "class"
    if settings.precision == "float32":
        gradients = SINGLE_BYTES * trained
        return 3 * SINGLE_BYTES * trained + (gradients + step if earlier else max(gradients, step))
    stays, gradients = int((SINGLE_BYTES + MOMENTS_BYTES) * trained), HALF_BYTES * trained
    copies = 0 if checkpointing else HALF_BYTES * trained
    return stays + max(gradients + GROUP_BYTES, copies + step + (gradients if earlier else 0))


def _bytes(module: torch.nn.Module, settings: Settings) -> int:
    type_of = types_for(settings)
    return sum(
        given.numel() * torch.finfo(type_of(layer, given)).bits // 8
        for layer in module.modules()
        for given in layer.parameters(recurse=False)
        if given.is_floating_point()
    )


def _trained(module: torch.nn.Module, settings: Settings) -> int:
    """Numbers that phase 2 trains in a module; the low-rank additions of `lora` stand beside linear layers."""
    if not settings.phase2_steps:
        return 0
    if settings.mode == "full":
        return sum(given.numel() for given in module.parameters())
    layers = (layer for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    return settings.rank * sum(layer.in_features + layer.out_features for layer in layers)


def is_short(model: Any, clip: Any, scene: Scene, settings: Settings) -> bool:
    """Ask the host for memory; whether there is so little of it that blocks have to be computed twice.

    Source: host contract, ComfyUI 0.33: its models are created in inference mode, in which nodes run. Whoever moves
    them to
    another device outside of it leaves parameters that torch refuses to view: it takes them for tensors that count
    their versions, and they have no count.
    """
    manage, device = comfy.model_management, model.load_device
    wanted = memory_wanted(model, clip, scene, settings)
    with torch.inference_mode():
        manage.free_memory(wanted, device)
    return not manage.is_device_cpu(device) and _helps(settings) and manage.get_free_memory(device) < wanted


def _helps(settings: Settings) -> bool:
    """Whether checkpointing lowers the peak; that of `full` in single precision is gradients and moments."""
    small = settings.mode == "lora" or not settings.phase2_steps
    return small or settings.precision != "float32" or settings.prior == "class"


@contextmanager
def memory_errors(model: Any, clip: Any, scene: Scene, settings: Settings, *, checkpointing: bool) -> Iterator[None]:
    """Say what to change if memory runs out."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        total = comfy.model_management.get_total_memory(model.load_device)
        comfy.model_management.soft_empty_cache()
        wanted = memory_wanted(model, clip, scene, settings, checkpointing=checkpointing)
        text = out_of_memory_text(model.load_device, (wanted, total), scene, settings, checkpointing=checkpointing)
        raise HostError(text) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on a GPU or not; cuBLAS has a word of its own for it.

    Source: host contract, ComfyUI 0.33 `model_management.is_oom`, which clears the driver's own error too;
    older ones have only the class, which is Exception itself where torch has none.
    """
    manage = comfy.model_management
    if isinstance(error, MemoryError):
        return True
    if manage.OOM_EXCEPTION is not Exception:
        known = getattr(manage, "is_oom", lambda given: isinstance(given, manage.OOM_EXCEPTION))
        if known(error):
            return True
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def out_of_memory_text(
    device: torch.device, room: tuple[int, int], scene: Scene, settings: Settings, *, checkpointing: bool = False
) -> str:
    """What is used up, and what to change; only what helps is named. The room is (bytes wanted, bytes there are)."""
    wanted, total = room
    return (
        f"Train Concepts: the memory of {device} is used up: it has {bytes_text(total)} in all, and about "
        f"{bytes_text(wanted)} are needed. In this order: {_advice(device, scene, settings, checkpointing)}. The run "
        "resumes from its last saved step."
    )


def refuse_hopeless(model: Any, clip: Any, scene: Scene, settings: Settings) -> None:
    """Refuse a run that needs far more memory than there is, even with every saving, before anything is copied.

    Raises:
        HostError: it wants more than `HOPELESS` times what the device has in all.
    """
    wanted = memory_wanted(model, clip, scene, settings, checkpointing=True)
    total = comfy.model_management.get_total_memory(model.load_device)
    if wanted > HOPELESS * total:
        raise HostError(
            f"Train Concepts: this run needs about {bytes_text(wanted)} of memory, and {model.load_device} has "
            f"{bytes_text(total)} in all. In this order: {_advice(model.load_device, scene, settings, True)}."
        )


def _advice(device: torch.device, scene: Scene, settings: Settings, checkpointing: bool) -> str:
    """What lowers the memory, in the order to try it."""
    advice = []
    if settings.mode == "full":
        advice.append("choose mode lora, which keeps no optimiser for all weights")
    if settings.mode == "lora" and settings.rank > 64:
        advice.append(f"lower rank from {settings.rank} to 64 or less")
    if settings.batch > 1:
        advice.append(f"lower batch from {settings.batch} to 1")
    if settings.precision == "float32" and device.type != "cpu":
        advice.append("set precision to auto, which halves the size")
    if _helps(settings) and not checkpointing:
        advice.append("switch on checkpointing")
    side = round((scene.size.height * scene.size.width) ** 0.5)
    lower = side * 3 // 4 // 8 * 8
    advice.append(f"lower Build Scene's resolution from {side} to {lower}, which about halves the need")
    return "; ".join(advice)
