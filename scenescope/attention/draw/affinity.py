"""Self-attention as pictures: what a place looks at, and the leading components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...cost import MASK, refuse_costly
from ...dims import Grid
from ...drawing.lettering import Bar, bar_of, number_text
from ...drawing.pixels import enlarge
from ...errors import InputError
from ..read.affinity import GridChoice, choose_grid, components, point_mask, seen_from
from .render import Style, Tile, sheet

JSON_FORMAT = 1
_SIGNS = ((0.0, "-"), (0.5, "0"), (1.0, "+"))


@dataclass(frozen=True)
class AffinityFigure:
    """What a self-attention node gives.

    Args:
        images: (1 height width 3) float32 0..1, a row for each picture.
        masks: (map height width) float32 0..1; maps outside, pictures inside.
        report: the numbers, as JSON.
    """

    images: Tensor
    masks: Tensor
    report: str


def draw_seen(
    attention: Mapping[Grid, Tensor], place: tuple[float, float] | Tensor | None, choice: GridChoice, style: Style
) -> AffinityFigure:
    """Draw what a point or the places of masks look at.

    Args:
        attention: what `self_attention` returned.
        place: (x, y) of a point, 0..1 from the left and the top; or masks (mask height width) 0..1.
        choice: which of the grids.
        style: how to draw.

    Raises:
        InputError: there is no place, or a mask is empty.
    """
    if place is None:
        raise InputError(
            "Self-Attention Map: show is mask, but no mask is connected. Connect one, or choose point or components."
        )
    grid = choose_grid(attention, choice)
    if isinstance(place, tuple):
        masks = point_mask(*place, grid)
        row, column = (int(at) for at in masks[0].nonzero()[0])
        names = [f"from row {row}, column {column}"]
    else:
        masks = place
        names = ["from the mask"] if len(masks) == 1 else [f"from mask {at + 1}" for at in range(len(masks))]
    found = seen_from(attention[grid], grid, masks)
    top = float(found.amax())
    bar = bar_of(top, "share of attention", style.colours)
    rows = [
        [
            Tile(one / top, name, f"max {number_text(float(one.amax()))}", "", bar)
            for one, name in zip(each, names, strict=True)
        ]
        for each in found
    ]
    return _figure(rows, found / top, grid, style, {"maps": names, "largest share": top})


def draw_components(attention: Mapping[Grid, Tensor], count: int, choice: GridChoice, style: Style) -> AffinityFigure:
    """Draw the leading components: places of one colour look at the same places.

    Args:
        attention: what `self_attention` returned.
        count: components.
        choice: which of the grids.
        style: how to draw; the colours are those of differences.
    """
    grid = choose_grid(attention, choice)
    found = components(attention[grid], grid, count)
    most = found.values.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    levels = 0.5 + found.values / most / 2
    bar = Bar(_SIGNS, "component", "difference")
    rows = [
        [
            Tile(one, f"component {at + 1}", f"{float(shares[at]):.0%} of the differences", "", bar)
            for at, one in enumerate(each)
        ]
        for each, shares in zip(levels, found.shares, strict=True)
    ]
    return _figure(rows, levels, grid, style, {"shares of the differences": found.shares.tolist()})


def _figure(
    rows: Sequence[Sequence[Tile]], levels: Tensor, grid: Grid, style: Style, numbers: Mapping[str, object]
) -> AffinityFigure:
    advice = "Choose fewer components or masks, or connect a smaller picture."
    refuse_costly("Self-Attention Map: the maps", levels.shape[0] * levels.shape[1], style.size, MASK, advice)
    report = {"what": "SceneScope self-attention", "format": JSON_FORMAT, "grid": str(grid), **numbers}
    images = sheet(rows, style, footer=f"self-attention {grid}, mean of all recorded steps, layers and heads")
    masks = enlarge(levels.transpose(0, 1).flatten(0, 1), style.size, style.enlarging).clamp(0, 1)
    return AffinityFigure(images, masks, json.dumps(report, indent=2))
