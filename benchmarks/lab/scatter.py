"""Points with names in a plane, each with its interval along both axes: one measure against another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw

from ...scenescope.drawing.lettering import font, number_text
from ...scenescope.errors import InputError

WIDTH, HEIGHT, SHARPER = 900, 640, 2
LEFT, RIGHT, TOP, BOTTOM = 92, 28, 62, 74
PAPER, INK, SOFT, LINE = "#f8f7f3", "#1f2d3a", "#5b6873", "#d8d9d5"
COLOURS = ("#c4461f", "#2f6f9f", "#64852f", "#7a569f", "#b07a00", "#2a8c82", "#8a4b4b", "#4b4b8a")
DOT, LETTERS = 7, 15


Range = tuple[float, float, float]
"""A number between the ends of its interval."""


class Spot(NamedTuple):
    """One point: its name, and its number with its interval along each axis."""

    name: str
    across: Range
    up: Range


@dataclass(frozen=True)
class Axes:
    """What is drawn against what."""

    title: str
    across: str
    up: str


class Span(NamedTuple):
    """A stretch of numbers and the distance of its marks."""

    low: float
    high: float
    step: float

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)

    def marks(self) -> list[float]:
        """The round numbers in it."""
        count = round((self.high - self.low) / self.step)
        return [round(self.low + index * self.step, 10) for index in range(count + 1)]


def span_of(values: Sequence[float]) -> Span:
    """A stretch between round numbers that holds all values, with room.

    >>> span_of([0.31, 0.58])
    Span(low=0.3, high=0.6, step=0.05)
    """
    low, high = min(values), max(values)
    rough = max(high - low, 0.02) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((times * power for times in (1, 2, 5, 10)), key=lambda size: abs(math.log(size / rough)))
    first, last = math.floor(low / step), math.ceil(high / step)
    return Span(round(first * step, 10), round(max(last, first + 1) * step, 10), step)


def draw_scatter(spots: Sequence[Spot], axes: Axes) -> Image.Image:
    """Draw named points with their intervals.

    Args:
        spots: the points.
        axes: title and what the axes are.

    Returns:
        An RGB picture of 900x640 pixels.

    Raises:
        InputError: there are no points, or a number is not finite.
    """
    across, up = [value for spot in spots for value in spot.across], [value for spot in spots for value in spot.up]
    if not spots or not all(map(math.isfinite, (*across, *up))):
        raise InputError(
            f"Scatter: {len(spots)} points can't be drawn; at least one is needed, and all numbers have to be finite. "
            "Leave out what was not measured."
        )
    spans = span_of(across), span_of(up)
    sheet = Image.new("RGB", (WIDTH * SHARPER, HEIGHT * SHARPER), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_axes(sheet, draw, axes, *spans)
    taken = [box for spot in spots for box in _boxes(spot, *spans)]
    for index, spot in enumerate(spots):
        _draw_spot(draw, spot, spans, COLOURS[index % len(COLOURS)])
    for index, spot in enumerate(spots):
        box = label_box(spot.name, place_of(spot, *spans), taken)
        taken.append(box)
        _write(draw, (box[0], (box[1] + box[3]) / 2), spot.name, LETTERS, COLOURS[index % len(COLOURS)], "lm")
    return sheet.reduce(SHARPER)


def place_of(spot: Spot, across: Span, up: Span) -> tuple[float, float]:
    """Where a point stands: (column, row) in the finished picture's pixels."""
    return _column(across.share(spot.across[1])), _row(up.share(spot.up[1]))


def label_box(
    name: str, place: tuple[float, float], taken: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float, float, float]:
    """Find room for a name beside its point: the first place that covers nothing, else the one that covers least.

    Args:
        name: the label.
        place: the point (column, row).
        taken: boxes (left, top, right, bottom) of what is there.

    Returns:
        The label's box.
    """
    width, height = font(LETTERS).getlength(name), LETTERS * 1.25
    column, row = place
    tries = []
    for far in (DOT + 4.0, DOT + 18.0, DOT + 34.0):
        for left, middle in (
            (column + far / 2, row - far / 2 - 8),
            (column - far / 2 - width, row - far / 2 - 8),
            (column + far / 2, row + far / 2 + 8),
            (column - far / 2 - width, row + far / 2 + 8),
            (column - width / 2, row - far - 6),
            (column - width / 2, row + far + 6),
        ):
            tries.append((left, middle - height / 2, left + width, middle + height / 2))
    inside = [box for box in tries if box[0] >= LEFT and box[2] <= WIDTH - 4 and box[1] >= TOP - 20]
    return min(inside or tries, key=lambda box: sum(_common(box, other) for other in taken))


def _boxes(spot: Spot, across: Span, up: Span) -> list[tuple[float, float, float, float]]:
    """What a point and its two intervals cover."""
    left, column, right = (_column(across.share(value)) for value in spot.across)
    bottom, row, top = (_row(up.share(value)) for value in spot.up)
    point = (column - DOT, row - DOT, column + DOT, row + DOT)
    return [point, (left, row - 1, right, row + 1), (column - 1, top, column + 1, bottom)]


def _common(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


def _column(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _row(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _draw_spot(draw: ImageDraw.ImageDraw, spot: Spot, spans: tuple[Span, Span], ink: str) -> None:
    point, (left, _, right, _), (_, top, _, bottom) = _boxes(spot, *spans)
    column, row = place_of(spot, *spans)
    for line in ([(left, row), (right, row)], [(column, bottom), (column, top)]):
        draw.line([(x * SHARPER, y * SHARPER) for x, y in line], ink, SHARPER + 1)
    draw.ellipse([SHARPER * value for value in point], ink, PAPER)


def _draw_axes(sheet: Image.Image, draw: ImageDraw.ImageDraw, axes: Axes, across: Span, up: Span) -> None:
    for value in across.marks():
        column = _column(across.share(value))
        _line(draw, (column, TOP), (column, HEIGHT - BOTTOM))
        _write(draw, (column, HEIGHT - BOTTOM + 16), number_text(value), 13, SOFT, "mm")
    for value in up.marks():
        row = _row(up.share(value))
        _line(draw, (LEFT, row), (WIDTH - RIGHT, row))
        _write(draw, (LEFT - 10, row), number_text(value), 13, SOFT, "rm")
    _write(draw, (LEFT, 30), axes.title, 19, INK, "lm")
    _write(draw, (_column(0.5), HEIGHT - 24), axes.across, 15, INK, "mm")
    side = Image.new("RGB", ((HEIGHT - TOP - BOTTOM) * SHARPER, 30 * SHARPER), PAPER)
    _write(ImageDraw.Draw(side), (side.width / SHARPER / 2, 15), axes.up, 15, INK, "mm")
    sheet.paste(side.rotate(90, expand=True), (8 * SHARPER, TOP * SHARPER))


def _line(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    draw.line([(x * SHARPER, y * SHARPER) for x, y in (start, end)], LINE, SHARPER)


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, ink: str, anchor: str) -> None:
    draw.text((place[0] * SHARPER, place[1] * SHARPER), text, ink, font(size * SHARPER), anchor)
