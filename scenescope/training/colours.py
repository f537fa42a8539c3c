"""A painted picture as masks: every colour is a thing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError

LEAST_SHARE = 0.01
"""Share of the picture below which a colour is the soft edge between two others; so small a thing could not be learned:
the supervised maps of a square of 512 pixels have 256 cells, and a thing needs four."""

NEAR = 48
"""Distance in steps of 0..255 below which two colours are one that a file format has blurred."""

Colour = tuple[int, int, int]


def masks_by_colour(painted: Tensor, *, ground: Colour | None = (0, 0, 0)) -> tuple[tuple[Colour, ...], Tensor]:
    """Part a painted picture into a mask for each colour.

    Every pixel belongs to the nearest of the colours that cover enough, so soft edges leave no gaps.

    Args:
        painted: (height width 3 or 4) float, 0..1; where a fourth channel is below one half there is ground.
        ground: the colour that is nothing, 0..255; None where every colour is a thing.

    Returns:
        colours: in the order in which reading the picture row by row meets them.
        masks: (colour height width) float32, 0 or 1.

    Raises:
        InputError: the shape is another, or there is no colour but the ground.

    >>> colours, masks = masks_by_colour(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]]))
    >>> colours, masks.tolist()
    (((255, 0, 0), (0, 0, 255)), [[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    """
    if painted.ndim != 3 or painted.shape[-1] not in (3, 4) or not painted.numel():
        raise InputError(
            f"Painted masks: the picture is {tuple(painted.shape)}; expected (height, width, 3). Connect one picture."
        )
    pixels = (painted[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().long().flatten(0, 1)
    seen = torch.ones(len(pixels), dtype=torch.bool)
    if painted.shape[-1] == 4:
        seen = painted[..., 3].detach().cpu().flatten() >= 0.5
    mains = _main_colours(pixels[seen], len(pixels), ground)
    nearest, first = torch.full((len(pixels),), -1), {}
    if len(mains):
        distance = torch.cdist(pixels.double(), mains.double())  # (pixel colour)
        nearest = torch.where(seen, distance.argmin(dim=1), nearest)
    for index in range(0 if ground is None else 1, len(mains)):  # the ground is the first of the main colours
        places = (nearest == index).nonzero()
        if len(places):
            first[index] = int(places[0])
    if not first:
        raise InputError(
            "Painted masks: there is no colour but the ground; expected one for each thing. Paint each thing in a "
            "colour of its own, or say which colour is the ground."
        )
    order = sorted(first, key=lambda index: first[index])
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in mains[order].tolist())
    masks = torch.stack([(nearest == index).float().reshape(painted.shape[:2]) for index in order])
    return colours, masks


def _main_colours(pixels: Tensor, total: int, ground: Colour | None) -> Tensor:
    """The colours that cover enough, most frequent first, the ground before them: (colour 3) int64."""
    unique, counts = torch.unique(pixels, dim=0, return_counts=True)
    mains = [] if ground is None else [torch.tensor(ground)]
    for index in counts.argsort(descending=True, stable=True).tolist():
        if int(counts[index]) < LEAST_SHARE * total:
            break
        if all(float((unique[index] - main).double().norm()) >= NEAR for main in mains):
            mains.append(unique[index])
    return torch.stack(mains) if mains else unique[:0]
