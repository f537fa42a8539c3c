"""Prompts of subsets, runs joined to one record, and pictures with words beside them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.join import join_images
from pack.scenescope.dims import Grid
from pack.scenescope.drawing.labelled_grid import labelled_grid
from pack.scenescope.drawing.lettering import PAPER
from pack.scenescope.errors import InputError
from pack.scenescope.training.learned.prompts import WHICH, prompts_of, subsets
from pack.tests.support.recordings import Run, match, record


@given(count=st.integers(1, 6))
def test_all_subsets_are_there_once_and_in_order(count):
    """Oracle: the binary numbers from 1 to 2^K - 1."""
    handles = [f"<asset{i}>" for i in range(count)]
    chosen = [tuple(h for h, kept in zip(handles, bits, strict=True) if kept) for bits in product((0, 1), repeat=count)]
    found = subsets(handles)
    assert set(found) == set(chosen) - {()}
    assert [len(subset) for subset in found] == sorted(len(subset) for subset in found)
    assert found[-1] == tuple(handles)


@pytest.mark.parametrize("which", WHICH)
def test_as_many_prompts_come_out_as_the_limit_counts(which):
    """Oracle: the number of prompts that are made, at the limit and one above it."""
    handles = [f"<asset{i}>" for i in range(4)]
    rows = len(prompts_of("a photo of {tokens}", handles, which, 1))
    most = 128 // rows
    assert len(prompts_of("a photo of {tokens}", handles, which, most)) == rows
    with pytest.raises(InputError, match=f"prompts? with {most + 1} seeds make .* pictures; at most 128"):
        prompts_of("a photo of {tokens}", handles, which, most + 1)
    assert len(prompts_of("<asset0>", handles, which, 128)) == 1


@pytest.mark.parametrize(
    ("which", "seeds", "choices"),
    [
        ("all", 100, "at most 42 seeds, or the tokens all together."),
        ("each alone", 100, "at most 64 seeds, or the tokens all together."),
        ("all", 50, "at most 42 seeds, or the tokens each alone, or the tokens all together."),
        ("all together", 200, "at most 128 seeds."),
    ],
)
def test_too_many_pictures_name_only_ways_that_fit(which, seeds, choices):
    """Oracle: by hand: two tokens are 3, 2 and 1 prompts; 128 pictures."""
    with pytest.raises(InputError) as told:
        prompts_of("a photo of {tokens}", ["<a>", "<b>"], which, seeds)
    assert str(told.value).endswith(f"Choose {choices}")


def test_braces_that_are_no_template_are_left_alone():
    """Oracle: by hand."""
    assert prompts_of("{a|b} {tokens}, {tokens}", ["<a>", "<b>"], "all together", 1) == (
        "{a|b} <a> and <b>, <a> and <b>",
    )
    assert prompts_of("a {} of {tokens}", ["<a>"], "all", 1) == ("a {} of <a>",)


def test_joined_runs_have_the_pictures_of_each():
    """Oracle: the heatmaps of each run alone, bit for bit."""
    runs = [record(Run(seed=seed, images=images)) for seed, images in ((0, 1), (1, 2), (2, 1))]
    runs = [replace(run, about={"seed": seed, "cfg": 7.0}) for seed, run in enumerate(runs)]
    words = [match("cat", (2,)), match("dog", (5,))]
    whole = join_images(runs)
    assert whole.images == 4
    assert torch.equal(heatmaps(whole, words).values, torch.cat([heatmaps(run, words).values for run in runs]))
    assert whole.about == {"seed": 0, "cfg": 7.0, "seeds": "0, 1, 2"}
    assert join_images(runs[:1]) is runs[0]


def test_runs_that_do_not_belong_together_are_refused():
    """Oracle: the message; another size, and no map in common."""
    one, other = record(Run()), record(Run(latent=Grid(16, 16)))
    with pytest.raises(InputError, match="Joined recordings: 2 runs have 1 prompts, sizes 16x24, 16x16, and"):
        join_images([one, other])
    with pytest.raises(InputError, match="and 0 maps in common"):
        join_images([one, replace(one, maps=())])


def test_what_one_run_lacks_is_left_out_of_all():
    """Oracle: by hand: the addresses of the shorter run; what was skipped is summed."""
    one = replace(record(Run(seed=1)), skipped={"a": 1})
    short = replace(record(Run(seed=2)).where(lambda at: at.step == 0), skipped={"a": 2, "b": 1})
    whole = join_images([one, short])
    assert {item.address.step for item in whole.maps} == {0}
    assert whole.skipped == {"a": 3, "b": 1}


def test_maps_that_the_runs_made_on_different_grids_are_left_out():
    """Oracle: by hand: in the second run one map was made on a grid half as fine."""
    one, other = record(Run(seed=1)), record(Run(seed=2))
    odd = replace(other.maps[0], query_grid=Grid(8, 12), maps=other.maps[0].maps[:, :, :96])
    whole = join_images([one, replace(other, maps=(odd, *other.maps[1:]))])
    assert [item.address for item in whole.maps] == [item.address for item in one.maps[1:]]


@pytest.mark.parametrize(
    ("rows", "columns", "size"), [(1, 1, (64, 64)), (3, 2, (200, 300)), (2, 1, (600, 100)), (2, 2, (64, 2048))]
)
def test_every_picture_stands_in_its_row_and_column(rows, columns, size):
    """Oracle: flat pictures of known colours, sought in the sheet by colour: an even rectangle for each, in order."""
    values = torch.linspace(0.2, 1, rows * columns)
    pictures = torch.zeros(rows * columns, *size, 3)
    pictures[..., 1] = values[:, None, None]
    drawn = labelled_grid(pictures, [f"row {i}" for i in range(rows)], [f"seed {i}" for i in range(columns)])[0]
    centres = []
    for value in values:
        there = (drawn[..., 0] == 0) & (drawn[..., 2] == 0) & ((drawn[..., 1] - value).abs() < 1 / 255)
        down, across = there.nonzero().unbind(1)
        assert there[down.min() : down.max() + 1, across.min() : across.max() + 1].all()
        height, width = int(down.max() - down.min() + 1), int(across.max() - across.min() + 1)
        assert 192 <= max(height, width) <= 512
        assert height / width == pytest.approx(size[0] / size[1], rel=0.05)
        centres.append((int(down.float().mean()), int(across.float().mean())))
    assert centres == sorted(centres)
    assert len({down for down, _ in centres}) == rows
    assert len({across for _, across in centres}) == columns


def test_words_stand_beside_their_row_and_above_their_column():
    """Oracle: what differs from the sheet with one word changed lies in that row, left of the pictures."""
    pictures = torch.ones(4, 64, 64, 3)
    words = ["a photo of <asset0> " * 8, "a photo of <asset1>"]
    one = labelled_grid(pictures, words, ["seed 1", "seed 2"])[0]
    other = labelled_grid(pictures, [words[0], "another"], ["seed 1", "seed 2"])[0]
    down, across = (one != other).any(dim=-1).nonzero().unbind(1)
    assert down.min() > one.shape[0] / 2
    assert across.max() < one.shape[1] - 2 * 192
    renamed = labelled_grid(pictures, words, ["seed 1", "seed 3"])[0]
    down, across = (one != renamed).any(dim=-1).nonzero().unbind(1)
    assert down.max() < 40
    assert across.min() > one.shape[1] - 192 - 30
    edge = torch.tensor(PAPER) / 255
    assert torch.allclose(one[:, :4], edge.expand_as(one[:, :4]))


def test_a_grid_of_another_number_of_pictures_is_refused():
    """Oracle: the message."""
    with pytest.raises(InputError, match="3 pictures don't fill 2 rows of 2"):
        labelled_grid(torch.zeros(3, 8, 8, 3), ["a", "b"], ["1", "2"])
