"""The plot of one measure against another: every point stands where its numbers say, and every name has room."""

from __future__ import annotations

import numpy as np
import pytest
from pack.benchmarks.lab.scatter import COLOURS, HEIGHT, WIDTH, Axes, Spot, draw_scatter, label_box, place_of, span_of
from pack.scenescope.errors import InputError
from PIL import ImageColor

AXES = Axes("Title", "prompt similarity", "identity similarity")


def spot(name: str, across: float, up: float, half: float = 0.02) -> Spot:
    """A point with even intervals."""
    return Spot(name, (across - half, across, across + half), (up - half, up, up + half))


def test_each_point_is_drawn_where_its_numbers_say():
    """Oracle: by hand: the middle of a point has its colour, and more to the right and above is more."""
    spots = [spot("low", 0.2, 0.3), spot("high", 0.6, 0.8)]
    picture = np.asarray(draw_scatter(spots, AXES))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    spans = (span_of([0.18, 0.62]), span_of([0.28, 0.82]))
    places = [place_of(item, *spans) for item in spots]
    for (column, row), colour in zip(places, COLOURS, strict=False):
        assert tuple(picture[round(row), round(column)]) == ImageColor.getrgb(colour)
    assert places[1][0] > places[0][0]
    assert places[1][1] < places[0][1]


def test_the_axes_hold_every_interval_between_round_numbers():
    """Oracle: by hand."""
    assert span_of([0.31, 0.58]) == (0.3, 0.6, 0.05)
    assert span_of([0.31, 0.58]).marks() == [0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]
    for values in ([0.5], [0.0, 1.0], [-3, 250], [0.412, 0.4121]):
        span = span_of(values)
        assert span.low <= min(values) <= max(values) <= span.high
        assert 2 <= len(span.marks()) <= 14


def test_a_name_makes_way_for_what_is_there():
    """Oracle: an invariant: points close together, and no name covers another name or a point."""
    taken, places = [], [(300.0, 300.0), (306.0, 304.0), (298.0, 310.0)]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    for place in places:
        box = label_box("without masks", place, taken)
        for left, top, right, bottom in taken:
            assert box[2] <= left or box[0] >= right or box[3] <= top or box[1] >= bottom
        taken.append(box)


@pytest.mark.parametrize("spots", [[], [spot("nan", float("nan"), 0.5)]])
def test_what_cannot_be_drawn_is_refused(spots):
    """Oracle: the message."""
    with pytest.raises(InputError, match="Scatter: [01] points can't be drawn"):
        draw_scatter(spots, AXES)
