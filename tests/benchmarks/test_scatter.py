"""The plot of one measure against another: every point stands where its numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from pack.benchmarks.lab.scatter import COLOURS, SHARPER, SIZE, Spot, draw_scatter, place_of, span_of
from pack.scenescope.errors import InputError
from PIL import ImageColor

AXES = ("prompt similarity", "identity similarity")


def spot(name: str, across: float, up: float, half: float = 0.02) -> Spot:
    """A point with even intervals."""
    return Spot(name, (across - half, across, across + half), (up - half, up, up + half))


def test_each_point_is_drawn_where_its_numbers_say():
    """Oracle: by hand: the middle of a point has its colour, and more to the right and above is more."""
    spots = [spot("low", 0.2, 0.3), spot("high", 0.6, 0.8)]
    picture = np.asarray(draw_scatter(spots, "Title", AXES))
    assert picture.shape == (SIZE[1] // SHARPER, SIZE[0] // SHARPER, 3)
    spans = (span_of([0.18, 0.62]), span_of([0.28, 0.82]))
    places = [place_of(item.across[1], item.up[1], spans) for item in spots]
    for (column, row), colour in zip(places, COLOURS, strict=False):
        assert tuple(picture[round(row / SHARPER), round(column / SHARPER)]) == ImageColor.getrgb(colour)
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


@pytest.mark.parametrize("spots", [[], [spot("nan", float("nan"), 0.5)]])
def test_what_cannot_be_drawn_is_refused(spots):
    """Oracle: the message."""
    with pytest.raises(InputError, match="Scatter: [01] points can't be drawn"):
        draw_scatter(spots, "Title", AXES)
