"""Conditionings, LoRAs and inpainting masks that a word's region gates.

Host contracts, ComfyUI 0.33: `samplers.get_area_and_mult` reads a conditioning's `mask` (batch height width, on the
latent's grid) and `mask_strength` anew in every evaluation; LoRA hooks stay on the conditioning that has them
(`samplers._calc_cond_batch`); `samplers.KSamplerX0Inpaint` asks `denoise_mask_function(sigma, mask, extra_options)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from comfy.model_patcher import ModelPatcher

from ...scenescope.attention.act.region import RegionAct, RegionTrack, WordRegion
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.dims import Grid
from ...scenescope.resample import resize
from .run import with_act

GATES_KEY = "scenescope_gates"
"""What a conditioning carries: the gates that decide where it counts."""

Side = Literal["inside", "outside"]
Inpaint = Literal["off", "inside", "outside"]


@dataclass(frozen=True, eq=False)
class Gate:
    """A conditioning counts on one side of a region.

    Args:
        track: the region.
        side: inside or outside.
        strength: 0..1, how much it counts there; what is missing goes to the other side.
    """

    track: RegionTrack
    side: Side
    strength: float


class _GatingAct(RegionAct):
    """A region that also gates the conditionings of each evaluation."""

    def __init__(self, spec: WordRegion, run: RunSpec) -> None:
        super().__init__(spec, run)
        self._mine = spec.track

    def gate(self, conditionings: Sequence[Any]) -> Sequence[Any]:
        """Give each conditioning its part of the picture; what is inside waits until there is a region."""
        self.settle()
        if not any(GATES_KEY in item for items in conditionings for item in items or ()):
            return conditionings
        return [None if items is None else self._gated(items) for items in conditionings]

    def _gated(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        gated = []
        for item in items:
            mine = [gate for gate in item.get(GATES_KEY, ()) if gate.track is self._mine]
            if not mine:
                gated.append(item)
            elif self._mine.now is not None:
                gated.append(_masked(item, self._mine.now, mine))
            elif all(gate.side == "outside" for gate in mine):
                gated.append(item)
        return gated or list(items)


@dataclass(frozen=True, eq=False)
class GatingRegion(WordRegion):
    """A word's region that gates what carries its gates."""

    def begin(self, run: RunSpec) -> RegionAct:
        """As the region itself."""
        return _GatingAct(self, run)


def _masked(item: dict[str, Any], region: torch.Tensor, gates: Sequence[Gate]) -> dict[str, Any]:
    """A copy whose mask is the part of the picture that the gates leave it."""
    mask = item.get("mask")
    counts = torch.ones_like(region) if mask is None else mask.to(region).expand(region.shape[0], -1, -1)
    for gate in gates:
        inside = region * gate.strength
        counts = counts * (inside if gate.side == "inside" else 1 - inside)
    return item | {"mask": counts}


def with_region(model: ModelPatcher, region: GatingRegion, node: str | None, inpaint: Inpaint = "off") -> ModelPatcher:
    """A clone of the model that follows a word's region; with `inpaint` its noise mask is limited to one side of it."""
    clone = with_act(model, region, node)
    if inpaint != "off":
        earlier = clone.model_options.get("denoise_mask_function")
        clone.set_model_denoise_mask_function(_limited(region.track, inpaint, earlier))
    return clone


def _limited(track: RegionTrack, side: Inpaint, earlier: Callable[..., Any] | None) -> Callable[..., Any]:
    def denoise_mask(sigma: Any, mask: torch.Tensor, extra_options: Any = None) -> torch.Tensor:
        mask = mask if earlier is None else earlier(sigma, mask, extra_options=extra_options)
        if track.now is None:
            return mask
        region = track.now if side == "inside" else 1 - track.now
        return mask * region[:, None].to(mask)

    return denoise_mask


def gated(base: Any, inside: Any, track: RegionTrack, strength: float) -> list[Any]:
    """One CONDITIONING of two: `inside` counts in the region, `base` everywhere else.

    Args:
        base: CONDITIONING; gates that it carries already stay.
        inside: CONDITIONING, perhaps with a LoRA's hooks.
        track: the region.
        strength: 0..1, how much of the region goes to `inside`.
    """

    def carrying(conditioning: Any, side: Side) -> list[Any]:
        gate = Gate(track, side, strength)
        return [[tensor, {**more, GATES_KEY: (*more.get(GATES_KEY, ()), gate)}] for tensor, more in conditioning]

    return [*carrying(base, "outside"), *carrying(inside, "inside")]


def region_mask(track: RegionTrack, size: Grid, step: int) -> torch.Tensor:
    """The region of the last run at a size in pixels: (image height width), for step -2 those of all steps in turn."""
    track.mask()  # there is one
    chosen = [track.steps[at] for at in sorted(track.steps)] if step == -2 else [track.mask(step)]
    return resize(torch.cat(chosen), size).clamp(0, 1)
