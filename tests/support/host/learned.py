"""Made-up concepts for the demo model: rows and weights that no training gave, large enough to change a picture.

And the pictures that the stock nodes make of them.
"""

from __future__ import annotations

from typing import Any

import torch
from pack.host.training.copies import base_name
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.scene.scene import Concept
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.scenescope.training.weights.contract import LowRank

import nodes as host_nodes

from .runs import Run, sample

UNET_LAYERS = (
    "input_blocks.1.1.transformer_blocks.0.attn2.to_q",
    "middle_block.1.proj_in",
    "output_blocks.3.1.transformer_blocks.0.attn1.to_out.0",
    "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj",
    "output_blocks.11.1.proj_out",
)
TEXT_LAYERS = ("text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.1.mlp.fc1")
UNET_PARAMETERS = ("out.2.bias", "input_blocks.0.0.weight", "middle_block.1.norm.weight", "time_embed.0.weight")
TEXT_PARAMETERS = (
    "text_model.final_layer_norm.bias",
    "text_model.encoder.layers.0.mlp.fc2.weight",
    "text_model.embeddings.position_embedding.weight",
)
RANK = 2
QUICK = Run(size=(16, 8), steps=2, cfg=3.0)
PROMPT = "a photo of {} and ({}:1.2) in the snow"


def made_up(models: tuple[Any, Any, Any], kind: str = "rows", *, amount: float = 0.1) -> Concepts:
    """`<asset0>` and `<asset1>` for some models: `rows` alone, `lora`, or differences as `full` leaves them."""
    model, clip, _ = models
    generator = torch.Generator().manual_seed(3)
    unet, text = model.model.diffusion_model, clip.cond_stage_model.clip_l.transformer

    def noise(shape: Any) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * amount

    settings: Settings = full_settings() if kind == "full" else lora_settings(rank=RANK)
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    low_rank, differences = {}, {}
    if kind == "lora":
        layers = {f"unet.{name}": unet.get_submodule(name) for name in UNET_LAYERS}
        layers |= {f"text.{name}": text.get_submodule(name) for name in TEXT_LAYERS}
        for name, layer in layers.items():
            out, into, *kernel = layer.weight.shape
            low_rank[name] = LowRank(noise((RANK, into, *kernel)), noise((out, RANK, *kernel)) * 10, 3.0)
    if kind == "full":
        parameters = {f"unet.{name}": unet.get_parameter(name) for name in UNET_PARAMETERS}
        parameters |= {f"text.{name}": text.get_parameter(name) for name in TEXT_PARAMETERS}
        differences = {name: noise(parameter.shape) for name, parameter in parameters.items()}
    rows = torch.randn((2, table.shape[1]), generator=generator) * table.float().std().cpu()
    concepts = (Concept("<asset0>", "star"), Concept("<asset1>"))
    return Concepts(concepts, rows, low_rank, differences, base_name(model, clip), settings, settings.steps)


def call(node: type, **inputs: Any) -> tuple[Any, ...]:
    """Run a node as the host does, on its locked clone."""
    return node.PREPARE_CLASS_CLONE(None).execute(**inputs).result


def picture(model: Any, clip: Any, prompt: str) -> torch.Tensor:
    """Sample with the stock nodes."""
    encode = host_nodes.CLIPTextEncode().encode
    return sample(model, encode(clip, prompt)[0], encode(clip, "")[0], QUICK)


def with_handles(model: Any, clip: Any) -> torch.Tensor:
    """Sample a prompt with both handles."""
    return picture(model, clip, PROMPT.format("<asset0>", "<asset1>"))
