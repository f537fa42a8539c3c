"""What Save Concepts says of its exports' readers is what another program's own reader finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from pack.diffusers_adapter import demo_pipeline
from pack.host.concepts.export import plan_export
from pack.host.demo import load_demo_model
from pack.nodes.concepts import SaveConcepts
from pack.scenescope.training.weights.contract import LowRank
from pack.tests.support.host.learned import made_up
from pack.tests.support.pipelines import NOT_OURS

pytestmark = NOT_OURS
DOWN, OUT = ".lora_A.weight", "text.text_model.encoder.layers.0.self_attn.out_proj"
PARTS: dict[str, Any] = {
    "unet": convert_unet_state_dict_to_peft,
    "text_encoder": lambda tensors: convert_state_dict_to_peft(convert_state_dict_to_diffusers(tensors)),
}
"""How diffusers names what it read for its models, as its loader does it."""


def exported(kind: str) -> tuple[Any, Path]:
    """Made-up concepts, and the file of their weights."""
    concepts = made_up(load_demo_model(), kind)
    if kind == "lora":  # training adds to all layers; diffusers knows the text encoder's old names by this one
        whole = {**concepts.low_rank, OUT: concepts.low_rank[OUT.replace("out_proj", "q_proj")]}
        concepts = replace(concepts, low_rank=whole)
    lora = plan_export(concepts, f"read/{kind}").write().files[2]
    return concepts, lora


def as_diffusers_reads(lora: Path) -> tuple[dict[str, torch.Tensor], dict[str, float] | None]:
    """Diffusers' own reading of a LoRA's file, before it looks whether all that it found is of a LoRA."""
    tensors, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(str(lora))
    return tensors, alphas


def named_module(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """A module by a file's name for it; transformers 5 has the text model's parts without the folder around them."""
    known = dict(model.named_modules())
    return known[name] if name in known else known[name.removeprefix("text_model.")]


def change(pair: LowRank) -> torch.Tensor:
    """What a pair adds to a weight."""
    return pair.alpha / len(pair.down) * pair.up.flatten(1) @ pair.down.flatten(1)


@torch.inference_mode()
def test_diffusers_reads_an_export_of_lora_whole(folders):
    """Oracle: diffusers' reader: each of our layers once, under the name of a module that its models have."""
    concepts, lora = exported("lora")
    tensors, alphas = as_diffusers_reads(lora)
    pipe, found = demo_pipeline(), []
    for part, named in PARTS.items():
        own = {key: value for key, value in tensors.items() if key.startswith(f"{part}.")}
        pairs = named({key.removeprefix(f"{part}."): value for key, value in own.items()})
        for key, down in pairs.items():
            if key.endswith(DOWN):
                module = named_module(getattr(pipe, part), key.removesuffix(DOWN))
                up = pairs[key.removesuffix(DOWN) + ".lora_B.weight"]
                found.append(change(LowRank(down, up, next(iter(alphas.values())))))
                assert found[-1].shape == module.weight.flatten(1).shape
    ours = [change(pair) for pair in concepts.low_rank.values()]
    assert len(found) == len(ours)
    assert all(any(torch.equal(one, other) for other in found if other.shape == one.shape) for one in ours)


def test_diffusers_refuses_an_export_of_full_as_the_tooltip_says(folders):
    """Oracle: diffusers' own check of what it read (`load_lora_weights`: all names have `lora` in them); the words."""
    tensors, _ = as_diffusers_reads(exported("full")[1])
    assert not all("lora" in key for key in tensors)
    (write,) = (each for each in SaveConcepts.define_schema().inputs if each.id == "write")
    assert "Mode lora gives a LoRA that other programs read too" in write.tooltip
    assert "mode full gives full differences, which only ComfyUI reads" in write.tooltip
