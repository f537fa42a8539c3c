"""Scales that say what they show, and cautions where a map shows little."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.attention.read.cautions import FLAT, cautions_of, outside_corners, unevenness
from pack.scenescope.attention.read.heatmap import Heatmaps, heatmaps
from pack.scenescope.attention.read.normalise import NORMALISATIONS, normalise
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError
from pack.tests.support.recordings import Run, match, record


def maps(values, uniform=0.1):
    """Heatmaps of one picture from (word height width) numbers."""
    values = torch.tensor(values).movedim(0, -1)[None]
    words = tuple(f"word {index}" for index in range(values.shape[-1]))
    grid = Grid(*values.shape[1:3])
    return Heatmaps(values, words, torch.full((len(words),), uniform), torch.ones(grid), grid, (0,), ("input 1",))


FIRST = maps([[[0.1, 0.4]], [[0.0, 0.2]]])
SECOND = maps([[[0.8, 0.4]], [[0.1, 0.1]]])


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ("share", [1, 1], [1, 1]),
        ("ratio", [8, 8], [8, 8]),
        ("maximum", [0.4, 0.2], [0.8, 0.1]),
        ("words", [0.4, 0.4], [0.8, 0.8]),
        ("runs", [0.8, 0.8], [0.8, 0.8]),
    ],
)
def test_the_top_of_each_scale_is_what_its_name_says(how, first, second):
    """Oracle: by hand, from maxima 0.4, 0.2 and 0.8, 0.1 with a uniform share of 0.1."""
    tops = [scaled.top[0].tolist() for scaled in normalise([FIRST, SECOND], how)]
    assert tops == [pytest.approx(first), pytest.approx(second)]


def test_only_the_ratio_changes_the_numbers_and_says_so():
    """Oracle: by hand. 0.4 of attention is four times the uniform 0.1."""
    for how in NORMALISATIONS:
        (scaled,) = normalise([FIRST], how)
        factor, unit = (10, "times uniform") if how == "ratio" else (1, "share of attention")
        torch.testing.assert_close(scaled.values, FIRST.values * factor)
        assert scaled.unit == unit
        assert 0 <= scaled.levels.min() <= scaled.levels.max() <= 1
        torch.testing.assert_close(scaled.levels * scaled.top[:, None, None], scaled.values)


def test_a_map_of_nothing_is_drawn_as_nothing():
    """Oracle: by hand. No division by zero, all levels zero."""
    for how in NORMALISATIONS:
        assert normalise([maps([[[0.0, 0.0]]])], how)[0].levels.tolist() == [[[[0.0], [0.0]]]]


def test_an_unknown_normalisation_is_refused():
    """Oracle: the message lists the five."""
    with pytest.raises(InputError, match="share, ratio, maximum, words, runs"):
        normalise([FIRST], "minmax")


def test_a_uniform_map_is_reported_as_uniform():
    """Oracle: queries of zeros, whose softmax is 1/77 everywhere, rounded to half precision."""
    even = torch.full((1, 16, 24, 1), 1 / 77, dtype=torch.float16).float()
    grid = Grid(16, 24)
    flat = Heatmaps(even, ("of",), torch.tensor([1 / 77]), torch.ones(grid), grid, (0,), ("input 1",))
    (caution,) = cautions_of(flat)
    assert (caution.kind, caution.word, caution.image) == ("near uniform", "of", 0)
    assert caution.measure < 0.001
    assert "'of' is nearly uniform" in caution.text


@pytest.mark.parametrize(("part", "times", "moved"), [(0.04, 3, 0.04 * (3 / 1.08 - 1)), (0.25, 2, 0.25 * 0.6)])
def test_a_thing_of_the_size_the_threshold_was_reasoned_for_is_not_called_uniform(part, times, moved):
    """Oracle: a closed form: a part of the picture at several times the strength of the rest."""
    values = torch.ones(100)
    values[40 : 40 + round(part * 100)] = times
    values = values.reshape(10, 10)
    assert unevenness(values, torch.ones(10, 10)).item() == pytest.approx(moved, abs=1e-5)
    assert moved > FLAT


def test_unevenness_looks_only_where_the_entry_is():
    """Oracle: by hand. Flat in its area, nothing beside it, is flat; all in one of n cells is 1 - 1/n."""
    values = torch.tensor([[0.0, 0.0, 0.2, 0.2]])
    assert unevenness(values, (values > 0).float()).item() == pytest.approx(0)
    assert unevenness(values, torch.ones(1, 4)).item() == pytest.approx(0.5)
    assert unevenness(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.ones(1, 4)).item() == pytest.approx(0.75)


def test_a_corner_sink_is_reported_and_a_subject_in_the_corner_is_not():
    """Oracle: by hand. One corner cell at 1 with 0.1 elsewhere; then the same with a neighbour at 0.9."""
    sink = torch.full((8, 8), 0.1)
    sink[0, 7] = 1
    (caution,) = cautions_of(maps([sink.tolist()]))
    assert caution.kind == "corner sink"
    assert caution.measure == pytest.approx(0.1)
    sink[1, 6] = 0.9
    assert cautions_of(maps([sink.tolist()])) == ()


def test_corners_grow_with_the_grid():
    """Oracle: by hand. A sixteenth of each edge: four cells of 64, so (3, 3) is in the corner and (4, 4) is not."""
    values = torch.zeros(2, 64, 64)
    values[0, 3, 3] = values[1, 4, 4] = 1
    assert outside_corners(values)[0].tolist() == [True, False]


def test_maps_of_a_real_softmax_raise_no_caution():
    """Oracle: an invariant. Random queries and keys of this strength are far from flat."""
    assert cautions_of(heatmaps(record(Run(steps=1)), [match("cat", (2,))])) == ()
