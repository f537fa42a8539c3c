"""Put the trained parts into the one file that the pack ships."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save

from ..scenescope.files.atomic import write_whole
from ..scenescope.world.demo_file import FORMAT
from ..scenescope.world.vocabulary import WORLD_VERSION
from .model import TEXT, UNET, Denoiser

LIMIT = 24_000_000
"""Bytes that the file may have."""


def export(path: Path, denoiser: Denoiser, decoder: torch.nn.Module, notes: dict[str, float]) -> int:
    """Write the weights in half precision under SD checkpoint names; returns the file's size in bytes.

    Args:
        path: the file to write; replaced whole.
        denoiser: text model and U-Net.
        decoder: the host's small decoder.
        notes: figures to keep with the weights, such as the steps trained.
    """
    table = "text_model.embeddings.token_embedding.weight"
    tensors = {f"model.diffusion_model.{k}": v for k, v in denoiser.unet.state_dict().items()}
    text = {k: v for k, v in denoiser.text.state_dict().items() if k.startswith("text_model.") and k != table}
    tensors |= {f"cond_stage_model.transformer.{k}": v for k, v in text.items()}
    tensors["cond_stage_model.known_rows"] = denoiser.text.get_input_embeddings().weight
    tensors |= {f"first_stage_model.taesd_decoder.{k}": v for k, v in decoder.state_dict().items()}
    half = {k: v.detach().half().contiguous() for k, v in tensors.items()}
    half["cond_stage_model.known_ids"] = torch.tensor(list(denoiser.known), dtype=torch.int32)
    config = {"format": FORMAT, "world": WORLD_VERSION, "unet": UNET, "text": TEXT, "notes": notes}
    content = save(half, metadata={"format": "pt", "scenescope_demo": json.dumps(config)})
    size = len(content)
    if size > LIMIT:
        raise ValueError(f"export: the file has {size} bytes, and {LIMIT} is the most. Make the U-Net narrower.")
    write_whole(lambda file: file.write(content), path, "export")
    return size
