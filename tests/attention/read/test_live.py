"""The few words' maps that grow while a run is sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.read.live import LiveMaps
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.tests.support.recordings import Run, entry, layers, record

PROMPT = "a photo of a red circle and a green star in the snow"
RICH = "a small old red circle and a large green star in the deep white snow"
LATENT = Grid(64, 48)


def live(words: str = "", selection: Selection | None = None, entries: tuple[Entry, ...] | None = None) -> LiveMaps:
    """For a run of 64x48 latent cells, with SD1.5's blocks."""
    return LiveMaps(layers(), entries or (entry(PROMPT),), LATENT, selection or Selection(), words)


@pytest.mark.parametrize("heads", ["mean", "each"])
def test_the_maps_are_the_means_over_the_steps_so_far(heads):
    """Oracle: the mean over steps, heads and the five blocks of latent / 4, taken in a slow loop."""
    selection = Selection(heads=heads)
    run = record(Run(latent=LATENT, steps=3, entries=(entry(PROMPT), entry("", "negative")), selection=selection))
    growing = live("red circle, star", selection)
    for upto in range(1, 4):
        growing.add([item for item in run.maps if item.address.step == upto - 1])
        shown = growing.so_far()
        assert [(item.label, item.area) for item in shown] == [("red circle", None), ("star", None)]
        for item, columns in zip(shown, ([5, 6], [10]), strict=True):
            found = [
                one.maps[0, :, :, columns].float().mean(dim=(0, 2))
                for one in run.maps
                if one.address.step < upto and one.address.branch == "positive" and one.query_grid == Grid(16, 12)
            ]
            assert len(found) == 5 * upto
            assert torch.allclose(item.values, (sum(found) / len(found)).reshape(16, 12), atol=1e-6)


def test_without_words_the_nouns_and_then_the_largest_shares_are_taken_in_the_prompt_s_order():
    """Oracle: all telling words asked for one by one, the nouns by hand; where the words are not known, columns."""
    run = record(Run(latent=LATENT, steps=1, entries=(entry(RICH),)))
    growing = live(entries=(entry(RICH),))
    assert growing.so_far() == ()
    growing.add(run.maps)
    telling = [word for word in RICH.split() if word not in ("a", "and", "in", "the")]
    nouns = ["circle", "star", "snow"]
    tops = {}
    for word in telling:
        alone = live(word, entries=(entry(RICH),))
        alone.add(run.maps)
        tops[word] = float(alone.so_far()[0].values.max())
    others = sorted(set(telling) - set(nouns), key=lambda word: -tops[word])
    assert [item.label for item in growing.so_far()] == [word for word in telling if word in (*nouns, *others[:3])]
    bare = live(entries=(Entry("positive", 0, 16),))
    bare.add(run.maps)
    labels = [item.label for item in bare.so_far()]
    assert len(labels) == 6
    assert set(labels) <= {f"#{column}" for column in range(1, 16)}


def test_a_word_that_is_not_there_stops_nothing_and_is_told():
    """Oracle: the message, and telling words of the prompt instead."""
    growing = live("cat")
    growing.add(record(Run(latent=LATENT, steps=1, entries=(entry(PROMPT),))).maps)
    assert "'cat' is not in the prompt" in growing.note
    assert {item.label for item in growing.so_far()} == {"photo", "red", "circle", "green", "star", "snow"}


def test_the_level_nearest_to_sixteen_by_sixteen_is_taken_among_those_that_are_recorded():
    """Oracle: by hand; self-attention alone has none."""
    assert live().grid == Grid(16, 12)
    assert live(selection=Selection(blocks="input 1, middle 0")).grid == Grid(8, 6)
    assert live(selection=Selection(kinds=("self",))).grid is None


def test_entries_with_an_area_are_shown_where_they_lie():
    """Oracle: the entry's own grid and area; eight words at most."""
    parts = (entry("one two three four five six", area=(32, 48, 0, 0)), entry("seven eight nine", index=1))
    run = record(Run(latent=LATENT, steps=1, entries=parts))
    growing = live("each", entries=parts)
    growing.add(run.maps)
    shown = growing.so_far()
    assert [item.label for item in shown] == ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    assert (shown[0].area, tuple(shown[0].values.shape)) == ((32, 48, 0, 0), (8, 12))
    assert (shown[7].area, tuple(shown[7].values.shape)) == (None, (16, 12))


def test_maps_of_a_step_on_another_grid_are_part_of_the_mean():
    """Oracle: by hand: of two even steps one is halved, its cells as large as four; the mean has the finer grid."""
    run = record(Run(latent=LATENT, steps=2, entries=(entry(PROMPT),)))
    changed = []
    for item in run.maps:
        if item.address.step == 0:
            item = replace(item, query_grid=item.query_grid.coarser(2))
            item = replace(item, maps=torch.full((2, 1, item.query_grid.cells, item.maps.shape[-1]), 0.25))
        else:
            item = replace(item, maps=torch.full_like(item.maps, 0.75))
        changed.append(item)
    growing = live("star")
    growing.add(item for item in changed if item.address.step == 0)
    assert growing.so_far()[0].values.tolist() == torch.full((8, 6), 0.25).tolist()
    growing.add(item for item in changed if item.address.step == 1)
    assert growing.so_far()[0].values.tolist() == torch.full((16, 12), 0.5).tolist()
