"""Colour maps: numbers from 0 to 1 become colours whose lightness follows the numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError

ColourMap = Literal["inferno", "viridis", "grey", "difference"]

COLOUR_MAPS: tuple[ColourMap, ...] = get_args(ColourMap)
LEVELS = 1024

# Ten colours, evenly spaced, of the public-domain (CC0) maps by S. van der Walt and N. Smith; `difference` is our own.
_ANCHORS: dict[ColourMap, tuple[int, ...]] = {
    "inferno": (
        0x000004, 0x1B0C42, 0x4B0C6B, 0x781C6D, 0xA52C60, 0xCF4446, 0xED6925, 0xFB9A06, 0xF7D03C, 0xFCFFA4,
    ),
    "viridis": (
        0x440154, 0x482878, 0x3E4A89, 0x31688E, 0x26828E, 0x1F9E89, 0x35B779, 0x6DCD59, 0xB4DE2C, 0xFDE725,
    ),
}  # fmt: skip

# Source: B. Ottosson, "A perceptual color space for image processing" (Oklab), 2020: the two matrices.
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_CENTRE, _ENDS, _CHROMA = 0.97, 0.40, 0.13
_COLD, _WARM = (-0.10, -0.995), (0.91, 0.41)  # directions in the a-b plane: blue and red


def colour(levels: Tensor, name: ColourMap) -> Tensor:
    """Colour levels.

    Args:
        levels: (...) float 0..1; what lies outside is clamped. For `difference` 0.5 is no difference.
        name: `inferno`, `viridis`, `grey`, or the two-sided `difference` (blue less, red more).

    Returns:
        (... 3) float32 sRGB, 0..1.

    Raises:
        InputError: the name is none of these.

    >>> [round(part, 2) for part in colour(torch.tensor(1.0), "inferno").tolist()]
    [0.99, 1.0, 0.64]
    """
    if name not in COLOUR_MAPS:
        raise InputError(f"Colours: {name!r} is not a colour map. Choose {', '.join(COLOUR_MAPS)}.")
    table = _table(name).to(levels.device)
    return table[(levels.float().clamp(0, 1).nan_to_num() * (LEVELS - 1)).round().long()]


def to_oklab(rgb: Tensor) -> Tensor:
    """sRGB (... 3) 0..1 to Oklab (... 3): lightness, and the two opponent axes."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = (linear @ rgb.new_tensor(_TO_CONES).mT).clamp(min=0) ** (1 / 3)
    return cones @ rgb.new_tensor(_TO_LAB).mT


def from_oklab(lab: Tensor) -> Tensor:
    """Oklab (... 3) to sRGB (... 3), clamped to 0..1."""
    cones = (lab @ torch.linalg.inv(lab.new_tensor(_TO_LAB)).mT) ** 3
    linear = (cones @ torch.linalg.inv(lab.new_tensor(_TO_CONES)).mT).clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).clamp(0, 1)


@lru_cache
def _table(name: ColourMap) -> Tensor:
    """The map at LEVELS even steps: (level 3) float32."""
    with torch.inference_mode(False):
        if name == "difference":
            return from_oklab(_two_sided()).float()
        if name == "grey":
            return torch.linspace(0, 1, LEVELS)[:, None].repeat(1, 3)
        anchors = torch.tensor([[(hexa >> shift & 255) / 255 for shift in (16, 8, 0)] for hexa in _ANCHORS[name]])
        lab = to_oklab(anchors.double())
        position = torch.linspace(0, len(lab) - 1, LEVELS, dtype=torch.float64)
        below = position.floor().long().clamp(max=len(lab) - 2)
        return from_oklab(torch.lerp(lab[below], lab[below + 1], (position - below)[:, None])).float()


def _two_sided() -> Tensor:
    """Oklab colours whose lightness falls evenly and equally from the middle to both ends."""
    side = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
    lightness = _CENTRE - (_CENTRE - _ENDS) * side.abs()
    chroma = _CHROMA * (side.abs() * torch.pi / 2).sin() ** 0.8
    direction = torch.where(side[:, None] < 0, side.new_tensor(_COLD), side.new_tensor(_WARM))
    return torch.cat([lightness[:, None], chroma[:, None] * direction], dim=1)
