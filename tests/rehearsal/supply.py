"""Inputs for any node, from its schema alone: what its sockets take comes from the simulated device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from comfy_api.latest import io
from pack.host.acting.region import GatingRegion, gated, with_region
from pack.host.prompts.text import trace_words
from pack.host.recording.runs import RecordedRuns
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.place import Place
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.training.settings import lora_settings
from pack.tests.rehearsal.recorded import encode, sampled
from pack.tests.rehearsal.simulated.device import DEVICE
from pack.tests.support.host.learned import made_up
from pack.tests.support.host.learning import small_scene
from torch import Tensor

PROMPT = "a photo of a red circle"
WIDGETS: dict[str, Any] = {
    "steps": 2,
    "width": 64,
    "height": 64,
    "resolution": 64,
    "class_count": 1,
    "sample_count": 1,
    "sample_steps": 1,
    "seeds": 1,
    "subsets": "all together",
    "sampler_name": "euler",
    "scheduler": "normal",
    "words": "circle\nred\nphoto",
    "dropped": "circle",
    "keep_queries": True,
}
"""What is typed in where a default would be slow, or is empty and has to be filled in; where the type is the same."""
OWN: dict[tuple[str, str], Callable[[], Any]] = {
    ("SceneScope_BuildScene", "words"): lambda: "circle\nred",  # a thing for the mask, and one for the colour
    ("SceneScope_PromptDoctor", "without"): lambda: 1 - picture().to(DEVICE),  # or nothing was switched off
}
"""What one node alone wants otherwise, by its id and the input's."""
EVERYTHING = Selection(kinds=("cross", "self"), keep_queries=True, keep_self_queries=True)
LEAST = lora_settings(phase1_steps=1, phase2_steps=1, rank=2, prior="class", precision="float16")

Models = tuple[Any, Any, Any]


def result_of(node: type[io.ComfyNode], **inputs: Any) -> tuple[Any, ...]:
    """Run a node as the host does: through its entrance, on a prepared clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).result or ()


@dataclass
class Supply:
    """Values for sockets by their type, each made once, by the nodes' own hosts; pictures and masks are on the device.

    Args:
        models: MODEL, CLIP and VAE.
    """

    models: Models

    @cached_property
    def clip(self) -> Any:
        """A CLIP whose prompts remember their words."""
        return trace_words(self.models[1])

    @cached_property
    def positive(self) -> Any:
        """A CONDITIONING with its words, which the host left on the device."""
        return encode(self.clip, PROMPT)

    @cached_property
    def negative(self) -> Any:
        """Of another prompt, with the same word."""
        return encode(self.clip, "a circle")

    @cached_property
    def _recorded(self) -> tuple[RecordedRuns, Any]:
        watched, book = record_attention(self.models[0], EVERYTHING)
        return book, {"samples": sampled(watched, self.positive, self.negative, steps=2).latents}

    @cached_property
    def _region(self) -> RegionTrack:
        track = RegionTrack()
        model = with_region(self.models[0], GatingRegion("circle", track), None)
        sampled(model, gated(self.positive, self.negative, track, 1.0), self.negative)
        return track

    def of_type(self, kind: str) -> Any:
        """What a socket of this type is handed."""
        made: dict[str, Callable[[], Any]] = {
            "MODEL": lambda: self.models[0],
            "CLIP": lambda: self.clip,
            "VAE": lambda: self.models[2],
            "CONDITIONING": lambda: self.positive,
            "LATENT": lambda: {"samples": torch.zeros(1, 4, 8, 12, device=DEVICE)},
            "IMAGE": lambda: picture().to(DEVICE),
            "MASK": lambda: mask().to(DEVICE),
            "BOUNDING_BOX": lambda: {"x": 0, "y": 0, "width": 48, "height": 32},
            "COMFY_MATCHTYPE_V3": lambda: self._recorded[1],
            "SCENESCOPE_RECORDER": lambda: self._recorded[0],
            "SCENESCOPE_ATTENTION_MAPS": self._maps,
            "SCENESCOPE_SCENE": small_scene,
            "SCENESCOPE_CONCEPTS": lambda: made_up(self.models, "lora"),
            "SCENESCOPE_SETTINGS": lambda: LEAST,
            "SCENESCOPE_STEERING": lambda: (Steering("circle", 2.0, -2.0, Place(mask())),),
            "SCENESCOPE_REGION": lambda: self._region,
        }
        if kind not in made:
            raise KeyError(f"tests/rehearsal/supply.py has nothing for a socket of the type {kind}. Add it there.")
        return made[kind]()

    def _maps(self) -> Recording:
        return self._recorded[0].find(None)[0]

    def least(self, node: type[io.ComfyNode]) -> dict[str, Any]:
        """Inputs of a node: what it demands, and its widgets."""
        return self._values(node, lambda one: not may_be_left(one))

    def optional(self, node: type[io.ComfyNode]) -> dict[str, Any]:
        """Values for the sockets that may be left open."""
        return self._values(node, may_be_left)

    def _values(self, node: type[io.ComfyNode], wanted: Callable[[Any], bool]) -> dict[str, Any]:
        schema = node.define_schema()
        return {
            one.id: OWN.get((schema.node_id, one.id), partial(self._value, one))()
            for one in schema.inputs
            if wanted(one)
        }

    def _value(self, one: Any) -> Any:
        if isinstance(one, io.Autogrow.Input):
            return {f"{one.template.prefix}0": self.of_type(one.template.input.io_type)}
        if isinstance(one, io.DynamicCombo.Input):
            chosen = one.options[0]
            return {one.id: chosen.key} | {part.id: self._value(part) for part in chosen.inputs}
        if is_socket(one):
            return self.of_type(one.io_type)
        default = getattr(one, "default", None)
        if default is None and isinstance(one, io.Combo.Input):
            default = one.options[0]
        typed = WIDGETS.get(one.id, default)
        return typed if type(typed) is type(default) else default


def is_socket(one: Any) -> bool:
    """Whether a value comes over a link."""
    return isinstance(one, io.Autogrow.Input) or not isinstance(one, io.DynamicCombo.Input | io.WidgetInput)


def may_be_left(one: Any) -> bool:
    """Whether a socket is left open once; without settings a training run takes hundreds of steps."""
    return is_socket(one) and one.optional and one.io_type != "SCENESCOPE_SETTINGS"


def picture() -> Tensor:
    """(1 height width 3) on the CPU: red on the left, black on the right, so that it can be read as painted, too."""
    return mask()[..., None] * torch.tensor([1.0, 0.0, 0.0])


def mask() -> Tensor:
    """(1 height width) on the CPU: the left half."""
    left = torch.zeros(1, 64, 96)
    left[..., :48] = 1
    return left


def choices(node: type[io.ComfyNode]) -> list[tuple[str, Any]]:
    """Each option of each choice of a node by the input's name; of nodes with a model they are tried elsewhere."""
    sockets = node.define_schema().inputs
    if "MODEL" in {one.io_type for one in sockets}:
        return []
    return [(one.id, option) for one in sockets if isinstance(one, io.Combo.Input) for option in one.options]
