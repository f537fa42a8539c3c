"""The demo model as a pipeline: its weights renamed on the fly, its few words in a tokenizer of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ..scenescope.training.scene.scene import Concept, Scene, build_scene
from ..scenescope.world.demo_file import (
    DEMO_FILE,
    VOCABULARY,
    encoder_weights,
    part_of,
    read_demo_file,
    token_table,
    widen_groups,
)
from ..scenescope.world.scene import draw
from ..scenescope.world.unseen import STARTING_WORDS, loosened, unseen_layout
from .names import TextNames, UnetNames

TOKENIZER_FILE = DEMO_FILE.with_name("scenescope-demo-tokenizer.json")
"""The model's words with their numbers and merges, a part of CLIP's vocabulary (OpenAI, MIT licence)."""
SIDE = 128
"""Pixels a side that the demo model was trained on."""
_BLOCKS = 4


def demo_pipeline(path: str | Path = DEMO_FILE) -> StableDiffusionPipeline:
    """Build the demo model as a `StableDiffusionPipeline`; nothing is downloaded.

    Args:
        path: a file written by `demo/train.py`.

    Raises:
        FileError: the file is missing, broken, or of another format.
    """
    weights, notes = read_demo_file(path)
    pipe = StableDiffusionPipeline(
        vae=_vae(weights),
        text_encoder=_text(weights, notes["text"]),
        tokenizer=demo_tokenizer(),
        unet=_unet(weights, notes["unet"]),
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, use_karras_sigmas=True
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def demo_tokenizer() -> Any:
    """CLIP's tokenizer for the demo model's words: the same numbers; other words are spelled by letters."""
    kept = json.loads(TOKENIZER_FILE.read_text("utf-8"))
    # A number for every row of the token table, so that added tokens come behind it as they do in the whole vocabulary.
    free = {f"<unused {number}>": number for number in range(VOCABULARY)}
    vocabulary = {name: number for name, number in free.items() if number not in set(kept["vocabulary"].values())}
    merges = [tuple(pair) for pair in kept["merges"]]
    return CLIPTokenizer(vocab=vocabulary | kept["vocabulary"], merges=merges, model_max_length=77)


def demo_scene(seed: int = 0, things: int = 2) -> Scene:
    """A picture of things that the demo model has not seen, with loose masks, `<asset0>` and `<asset1>` to learn."""
    drawing = draw(unseen_layout(seed, things), height=SIDE, width=SIDE)
    masks = [torch.from_numpy(mask)[None] for mask in loosened(drawing.masks)]
    words = [STARTING_WORDS[thing.shape] for thing in drawing.layout.things]
    concepts = [Concept(f"<asset{place}>", word) for place, word in enumerate(words)]
    return build_scene(torch.from_numpy(drawing.picture)[None], masks, concepts)


def _unet(weights: dict[str, torch.Tensor], config: dict[str, Any]) -> UNet2DConditionModel:
    widths = tuple(config["model_channels"] * times for times in config["channel_mult"])
    crossed = _BLOCKS - 1  # the coarsest level has no attention
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        block_out_channels=widths,
        layers_per_block=config["num_res_blocks"][0],
        down_block_types=("CrossAttnDownBlock2D",) * crossed + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * crossed,
        cross_attention_dim=config["context_dim"],
        attention_head_dim=config["num_heads"],  # diffusers' name for the number of heads
    )
    widen_groups(unet)
    UnetNames(unet).load_state_dict(part_of(weights, "model.diffusion_model."))
    return unet.eval()


def _text(weights: dict[str, torch.Tensor], config: dict[str, Any]) -> CLIPTextModel:
    encoder = CLIPTextModel(CLIPTextConfig(**config, bos_token_id=VOCABULARY - 2, pad_token_id=VOCABULARY - 1))
    state = part_of(weights, "cond_stage_model.transformer.")
    state["text_model.embeddings.token_embedding.weight"] = token_table(weights)
    TextNames(encoder, table=True).load_state_dict(state)
    return encoder.eval()


def _vae(weights: dict[str, torch.Tensor]) -> AutoencoderTiny:
    """TAESD's layers; diffusers counts the decoder's from 0, the original from 1, after a clamp."""
    vae = AutoencoderTiny()
    state = {f"encoder.layers.{name}": value for name, value in encoder_weights().items()}
    for name, value in part_of(weights, "first_stage_model.taesd_decoder.").items():
        layer, _, rest = name.partition(".")
        state[f"decoder.layers.{int(layer) - 1}.{rest}"] = value
    vae.load_state_dict(state)
    return vae.eval()
