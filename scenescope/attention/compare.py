"""Two records side by side: what a LoRA, a training or another seed changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .drawing import Bar, number_text, ticks
from .heatmap import Heatmaps
from .normalise import SHARE_UNIT, Scaled, normalise
from .render import Style, Tile, tiles_of

FLOOR = 0.01
"""Part of the uniform share that is added on both sides of a ratio, so that nothing over nothing is 1."""


@dataclass(frozen=True)
class Comparison:
    """Two runs' maps of the same words, on one grid.

    Args:
        first: maps before.
        second: maps after, on the first one's grid.
        difference: (image height width word) float32, second minus first, in shares of attention.
        doublings: (image height width word) float32, log2 of the ratio second to first.
    """

    first: Heatmaps
    second: Heatmaps
    difference: Tensor
    doublings: Tensor


def compare(first: Heatmaps, second: Heatmaps) -> Comparison:
    """Subtract and divide two runs' maps.

    Args:
        first: maps before.
        second: maps after; of any grid, resampled to the first one's.

    Raises:
        InputError: the words differ, or the numbers of pictures.
    """
    if first.words != second.words or len(first.values) != len(second.values):
        got = f"{', '.join(first.words)} in {len(first.values)} pictures against "
        got += f"{', '.join(second.words)} in {len(second.values)}"
        raise InputError(
            f"Compare maps: the runs show {got}; expected the same words and as many pictures. "
            "Record both runs with the same words and batch."
        )
    second = second.on(first.grid)
    floors = FLOOR * torch.maximum(first.uniform, second.uniform)
    doublings = torch.log2((second.values + floors) / (first.values + floors))
    return Comparison(first, second, second.values - first.values, doublings)


def mean_change(comparison: Comparison) -> Tensor:
    """How much each word's map changed: the mean of the absolute difference, (image word) float32 share."""
    return comparison.difference.abs().mean(dim=(1, 2))


def comparison_tiles(comparison: Comparison, style: Style) -> list[list[Tile]]:
    """Make four tiles for each picture and word: before, after, difference, ratio; each column on one scale.

    Args:
        comparison: the two runs.
        style: how the first two are drawn; the others are drawn in blue (less) and red (more).
    """
    runs = normalise([comparison.first, comparison.second], "runs")
    before, after = (_flat(tiles_of(run, (), style)) for run in runs)
    most = float(comparison.difference.abs().amax()) or 1.0
    turns = max(0.1, float(comparison.doublings.abs().amax()))
    rows: list[list[Tile]] = []
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        image, word = divmod(index, len(comparison.first.words))
        change, ratio = comparison.difference[image, ..., word], comparison.doublings[image, ..., word]
        moved = f"from {number_text(float(change.amin()))} to {number_text(float(change.amax()))}"
        times = f"from x{number_text(2 ** float(ratio.amin()))} to x{number_text(2 ** float(ratio.amax()))}"
        rows.append(
            [
                _named(old, "before"),
                _named(new, "after"),
                Tile(0.5 + change / most / 2, f"difference: {old.word}", moved, "", _difference_bar(most)),
                Tile(0.5 + ratio / turns / 2, f"ratio: {old.word}", times, "", _ratio_bar(turns)),
            ]
        )
    return rows


def difference_scaled(comparison: Comparison) -> Scaled:
    """The absolute difference on one scale, for a mask of what changed."""
    values = comparison.difference.abs()
    most = values.amax()
    top = torch.where(most > 0, most, 1.0).expand(values.shape[0], values.shape[-1])
    return Scaled(values, top, SHARE_UNIT, "runs", comparison.first.words)


def _flat(rows: Sequence[Sequence[Tile]]) -> list[Tile]:
    return [tile for row in rows for tile in row]


def _named(tile: Tile, when: str) -> Tile:
    return Tile(tile.levels, f"{when}: {tile.word}", tile.note, tile.doubt, tile.bar)


def _difference_bar(most: float) -> Bar:
    up = ticks(most)[1:]
    marks = tuple(
        ((value / most + 1) / 2, f"{value:+.2g}" if value else "0") for value in (*(-v for v in up), 0.0, *up)
    )
    return Bar(marks, "difference of shares", "difference")


def _ratio_bar(turns: float) -> Bar:
    step = max(1, math.floor(turns / 2))
    whole = [float(turn) for turn in range(-math.floor(turns), math.floor(turns) + 1) if turn % step == 0]
    inner = [turn for turn in whole if abs(turn) < turns * 0.85]
    marks = tuple(((turn / turns + 1) / 2, f"x{number_text(2**turn)}") for turn in (-turns, *inner, turns))
    return Bar(marks, "ratio of shares", "difference")
