"""The demo model's loader: one file in, an ordinary MODEL, CLIP and VAE out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.utils
import folder_paths
import torch

from ..scenescope.world.demo_file import (
    DEMO_FILE,
    encoder_weights,
    part_of,
    read_demo_file,
    token_table,
    widen_groups,
)
from ..scenescope.world.scene import draw, full_caption
from ..scenescope.world.unseen import STARTING_WORDS, loosened, unseen_layout

SCALE = 0.18215
"""SD1.5's latent scale factor: what the host multiplies a VAE's latent by before the U-Net sees it."""
DEMO_CELLS = 16
"""Latent cells of a side that the demo model was trained at: 128x128 pixels."""

Parts = tuple[Any, Any, Any]


def size_hint(model: Any, height: int, width: int) -> str:
    """Warn that a run of the demo model is far larger than what it was trained at, which takes minutes and looks worse.

    Args:
        model: the host's inner model, any.
        height: of the latent, in cells.
        width: likewise.

    Returns:
        A sentence, or "" for other models and for sizes up to twice its own.
    """
    side = getattr(model, "scenescope_cells", None)
    if side is None or height * width <= 4 * side * side:
        return ""
    return (
        f"The demo model was trained at {8 * side}x{8 * side} pixels; this run is {8 * width}x{8 * height} and takes "
        f"many times as long. Set {8 * side}x{8 * side} in Empty Latent Image."
    )


def load_demo_model(path: str | Path = DEMO_FILE) -> Parts:
    """Build MODEL, CLIP and VAE of the demo model from its file, each of the class that a checkpoint gives.

    Args:
        path: a file written by `demo/train.py`.

    Returns:
        model, clip, vae; each can be loaded again by the host for a deep copy.

    Raises:
        FileError: the file is missing, broken, or of another format.
    """
    path = str(path)
    weights, config = read_demo_file(path)
    model = _model(weights, config["unet"])
    clip = _clip(weights, config["text"])
    vae = _vae(weights)
    # Contract: ModelPatcher.clone(force_deepcopy=True) calls this, with disable_dynamic=True.
    for part, patcher in enumerate((model, clip.patcher, vae.patcher)):
        patcher.cached_patcher_init = (load_demo_patcher, (path, part))
    return model, clip, vae


def load_demo_patcher(path: str, part: int, *, disable_dynamic: bool = False) -> Any:
    """Build only the model patcher of MODEL (part 0), CLIP (1) or VAE (2) from scratch, for the host's copies.

    Args:
        path: a file written by `demo/train.py`.
        part: which of the three.
        disable_dynamic: ask for a patcher without the host's dynamic loading.
    """
    weights, config = read_demo_file(path)
    if part == 0:
        return _model(weights, config["unet"], disable_dynamic)
    # A patcher has no tokenizer, and reading its vocabulary is the slower half of building a CLIP.
    return _vae(weights).patcher if part == 2 else _clip(weights, config["text"], disable_dynamic, _none).patcher


def _none(**options: Any) -> None:
    """In the place of a tokenizer."""


def _model(weights: dict[str, torch.Tensor], unet: dict[str, Any], disable_dynamic: bool = False) -> Any:
    manage = comfy.model_management
    # As comfy/sd.py, load_state_dict_guess_config; only the detection is left out, which knows no such widths.
    config = comfy.supported_models.SD15(unet)
    state = part_of(weights, "model.diffusion_model.")
    device, count = manage.get_torch_device(), sum(value.numel() for value in state.values())
    dtype = manage.unet_dtype(model_params=count, supported_dtypes=list(config.supported_inference_dtypes))
    config.set_inference_dtype(dtype, manage.unet_manual_cast(dtype, device, config.supported_inference_dtypes))
    model = config.get_model(state, "", device=manage.unet_inital_load_device(count, dtype))
    patchers = comfy.model_patcher
    kind = patchers.ModelPatcher if disable_dynamic else patchers.CoreModelPatcher
    patcher = kind(model, load_device=device, offload_device=manage.unet_offload_device())
    model.scenescope_cells = DEMO_CELLS
    widen_groups(model.diffusion_model)
    model.load_model_weights(state, "", assign=patcher.is_dynamic())
    return patcher


def _clip(
    weights: dict[str, torch.Tensor], text: dict[str, Any], disable_dynamic: bool = False, tokenizer: Any = None
) -> Any:
    prefix = "cond_stage_model.transformer."
    state = part_of(weights, prefix, "clip_l.transformer.")
    table = token_table(weights)
    width = table.shape[1]
    state["clip_l.transformer.text_model.embeddings.token_embedding.weight"] = table
    state["clip_l.transformer.text_projection.weight"] = torch.eye(width, dtype=table.dtype)
    target = comfy.supported_models.SD15({"in_channels": 4}).clip_target()
    target.tokenizer = tokenizer or target.tokenizer
    return comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data={"clip_l_tokenizer_class": functools.partial(comfy.sd1_clip.SDTokenizer, embedding_size=width)},
        parameters=sum(value.numel() for value in state.values()),
        state_dict=state,
        model_options={"clip_l_model_config": text},
        disable_dynamic=disable_dynamic,
    )


def _vae(weights: dict[str, torch.Tensor]) -> Any:
    state = part_of(weights, "first_stage_model.")
    state["vae_scale"], state["vae_shift"] = torch.tensor(SCALE), torch.tensor(0.0)
    return comfy.sd.VAE(sd=state | {f"taesd_encoder.{name}": value for name, value in encoder_weights().items()})


@dataclass(frozen=True)
class DemoScene:
    """A scene as sockets carry it: image (1 height width 3), masks (thing height width), a word for each line."""

    image: torch.Tensor
    masks: torch.Tensor
    words: str
    caption: str

    @property
    def single_masks(self) -> list[torch.Tensor]:
        """Three masks, each (1 height width); what there is no thing for is empty."""
        empty = torch.zeros_like(self.masks[:1])
        return [self.masks[i : i + 1] if i < len(self.masks) else empty for i in range(3)]


def demo_scene(seed: int, things: int, *, loose: bool, width: int, height: int) -> DemoScene:
    """Draw a scene of things that the demo model was not trained on.

    Args:
        seed: of everything.
        things: 2 or 3.
        loose: widen the masks as a quick hand would draw them.
        width: pixels.
        height: pixels.

    Returns:
        Picture, masks, starting words and caption, things from left to right.
    """
    drawing = draw(unseen_layout(seed, things), height=height, width=width)
    masks = loosened(drawing.masks) if loose else drawing.masks
    words = "\n".join(STARTING_WORDS[thing.shape] for thing in drawing.layout.things)
    image = torch.from_numpy(drawing.picture)[None]
    return DemoScene(image, torch.from_numpy(masks), words, full_caption(drawing.layout))
