"""Sampling as the stock KSampler does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.samplers

from .. import core_nodes


@dataclass(frozen=True)
class SamplerSettings:
    """The stock KSampler's widgets.

    Args:
        seed: of the starting noise.
        steps: sampler steps.
        cfg: classifier-free guidance.
        sampler_name: one of `samplers()`.
        scheduler: one of `schedulers()`.
        denoise: 0..1, how much of the latent is replaced.
    """

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    denoise: float = 1.0

    @classmethod
    def of(cls, widgets: dict[str, Any]) -> SamplerSettings:
        """Take the settings out of a node's widgets."""
        return cls(**{name: widgets[name] for name in cls.__dataclass_fields__})

    @staticmethod
    def samplers() -> list[str]:
        """The host's samplers."""
        return list(comfy.samplers.KSampler.SAMPLERS)

    @staticmethod
    def schedulers() -> list[str]:
        """The host's schedulers."""
        return list(comfy.samplers.KSampler.SCHEDULERS)


def sample(
    model: Any, positive: Any, negative: Any, latent: dict[str, Any], settings: SamplerSettings
) -> dict[str, Any]:
    """Run the host's sampler, with its previews and its progress.

    Source: host contract, ComfyUI 0.33 `nodes.common_ksampler`.

    Returns:
        The LATENT.
    """
    (result,) = core_nodes.common_ksampler(
        model,
        settings.seed,
        settings.steps,
        settings.cfg,
        settings.sampler_name,
        settings.scheduler,
        positive,
        negative,
        latent,
        denoise=settings.denoise,
    )
    return result
