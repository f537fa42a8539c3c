"""The demo model's file: what is in it, and what every loader has to do with it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import FileError
from .latent import DEVIATION, MATTE_FROM, MATTE_RANGE, MEAN, MIX

DEMO_FILE = Path(__file__).resolve().parents[2] / "demo" / "scenescope-demo.safetensors"
"""Where the pack keeps the weights."""
FORMAT = 1
VOCABULARY = 49408
"""Rows of SD1's token table."""
_WIDTH, _LATENT = 64, 4
_ADVICE = "Reinstall SceneScope to get the file back."


def read_demo_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and configuration.

    Args:
        path: a file written by `demo/train.py`.

    Returns:
        weights: float16 tensors under SD checkpoint names, and the known rows of the token table.
        notes: `unet` and `text`, the arguments of U-Net and text model.

    Raises:
        FileError: the file is missing, broken, or of another format.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads((file.metadata() or {}).get("scenescope_demo", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, struct.error) as error:
        why = str(error).replace(str(path), path.name)
        raise FileError(f"Demo Model: its weights in {path.name} can't be read ({why}). {_ADVICE}") from error
    if notes.get("format") != FORMAT:
        found = notes.get("format", "none")
        raise FileError(
            f"Demo Model: {path.name} has format {found}, but this version reads format {FORMAT}. {_ADVICE}"
        )
    return weights, notes


def part_of(weights: Mapping[str, Tensor], prefix: str, becomes: str = "") -> dict[str, Tensor]:
    """The weights whose names begin so, under names that begin otherwise.

    >>> list(part_of({"a.b": torch.zeros(1), "c": torch.zeros(1)}, "a.", "d."))
    ['d.b']
    """
    return {becomes + name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}


def token_table(weights: Mapping[str, Tensor]) -> Tensor:
    """The whole token table (token channel) float16; all words that the model does not know share one row."""
    rows, ids = weights["cond_stage_model.known_rows"], weights["cond_stage_model.known_ids"].long()
    table = rows[-1:].repeat(VOCABULARY, 1)
    table[ids] = rows[:-1]
    return table


def widen_groups(unet: nn.Module) -> None:
    """Let each group of a U-Net's group norms span four channels at least, in place.

    The 32 groups of SD1.5 are of ten channels and more at its widths. At a width of 32 they would be single channels,
    each robbed of its mean, so that the U-Net could not tell, or undo, the mean colour of the noise.
    """
    for norm in unet.modules():
        if isinstance(norm, nn.GroupNorm):
            norm.num_groups = min(32, norm.num_channels // 4)


def encoder_weights() -> dict[str, Tensor]:
    """Write the closed-form encoder into the weights of TAESD's encoder (a sequence of 15 layers, 64 channels).

    Its rectifiers compute |R-G| + |G-B| + |B-R| exactly, its strided convolutions are 2x2 means, the rest is identity;
    what comes out is `scenescope.world.latent.latent_of`.

    Returns:
        state: float32 tensors by layer, `0.weight`, `1.conv.0.bias`.
    """
    state = _empty_encoder()
    state["0.weight"][range(3), range(3), 1, 1] = 1
    for row, (plus, minus) in enumerate([(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)]):
        state["1.conv.0.weight"][row, plus, 1, 1] = 1
        state["1.conv.0.weight"][row, minus, 1, 1] = -1
    state["1.conv.2.weight"][:2, :6, 1, 1] = 1 / MATTE_RANGE
    state["1.conv.2.bias"][0] = -MATTE_FROM / MATTE_RANGE
    state["1.conv.2.bias"][1] = -MATTE_FROM / MATTE_RANGE - 1
    # A ramp that stops at one is the difference of two rectifiers.
    state["1.conv.4.weight"][3, 0, 1, 1], state["1.conv.4.weight"][3, 1, 1, 1] = 1, -1
    for level in (2, 6, 10):
        state[f"{level}.weight"][range(4), range(4), 1:, 1:] = 0.25
    mix, mean, deviation = (torch.from_numpy(part) for part in (MIX, MEAN, DEVIATION))
    state["14.weight"][:, :4, 1, 1] = mix / deviation[:, None]
    state["14.bias"][:] = -mean / deviation
    return state


def _empty_encoder() -> dict[str, Tensor]:
    """Zeros for TAESD's encoder: convolutions 0 and 14, three strided ones without bias, and blocks of three between.

    Source: host contract, ComfyUI 0.33 `taesd.Encoder`, and diffusers 0.42 `EncoderTiny`: the same layers and names.
    """
    state = {"0.weight": torch.zeros(_WIDTH, 3, 3, 3), "0.bias": torch.zeros(_WIDTH)}
    for layer in range(1, 14):
        if layer in (2, 6, 10):
            state[f"{layer}.weight"] = torch.zeros(_WIDTH, _WIDTH, 3, 3)
            continue
        for inner in (0, 2, 4):
            state[f"{layer}.conv.{inner}.weight"] = torch.zeros(_WIDTH, _WIDTH, 3, 3)
            state[f"{layer}.conv.{inner}.bias"] = torch.zeros(_WIDTH)
    return state | {"14.weight": torch.zeros(_LATENT, _WIDTH, 3, 3), "14.bias": torch.zeros(_LATENT)}
