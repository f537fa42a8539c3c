"""Small pipelines with random weights: SD1.5's blocks, and what else `StableDiffusionPipeline` may be built of."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from pack.diffusers_adapter.demo import demo_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel

WIDTH, SIDE = 32, 64
"""Of the text; pixels a side of the pictures here, which are taken wider than high."""
NOT_OURS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""What numpy 2 warns diffusers' schedulers of, in 0.42.1."""
PROMPT = "a photo of a Red circle (and a heart)"


@functools.cache
def _parts() -> dict[str, Any]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(16, 16, 32, 32),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    text = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=49408,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=SIDE,
    )
    encoder = CLIPTextModel(text)
    return {"unet": unet.eval(), "text_encoder": encoder.eval(), "vae": vae.eval(), "tokenizer": demo_tokenizer()}


def scheduler_of(kind: Any, **options: Any) -> Any:
    """A scheduler with SD1.5's noise."""
    made = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return kind(**made | ({"clip_sample": False} if kind is DDIMScheduler else {}) | options)


def small_pipeline(scheduler: Any = None, **parts: Any) -> StableDiffusionPipeline:
    """A pipeline whose models are made once and shared by all tests, which leave them as they are."""
    pipe = StableDiffusionPipeline(
        **_parts() | parts,
        scheduler=scheduler or scheduler_of(DDIMScheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def painted(pipe: Any, prompt: Any = PROMPT, **options: Any) -> torch.Tensor:
    """Three steps, pictures of 64x96: (image 3 height width)."""
    given = {"num_inference_steps": 3, "height": SIDE, "width": SIDE + 32, "output_type": "pt"} | options
    pictures: torch.Tensor = pipe(prompt, generator=torch.Generator().manual_seed(1), **given).images
    return pictures
