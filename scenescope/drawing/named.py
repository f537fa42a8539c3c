"""Pictures with their names under them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .lettering import INK, PAPER, fitting, font
from .pixels import to_tensor


def named(pictures: Tensor, names: Sequence[str]) -> Tensor:
    """Write a name on a strip of its own below each picture, so that nothing of the picture is covered.

    Args:
        pictures: (batch height width 3) float, 0..1.
        names: of the pictures in their order, from the start again where there are fewer; cut where they are too long.

    Returns:
        (batch height+strip width 3) float32, 0..1; the pictures themselves where there are no names.
    """
    if not names:
        return pictures
    height, width = pictures.shape[1:3]
    letters = max(13, min(height, width) // 18)
    strips = {name: _strip(name, width, letters) for name in set(names)}
    below = torch.cat([strips[names[at % len(names)]] for at in range(len(pictures))])
    return torch.cat([pictures.float(), below.to(pictures.device)], dim=1)


def _strip(name: str, width: int, letters: int) -> Tensor:
    picture = Image.new("RGB", (width, 2 * letters), PAPER)
    text = fitting(name, width - letters, letters)
    ImageDraw.Draw(picture).text((width // 2, letters), text, fill=INK, font=font(letters, text), anchor="mm")
    return to_tensor(picture)
