"""Two records side by side on one scale."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.draw.comparison import comparison_tiles
from pack.scenescope.attention.draw.figure import Layouting, draw_comparison
from pack.scenescope.attention.draw.render import Style, sheet
from pack.scenescope.attention.read.compare import compare, difference_scaled, mean_change, shared_words
from pack.scenescope.attention.read.heatmap import Heatmaps, heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.dims import Grid
from pack.scenescope.drawing.colormap import colour
from pack.scenescope.errors import InputError, WordError
from pack.tests.support.recordings import Run, match, record

WORDS = [match("cat", (2,)), match("dog", (5,))]
STYLE = Style(Grid(128, 192))


def maps(*values):
    """Heatmaps of one word and one picture from (height width) numbers; a uniform share of 0.1."""
    grid = Grid(len(values), len(values[0]))
    shares = torch.tensor(values)[None, ..., None]
    return Heatmaps(shares, ("cat",), torch.tensor([0.1]), torch.ones(grid), grid, (0,), ("input 1",))


def test_difference_and_ratio_by_hand():
    """Oracle: by hand. 0.2 to 0.4 is 0.2 more and about twice, 0.4 to 0.1 a quarter, nothing to nothing is once."""
    found = compare(maps([0.2, 0.4, 0.0]), maps([0.4, 0.1, 0.0]))
    torch.testing.assert_close(found.difference[0, 0, :, 0], torch.tensor([0.2, -0.3, 0.0]))
    floor = 0.001
    ratio = torch.tensor([(0.4 + floor) / (0.2 + floor), (0.1 + floor) / (0.4 + floor), 1.0])
    torch.testing.assert_close(2 ** found.doublings[0, 0, :, 0], ratio)
    assert mean_change(found).item() == pytest.approx(0.5 / 3)


def test_a_record_compared_with_itself_shows_no_change():
    """Oracle: an invariant. All differences are 0, all ratios 1, and the picture is drawn all the same."""
    found = heatmaps(record(), WORDS)
    same = compare(found, found)
    assert not same.difference.any()
    assert not same.doublings.any()
    rows = comparison_tiles(same, STYLE)
    assert torch.equal(rows[0][2].levels, torch.full((4, 6), 0.5))
    picture = (sheet(rows, STYLE)[0] * 255).round()
    middle = (colour(torch.tensor(0.5), "difference") * 255).round()
    assert (
        int((picture == middle).all(-1).sum()) >= 4 * 2 * 128 * 192
    )  # all of both columns, in the colour of no change
    assert not difference_scaled(same).levels.any()


def test_exchanging_the_records_turns_the_signs():
    """Oracle: an invariant."""
    first, second = heatmaps(record(), WORDS), heatmaps(record(Run(seed=1)), WORDS)
    there, back = compare(first, second), compare(second, first)
    torch.testing.assert_close(there.difference, -back.difference)
    torch.testing.assert_close(there.doublings, -back.doublings)


def test_records_of_different_sizes_meet_on_the_first_ones_grid():
    """Oracle: by hand. A picture twice as large with each cell doubled is the same picture."""
    small = maps([0.2, 0.4])
    large = maps([0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.4, 0.4])
    found = compare(small, large)
    torch.testing.assert_close(found.difference, torch.zeros_like(small.values))
    other = heatmaps(record(Run(latent=Grid(24, 16))), WORDS, View("latent/4"))
    assert compare(heatmaps(record(), WORDS), other).difference.shape == (2, 4, 6, 2)


def test_before_and_after_share_a_scale_and_so_do_the_differences_of_all_words():
    """Oracle: invariants of the tiles: one bar for all befores and afters, one for each of the other columns."""
    rows = comparison_tiles(compare(heatmaps(record(), WORDS), heatmaps(record(Run(seed=1)), WORDS)), STYLE)
    assert [tile.word for tile in rows[0]] == ["before: cat", "after: cat", "difference: cat", "ratio: cat"]
    assert rows[1][0].word == "before: dog"
    assert len(rows) == 4  # two pictures of two words
    bars = [{row[column].bar for row in rows} for column in range(4)]
    assert [len(bar) for bar in bars] == [1, 1, 1, 1]
    assert bars[0] == bars[1]
    assert len(bars[0] | bars[2] | bars[3]) == 3
    levels = torch.stack([row[2].levels for row in rows])
    assert [tile.bar.colours for tile in rows[0]] == ["inferno", "inferno", "difference", "difference"]
    assert (levels - 0.5).abs().max().item() == pytest.approx(0.5)


def test_unlike_records_are_refused():
    """Oracle: the message."""
    first = heatmaps(record(), WORDS)
    with pytest.raises(InputError, match="Record both with the same words and as many pictures"):
        compare(first, heatmaps(record(), WORDS[:1]))
    with pytest.raises(InputError, match="in 2 pictures against cat, dog in 1"):
        compare(first, replace(first, values=first.values[:1]))


def test_prompts_of_different_words_are_compared_by_the_words_that_both_have():
    """Oracle: by hand: the maps of `red` stand elsewhere in the second prompt, in capitals; the rest is named."""
    first, second = (match("a", (1,)), match("red", (2,))), (match("a", (1,)), match("blue", (2,)), match("Red", (3,)))
    shared = shared_words(first, second)
    assert (shared.first, shared.second) == ((first[0], first[1]), (second[0], second[2]))
    assert (shared.only_first, shared.only_second) == ((), ("blue",))
    assert shared.describe() == "; only after: blue"
    recording = record()
    figure, found = draw_comparison((recording, recording), (first, second), View(), Layouting(STYLE))
    assert found.first.words == ("a", "red")
    assert torch.equal(found.second.values[..., 1], heatmaps(recording, [match("Red", (3,))]).values[..., 0])
    assert json.loads(figure.report)["only after"] == ["blue"]


def test_prompts_without_a_common_word_are_refused_with_their_words():
    """Oracle: the sentence."""
    with pytest.raises(WordError, match=r"no word in common: before has a, cat, after has dog\. Write"):
        shared_words((match("a", (1,)), match("cat", (2,))), (match("dog", (1,)),))
