"""Where a recording comes from: sampler, seed, cfg, and a name for the model."""

from __future__ import annotations

import hashlib
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...scenescope.host_copies import to_host
from .calls import sampler_name


def about_run(sampler: Any, guider: Any, extra_args: dict[str, Any]) -> dict[str, str | int | float]:
    """Say what a sampling run is made with: sampler, seed, cfg, and the model."""
    about: dict[str, str | int | float] = {"sampler": sampler_name(sampler)}
    if extra_args.get("seed") is not None:
        about["seed"] = int(extra_args["seed"])
    if isinstance(getattr(guider, "cfg", None), (int, float)):
        about["cfg"] = float(guider.cfg)
    about["model"] = type(guider.inner_model).__name__
    about["model_hash"] = model_hash(guider.model_patcher)
    return about


def model_hash(model: ModelPatcher) -> str:
    """Name a model by a digest over some of its weights as they were loaded, before patches.

    Returns:
        16 hexadecimal digits; equal for equal checkpoints in the same precision.
    """
    names, shapes, parts = [], [], []
    weights = [name for name, _ in model.model.diffusion_model.named_parameters()]
    for name in weights[:: max(1, len(weights) // 16)]:
        full = f"diffusion_model.{name}"
        saved = model.backup.get(full)
        weight = saved.weight if saved is not None else model.model.diffusion_model.get_parameter(name)
        names.append(name)
        shapes.append(tuple(weight.shape))
        parts.append(weight.data.flatten()[:4096].float())
    digest = hashlib.sha256()
    for name, shape, part in zip(names, shapes, to_host(parts), strict=True):
        digest.update(f"{name}{shape}".encode())
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
