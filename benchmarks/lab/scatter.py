"""Points in a plane, each with its interval along both axes, and a legend: one measure against another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pack.scenescope.drawing.lettering import font, number_text
from pack.scenescope.errors import InputError
from PIL import Image, ImageDraw

SHARPER = 2
"""Times as large as the picture is what is drawn; all sizes here are the drawing's, in pixels."""
SIZE, LEFT, TOP, SIDE, DOT = (1800, 1280), 184, 124, 1000, 14
PAPER, INK, SOFT, LINE = "#f8f7f3", "#1f2d3a", "#5b6873", "#d8d9d5"
COLOURS = ("#c4461f", "#2f6f9f", "#64852f", "#7a569f", "#b07a00", "#2a8c82", "#8a4b4b", "#4b4b8a")

Range = tuple[float, float, float]
"""A number between the ends of its interval."""
Place = tuple[float, float]
"""Column and row."""


class Spot(NamedTuple):
    """One point: its name, and its number with its interval along each axis."""

    name: str
    across: Range
    up: Range


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


def place_of(across: float, up: float, spans: tuple[Span, Span]) -> Place:
    """Where a pair of numbers stands in the drawing."""
    return LEFT + spans[0].share(across) * SIDE, TOP + (1 - spans[1].share(up)) * SIDE


def draw_scatter(spots: Sequence[Spot], title: str, names: tuple[str, str]) -> Image.Image:
    """Draw named points with their intervals.

    Args:
        spots: the points.
        title: of the picture.
        names: of the axes, across and up.

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
    sheet = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_axes(sheet, names, spans)
    draw.text((LEFT, 60), title, INK, font(38), "lm")
    for index, spot in enumerate(spots):
        ink = COLOURS[index % len(COLOURS)]
        left, middle, right = (place_of(value, spot.up[1], spans) for value in spot.across)
        low, _, high = (place_of(spot.across[1], value, spans) for value in spot.up)
        draw.line([left, right], ink, 3)
        draw.line([low, high], ink, 3)
        draw.circle(middle, DOT, ink, PAPER)
        legend = LEFT + SIDE + 60, TOP + 20 + 50 * index
        draw.circle(legend, DOT, ink)
        draw.text((legend[0] + 34, legend[1]), spot.name, ink, font(30), "lm")
    return sheet.reduce(SHARPER)


def _draw_axes(sheet: Image.Image, names: tuple[str, str], spans: tuple[Span, Span]) -> None:
    draw = ImageDraw.Draw(sheet)
    for value in spans[0].marks():
        column, row = place_of(value, spans[1].low, spans)
        draw.line([(column, TOP), (column, row)], LINE, 2)
        draw.text((column, row + 32), number_text(value), SOFT, font(26), "mm")
    for value in spans[1].marks():
        column, row = place_of(spans[0].low, value, spans)
        draw.line([(column, row), (column + SIDE, row)], LINE, 2)
        draw.text((column - 20, row), number_text(value), SOFT, font(26), "rm")
    draw.text((LEFT + SIDE / 2, SIZE[1] - 48), names[0], INK, font(30), "mm")
    side = Image.new("RGB", (SIDE, 60), PAPER)
    ImageDraw.Draw(side).text((SIDE / 2, 30), names[1], INK, font(30), "mm")
    sheet.paste(side.rotate(90, expand=True), (16, TOP))
