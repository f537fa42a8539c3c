"""The demo model's loader: one file in, an ordinary MODEL, CLIP and VAE out."""

from __future__ import annotations

import functools
import json
import struct
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
from safetensors import SafetensorError, safe_open

from ..scenescope.errors import FileError
from ..scenescope.world.latent import DEVIATION, MATTE_FROM, MATTE_RANGE, MEAN, MIX
from ..scenescope.world.scene import draw, full_caption
from ..scenescope.world.unseen import STARTING_WORDS, loosened, unseen_layout

DEMO_FILE = Path(__file__).resolve().parent.parent / "demo" / "scenescope-demo.safetensors"
"""Where the pack keeps the weights."""
FORMAT = 1
SCALE = 0.18215
"""SD1.5's latent scale factor: what the host multiplies a VAE's latent by before the U-Net sees it."""
VOCABULARY = 49408
"""Rows of SD1's token table."""

Parts = tuple[Any, Any, Any]


def load_demo_model(path: str | Path = DEMO_FILE, *, disable_dynamic: bool = False) -> Parts:
    """Build MODEL, CLIP and VAE of the demo model from its file, each of the class that a checkpoint gives.

    Args:
        path: a file written by `demo/train.py`.
        disable_dynamic: ask for a patcher without the host's dynamic loading, as the host does when it copies a model.

    Returns:
        model, clip, vae; each can be loaded again by the host for a deep copy.

    Raises:
        FileError: the file is missing, broken, or of another format.
    """
    path = str(path)
    weights, config = _read(path)
    model = _model(weights, config["unet"], disable_dynamic)
    clip = _clip(weights, config["text"], disable_dynamic)
    vae = _vae(weights)
    # Contract: ModelPatcher.clone(force_deepcopy=True) calls this again, with disable_dynamic=True.
    model.cached_patcher_init = (load_demo_model, (path,), 0)
    clip.patcher.cached_patcher_init = (load_demo_patcher, (path, 1))
    vae.patcher.cached_patcher_init = (load_demo_patcher, (path, 2))
    return model, clip, vae


def load_demo_patcher(path: str, part: int, *, disable_dynamic: bool = False) -> Any:
    """Build the model patcher of the CLIP (part 1) or the VAE (part 2) afresh, for the host's deep copies."""
    return load_demo_model(path, disable_dynamic=disable_dynamic)[part].patcher


def _read(path: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    advice = "Restore the file from the pack, or make it with demo/train.py."
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads((file.metadata() or {}).get("scenescope_demo", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, struct.error) as error:
        raise FileError(f"Demo Model: its weights in {path} can't be read ({error}). {advice}") from error
    if notes.get("format") != FORMAT:
        found = notes.get("format", "none")
        raise FileError(f"Demo Model: {path} has format {found}, but this version reads format {FORMAT}. {advice}")
    return weights, notes


def _part(weights: dict[str, torch.Tensor], prefix: str, becomes: str = "") -> dict[str, torch.Tensor]:
    return {becomes + name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}


def _model(weights: dict[str, torch.Tensor], unet: dict[str, Any], disable_dynamic: bool) -> Any:
    manage = comfy.model_management
    # As comfy/sd.py, load_state_dict_guess_config; only the detection is left out, which knows no such widths.
    config = comfy.supported_models.SD15(unet)
    state = _part(weights, "model.diffusion_model.")
    device, count = manage.get_torch_device(), sum(value.numel() for value in state.values())
    dtype = manage.unet_dtype(model_params=count, supported_dtypes=list(config.supported_inference_dtypes))
    config.set_inference_dtype(dtype, manage.unet_manual_cast(dtype, device, config.supported_inference_dtypes))
    model = config.get_model(state, "", device=manage.unet_inital_load_device(count, dtype))
    patchers = comfy.model_patcher
    kind = patchers.ModelPatcher if disable_dynamic else patchers.CoreModelPatcher
    patcher = kind(model, load_device=device, offload_device=manage.unet_offload_device())
    widen_groups(model.diffusion_model)
    model.load_model_weights(state, "", assign=patcher.is_dynamic())
    return patcher


def widen_groups(unet: torch.nn.Module) -> None:
    """Let each group of a U-Net's group norms span four channels at least, in place.

    The host's 32 groups are of ten channels and more at SD1.5's widths. At a width of 32 they would be single channels,
    each robbed of its mean, so that the U-Net could not tell, or undo, the mean colour of the noise.
    """
    for norm in unet.modules():
        if isinstance(norm, torch.nn.GroupNorm):
            norm.num_groups = min(32, norm.num_channels // 4)


def _clip(weights: dict[str, torch.Tensor], text: dict[str, Any], disable_dynamic: bool) -> Any:
    prefix = "cond_stage_model.transformer."
    state = _part(weights, prefix, "clip_l.transformer.")
    rows, ids = weights["cond_stage_model.known_rows"], weights["cond_stage_model.known_ids"].long()
    table = rows[-1:].repeat(VOCABULARY, 1)
    table[ids] = rows[:-1]
    state["clip_l.transformer.text_model.embeddings.token_embedding.weight"] = table
    state["clip_l.transformer.text_projection.weight"] = torch.eye(rows.shape[1], dtype=rows.dtype)
    target = comfy.supported_models.SD15({"in_channels": 4}).clip_target()
    tokenizer = functools.partial(comfy.sd1_clip.SDTokenizer, embedding_size=rows.shape[1])
    return comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data={"clip_l_tokenizer_class": tokenizer},
        parameters=sum(value.numel() for value in state.values()),
        state_dict=state,
        model_options={"clip_l_model_config": text},
        disable_dynamic=disable_dynamic,
    )


def _vae(weights: dict[str, torch.Tensor]) -> Any:
    state = _part(weights, "first_stage_model.")
    state["vae_scale"], state["vae_shift"] = torch.tensor(SCALE), torch.tensor(0.0)
    return comfy.sd.VAE(sd=state | encoder_weights())


def encoder_weights() -> dict[str, torch.Tensor]:
    """Write the closed-form encoder into the weights of the host's small encoder (comfy/taesd/taesd.py, Encoder).

    Its rectifiers compute |R-G| + |G-B| + |B-R| exactly, its strided convolutions are 2x2 means, the rest is identity;
    what comes out is `scenescope.world.latent.latent_of`.

    Returns:
        state: float32 tensors under the host's names.
    """
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in comfy.taesd.taesd.Encoder().state_dict().items()}
    state = {f"taesd_encoder.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    first = {name: state[f"taesd_encoder.{name}"] for name in shapes}
    first["0.weight"][range(3), range(3), 1, 1] = 1
    for row, (plus, minus) in enumerate([(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)]):
        first["1.conv.0.weight"][row, plus, 1, 1] = 1
        first["1.conv.0.weight"][row, minus, 1, 1] = -1
    first["1.conv.2.weight"][:2, :6, 1, 1] = 1 / MATTE_RANGE
    first["1.conv.2.bias"][0] = -MATTE_FROM / MATTE_RANGE
    first["1.conv.2.bias"][1] = -MATTE_FROM / MATTE_RANGE - 1
    # A ramp that stops at one is the difference of two rectifiers.
    first["1.conv.4.weight"][3, 0, 1, 1], first["1.conv.4.weight"][3, 1, 1, 1] = 1, -1
    for level in (2, 6, 10):
        first[f"{level}.weight"][range(4), range(4), 1:, 1:] = 0.25
    mix, mean, deviation = (torch.from_numpy(part) for part in (MIX, MEAN, DEVIATION))
    first["14.weight"][:, :4, 1, 1] = mix / deviation[:, None]
    first["14.bias"][:] = -mean / deviation
    return state


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
