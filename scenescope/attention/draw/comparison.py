"""Two runs side by side, as tiles of a sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...drawing.lettering import Bar, number_text, ticks
from ..read.compare import Comparison
from ..read.normalise import normalise
from .render import Style, Tile, tiles_of


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


def _flat(rows: Sequence[Sequence[Tile]]) -> list[Tile]:
    return [tile for row in rows for tile in row]


def _named(tile: Tile, when: str) -> Tile:
    return Tile(tile.levels, f"{when}: {tile.word}", tile.note, tile.caution, tile.bar)


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
