"""Between tensors and pictures: sizes, pixels, batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..dims import Grid
from .lettering import PAPER

Enlarging = Literal["smooth", "cells"]
ENLARGING: tuple[Enlarging, ...] = get_args(Enlarging)
TILE = (192, 512)
"""Least and most pixels of a tile's longer side on a sheet: room for letters, and a sheet that a screen can show."""


def tile_size(size: Grid) -> Grid:
    """The size of a tile on a sheet: of the picture's shape, its longer side within `TILE`."""
    longer = max(size)
    return size.scaled(min(max(longer, TILE[0]), TILE[1]) / longer, least=16)


def enlarge(levels: Tensor, size: Grid, enlarging: Enlarging) -> Tensor:
    """Bring maps to the size of a picture.

    Args:
        levels: (batch height width) float.
        size: pixels wanted.
        enlarging: `smooth` or `cells`.

    Returns:
        (batch height width) of that size.
    """
    if enlarging == "cells":
        return F.interpolate(levels[:, None], tuple(size), mode="nearest-exact")[:, 0]
    return F.interpolate(levels[:, None], tuple(size), mode="bilinear", align_corners=False, antialias=True)[:, 0]


def joined(pictures: Sequence[Tensor]) -> Tensor:
    """Put pictures (1 height width 3) of nearly one size into a batch; the smaller ones get a margin."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (1, 2))
    batch = torch.tensor(PAPER).div(255).expand(len(pictures), height, width, 3).clone()
    for index, picture in enumerate(pictures):
        batch[index, : picture.shape[1], : picture.shape[2]] = picture[0]
    return batch


def to_image(pixels: Tensor) -> Image.Image:
    """(height width channel) float 0..1 as a picture; of more than three channels the first three."""
    return Image.fromarray((pixels[..., :3].detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy())


def to_tensor(picture: Image.Image) -> Tensor:
    """A picture as (1 height width 3) float32 0..1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]
