"""Kinds of samplers and calls: which steps a sampler makes, which prompts a run has, and calls of another size."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...scenescope.attention.record.selection import Branch
from ...scenescope.dims import Grid

RECORDER_KEY = "scenescope.record."
"""How the wrappers of every recorder are called."""
_FOLLOWING = ("comfy.k_diffusion.", "comfy.extra_samplers.")
_OWN_STEPS = ("sample_dpm_fast", "sample_dpm_adaptive")


def follows_schedule(sampler: Any) -> bool:
    """Whether a sampler is known to make one step for each pair of sigmas that it is given.

    Source: host contract, ComfyUI 0.33 `samplers.ksampler`, `sampler_object`: the functions of `k_diffusion.sampling`
    and `extra_samplers` do; `dpm_fast` and `dpm_adaptive`, which are called through functions of `samplers` itself,
    place steps of their own. Nothing is known about other packs' samplers.
    """
    module = str(getattr(getattr(sampler, "sampler_function", None), "__module__", ""))
    return module.startswith(_FOLLOWING) and sampler_name(sampler) not in _OWN_STEPS


def sampler_name(sampler: Any) -> str:
    """How a recording calls a sampler: by its function, or its class."""
    function = getattr(sampler, "sampler_function", None)
    return str(getattr(function, "__name__", type(sampler).__name__))


def other_extent(extent: Grid, latent: Grid) -> str:
    """Why a call for latents of another size than the run's is not recorded."""
    if extent.height >= latent.height and extent.width >= latent.width:
        return f"a call for larger latents, {extent} where the run began with {latent} (a sampler that upscales)"
    return f"a call for a part of the picture, {extent} of {latent} (tiles or similar)"


def contexts_of(guider: Any) -> dict[tuple[Branch, int], Tensor]:
    """The encoded prompts (1 token channel) of a guider's conditionings, by branch and place, copied to the CPU."""
    return {
        (branch, number): item["model_conds"]["c_crossattn"].cond[:1].detach().cpu().clone()
        for branch, items in guider.conds.items()
        for number, item in enumerate(items)
        if "c_crossattn" in item["model_conds"]
    }


def without_recorders(model: ModelPatcher) -> ModelPatcher:
    """A clone whose runs nobody records; other packs' wrappers stay on it."""
    clone = model.clone()
    for kind, wrappers in clone.wrappers.items():
        for key in [key for key in wrappers if str(key).startswith(RECORDER_KEY)]:
            clone.remove_wrappers_with_key(kind, key)
    return clone
