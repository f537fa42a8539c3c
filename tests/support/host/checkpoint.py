"""A checkpoint of SD1.5's format and full size, with random weights, for the stock Load Checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import safetensors.torch
import torch
from pack.devtools.environment import cache_folder, one_at_a_time

from .layouts import SD15

# Another number where what is written below changes: the old file is then left alone, and a new one made.
NAME = "sd15-random-1.safetensors"
FULL_UNET = SD15.unet | {"model_channels": 320, "context_dim": 768}
# Stable Diffusion's own autoencoder (0.33.0, comfy/sd.py, VAE.__init__).
AUTOENCODER: dict[str, Any] = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
# The original file has neither; the host adds them to its text encoder.
NOT_IN_THE_FILE = ("text_projection.weight", "logit_scale")


def checkpoint() -> Path:
    """Return the checkpoint, made on the first call: 2.1 GB in half precision, always the same numbers.

    Returns:
        path: a .safetensors with the keys of the original single-file checkpoint
    """
    path = cache_folder() / "models" / NAME
    with one_at_a_time(path.with_suffix(".lock")):
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            safetensors.torch.save_file(dict(_weights()), unfinished)
            os.replace(unfinished, path)
    return path


def full_size() -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of that checkpoint, as the host loads them."""
    model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(checkpoint()), output_clip=True, output_vae=True)
    return model, clip, vae


def _weights() -> Iterator[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(15)
    for name, shape in _shapes():
        if len(shape) == 1:
            yield name, torch.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=torch.float16)
            continue
        yield name, (torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))).half()


def _shapes() -> Iterator[tuple[str, torch.Size]]:
    with torch.device("meta"):
        unet = comfy.supported_models.SD15(FULL_UNET).get_model({}, "").diffusion_model
        autoencoder = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=AUTOENCODER, embed_dim=4)
        text = comfy.sd1_clip.SD1ClipModel(device="meta").clip_l.transformer
    parts = {
        "model.diffusion_model.": unet,
        "first_stage_model.": autoencoder,
        "cond_stage_model.transformer.": text,
    }
    for prefix, module in parts.items():
        for name, weight in module.state_dict().items():
            if not name.endswith(NOT_IN_THE_FILE):
                yield prefix + name, weight.shape
