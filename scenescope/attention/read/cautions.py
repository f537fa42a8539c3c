"""Reasons to doubt a map: it is flat, its maximum sits in a corner, or self-attention can't refine it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...dims import Grid
from .heatmap import Heatmaps

CautionKind = Literal["near uniform", "corner sink"]

FLAT = 0.05
"""Unevenness below which a map is called near uniform.

A thing on 4 % of the picture that is attended to three times as strongly as the rest gives 0.07, one on a quarter of it
at double strength 0.15. Rounding to half precision gives less than 0.001. Below 0.05 the colours show differences that
no mask can be cut from.
"""

WEAK = 0.5
"""Strength outside the corners, as a share of the corner's maximum, below which the corner dominates the colours.

On a scale from 0 to the maximum all of the picture then lies in the lower half of the colour bar.
"""

FLAT_ROWS = 0.25
"""Mean unevenness of self-attention's rows below which refining is warned of.

Measured on the demo model, whose rows give 0.10 on 8x8, 0.18 on 4x4 and 2x2 cells: one pass took the IoU of its masks
from 0.83 to 0.10. Where each position attends to a quarter of the picture alone the rows give 0.75.
"""

CORNER = 16
"""A corner is this part of each edge, at least one cell: where sinks were seen, and where a subject seldom is."""


@dataclass(frozen=True)
class Caution:
    """One reason to doubt a map.

    Args:
        kind: `near uniform` or `corner sink`.
        word: whose map.
        image: picture of the batch, from 0.
        measure: the unevenness, or the strength outside the corners as a part of the maximum; 0..1.
        text: the same in words, for the node.
    """

    kind: CautionKind
    word: str
    image: int
    measure: float
    text: str


def unevenness(values: Tensor, covered: Tensor) -> Tensor:
    """How much of a map's attention would have to move to make it flat.

    Source: the total variation distance between the map, taken as a distribution over the picture, and the uniform one.

    Args:
        values: (... height width) float, not negative.
        covered: (height width) float 0..1, how much each cell counts.

    Returns:
        (...) float32 from 0, flat, towards 1, all in one cell; 0 for a map of nothing.

    >>> unevenness(torch.tensor([[1.0, 1.0], [1.0, 5.0]]), torch.ones(2, 2)).item()
    0.375
    """
    weight = covered / covered.sum()
    mass = values.float() * covered
    total = mass.sum(dim=(-2, -1), keepdim=True)
    part = torch.where(total > 0, mass / total.clamp(min=torch.finfo(torch.float32).tiny), weight)
    return (part - weight).abs().sum(dim=(-2, -1)) / 2


def outside_corners(values: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a map's maximum sits in a corner, and how strong it is elsewhere.

    Args:
        values: (... height width) float, not negative.

    Returns:
        in_corner: (...) bool.
        elsewhere: (...) the maximum outside the corners as a part of the maximum, 0..1.
    """
    height, width = values.shape[-2:]
    rows, columns = math.ceil(height / CORNER), math.ceil(width / CORNER)
    corner = torch.zeros(height, width, dtype=torch.bool)
    for row in (slice(0, rows), slice(height - rows, height)):
        for column in (slice(0, columns), slice(width - columns, width)):
            corner[row, column] = True
    most = values.amax(dim=(-2, -1))
    elsewhere = values.masked_fill(corner.to(values.device), 0).amax(dim=(-2, -1))
    return elsewhere < most, elsewhere / torch.where(most > 0, most, 1.0)


def cautions_of(maps: Heatmaps) -> tuple[Caution, ...]:
    """Look for maps that show less than their colours suggest, in order of picture and word.

    Args:
        maps: shares of attention.
    """
    values = maps.values.movedim(-1, 1)  # (image word height width)
    flatness = unevenness(values, maps.covered)
    in_corner, elsewhere = outside_corners(values)
    found: list[Caution] = []
    for image, word in torch.cartesian_prod(torch.arange(values.shape[0]), torch.arange(values.shape[1])).tolist():
        name, flat, rest = maps.words[word], float(flatness[image, word]), float(elsewhere[image, word])
        if flat < FLAT:
            text = (
                f"{name!r} is nearly uniform: moving {flat:.1%} of its attention makes it flat (limit {FLAT:.0%}). "
                "The word has no more influence in one place than in another."
            )
            found.append(Caution("near uniform", name, image, flat, text))
        elif bool(in_corner[image, word]) and rest < WEAK:
            text = (
                f"{name!r} has its maximum in a corner, and at most {rest:.0%} of it elsewhere (limit {WEAK:.0%}). "
                "A sink in the corner sets the scale; the rest looks weaker than it is."
            )
            found.append(Caution("corner sink", name, image, rest, text))
    return tuple(found)


def refining_caution(attention: Mapping[Grid, Tensor]) -> str:
    """Warn where refining would blur a map rather than bring out what belongs together.

    Args:
        attention: for each grid (image query key) float32, each row sums to 1, as `masks.self_attention` gives it.

    Returns:
        A sentence; empty where on every grid positions attend to some places clearly more than to others.

    >>> refining_caution({Grid(1, 4): torch.eye(4)[None]})
    ''
    >>> refining_caution({Grid(1, 2): torch.full((1, 2, 2), 0.5)})[:29]
    'Self-attention is nearly flat'
    """
    flat = {grid: float((rows - 1 / grid.cells).abs().sum(-1).mean()) / 2 for grid, rows in attention.items()}
    if all(value >= FLAT_ROWS for value in flat.values()):
        return ""
    named = ", ".join(f"{grid.height}x{grid.width}: {value:.0%}" for grid, value in flat.items())
    return (
        f"Self-attention is nearly flat ({named} would have to move to make it so; below {FLAT_ROWS:.0%} refining "
        "blurs). Compare with refine at 0, or record only the blocks whose self-attention is sharper."
    )
