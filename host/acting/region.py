"""Conditionings, LoRAs and inpainting masks that a word's region gates.

Host contracts, ComfyUI 0.33: `samplers.get_area_and_mult` reads a conditioning's `mask` (batch height width, on the
latent's grid) and `mask_strength` again in every evaluation; LoRA hooks stay on the conditioning that has them
(`samplers._calc_cond_batch`); `samplers.KSamplerX0Inpaint` asks `denoise_mask_function(sigma, mask, extra_options)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from comfy.model_patcher import ModelPatcher

from ...scenescope.attention.act.acts import LayerWrite, ModelCall
from ...scenescope.attention.act.place import on_layer
from ...scenescope.attention.act.region import RegionAct, RegionTrack, WordRegion, cut_out
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.attention.record.layers import AttentionLayer
from ...scenescope.attention.record.recording import Entry
from ...scenescope.cost import MASK, refuse_costly
from ...scenescope.dims import Grid
from ...scenescope.resample import resize
from ..recording.entries import Calling
from ..watched_runs import Items
from .run import with_act

GATES_KEY = "scenescope_gates"
"""What a conditioning carries: the gates that decide where it counts."""

Side = Literal["inside", "outside"]
Inpaint = Literal["off", "inside", "outside"]


@dataclass(frozen=True, eq=False)
class Gate:
    """A conditioning that applies on one side of a region.

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

    def __init__(self, spec: GatingRegion, run: RunSpec) -> None:
        super().__init__(spec, run)
        self._mine, self._by_attention, self._mix = spec.track, spec.by_attention, _PromptMix()
        self._write = LayerWrite(mix=self._mix)
        self._refused: set[str] = set()

    def gate(self, conditionings: Items, entries: Calling, first: bool, device: torch.device) -> Items:
        """Give each conditioning its part of the picture, the same in every pass; inside prompts wait for a region."""
        if first:
            self.settle(device)
        self._mix.clear()
        if not any(GATES_KEY in item for items in conditionings for item in items or ()):
            return conditionings
        return [
            None if items is None else self._gated(items, {item["uuid"]: entries[at, item["uuid"]] for item in items})
            for at, items in enumerate(conditionings)
        ]

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """In one pass, mix the prompts that apply inside into the base's attention."""
        mixing = layer.kind == "cross" and any(self._mix.has(entry) for entry in call.entries)
        return self._write if mixing else None

    def finish(self, skipped: Mapping[str, int]) -> str:
        """How large the region was, and why the inside prompt needed its own pass, if it did."""
        reasons = [f"The inside prompt has a pass of its own: it has {', '.join(sorted(self._refused))}."]
        return "\n".join([super().finish(skipped), *(reasons if self._refused else [])])

    def _gated(self, items: Sequence[dict[str, Any]], entries: Mapping[Any, Entry]) -> list[dict[str, Any]]:
        mine = {item["uuid"]: [g for g in item.get(GATES_KEY, ()) if g.track is self._mine] for item in items}
        inside = [item for item in items if any(gate.side == "inside" for gate in mine[item["uuid"]])]
        if self._by_attention and inside:
            self._refused |= {name for item in inside for name in _own_pass(item)}
            if not self._refused:
                return self._in_one_pass(items, inside, entries) or list(items)
        gated = []
        for item in items:
            if not mine[item["uuid"]]:
                gated.append(item)
            elif self._mine.now is not None:
                gated.append(_masked(item, self._mine.now, mine[item["uuid"]]))
            elif all(gate.side == "outside" for gate in mine[item["uuid"]]):
                gated.append(item)
        return gated or list(items)

    def _in_one_pass(
        self, items: Sequence[dict[str, Any]], inside: Sequence[dict[str, Any]], entries: Mapping[Any, Entry]
    ) -> list[dict[str, Any]]:
        """The conditionings that remain once the inside prompts are mixed into the base prompts' attention."""
        gone = {item["uuid"] for item in inside}
        for item in items:
            gates = item.get(GATES_KEY, ())
            bases = any(gate.track is self._mine for gate in gates) and all(gate.side == "outside" for gate in gates)
            if bases and self._mine.now is not None:
                for other in inside:
                    self._mix.add(entries[item["uuid"]], other["model_conds"]["c_crossattn"].cond, other[GATES_KEY])
        return [item for item in items if item["uuid"] not in gone]


_PASSES = {
    "hooks": "a LoRA or another hook",
    "control": "a ControlNet",
    "area": "an area",
    "mask": "a mask",
    "gligen": "GLIGEN",
    "timestep_start": "a range of steps",
    "timestep_end": "a range of steps",
}


def _own_pass(item: Mapping[str, Any]) -> set[str]:
    """Properties of a prompt that attention alone cannot provide."""
    found = {told for name, told in _PASSES.items() if item.get(name) is not None}
    found |= {"a strength"} if float(item.get("strength", 1.0)) != 1.0 else set()
    return found | ({"a prompt for each picture"} if len(item["model_conds"]["c_crossattn"].cond) > 1 else set())


class _PromptMix:
    """The prompts that apply inside a region in one evaluation, once there is a region."""

    def __init__(self) -> None:
        self._prompts: dict[tuple[str, int], list[tuple[torch.Tensor, Sequence[Gate]]]] = {}
        self._known: dict[Any, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._counted: dict[int, torch.Tensor] = {}  # by the place of its gates' tuple: all layers ask for it
        self._uploaded: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}  # the host's own, held, and its copy

    def clear(self) -> None:
        """A new evaluation begins."""
        self._prompts.clear()
        self._known.clear()
        self._counted.clear()

    def add(self, base: Entry, context: torch.Tensor, gates: Sequence[Gate]) -> None:
        """Mix an encoded prompt (1 token channel) into a base prompt."""
        self._prompts.setdefault((base.branch, base.index), []).append((context, gates))

    def has(self, entry: Entry) -> bool:
        """Whether anything is mixed into an entry."""
        return (entry.branch, entry.index) in self._prompts

    def parts(self, grid: Grid, entry: Entry, like: torch.Tensor) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        """The prompts, and how much each counts in the cells of a layer."""
        key = (grid, entry.branch, entry.index, like.device, like.dtype)
        if key not in self._known:
            found = self._prompts.get(key[1:3], ())
            weights = [on_layer(self._counts(gates), grid, entry)[..., None].to(like) for _, gates in found]
            prompts = [self._there(context, like) for context, _ in found]
            self._known[key] = list(zip(prompts, weights, strict=True))
        return self._known[key]

    def _there(self, context: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """A prompt where layers compute, in their type: uploaded once a run, since every layer asks for it."""
        key = (id(context), like.device, like.dtype)
        if key not in self._uploaded:
            self._uploaded[key] = context, context.to(like)
        return self._uploaded[key][1]

    def _counts(self, gates: Sequence[Gate]) -> torch.Tensor:
        if id(gates) not in self._counted:
            self._counted[id(gates)] = _counting(gates)
        return self._counted[id(gates)]


def _counting(gates: Sequence[Gate]) -> torch.Tensor:
    """(image height width) how much a prompt counts by all its gates; a region that isn't there yet is nothing."""
    there = next(gate.track.now for gate in gates if gate.track.now is not None)
    counts = torch.ones_like(there)
    for gate in gates:
        inside = gate.strength * (torch.zeros_like(there) if gate.track.now is None else gate.track.now)
        counts = counts * (inside if gate.side == "inside" else 1 - inside)
    return counts


@dataclass(frozen=True, eq=False)
class GatingRegion(WordRegion):
    """A word's region, which gates every conditioning that carries its gates.

    Args:
        by_attention: mix the prompts in the base prompt's attention, in one pass of the U-Net, where they have nothing
            that needs a pass of its own.
    """

    by_attention: bool = False

    def begin(self, run: RunSpec) -> RegionAct:
        """As the region itself."""
        return _GatingAct(self, run)


def _masked(item: dict[str, Any], region: torch.Tensor, gates: Sequence[Gate]) -> dict[str, Any]:
    """A copy whose mask is the part of the picture that the gates leave it; of a batch's masks each has its picture."""
    mask, images = item.get("mask"), region.shape[0]
    counts = torch.ones_like(region)
    if mask is not None:
        counts = mask.to(region).repeat(math.ceil(images / len(mask)), 1, 1)[:images]
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
    """Join two CONDITIONINGs: `inside` applies in the region, `base` everywhere else.

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
    """The region of the last run at a size in pixels: (image height width), for step -2 those of all steps in turn.

    It is cut after it was enlarged, so its edge runs between the cells of the latent.
    """
    track.margins()  # there is one
    chosen = [track.steps[at] for at in sorted(track.steps)] if step == -2 else [track.margins(step)]
    count = sum(len(each) for each in chosen)
    refuse_costly("Region Mask: the masks", count, size, MASK, "Choose one step, or -1 for the last.")
    return cut_out(resize(torch.cat(chosen), size))
