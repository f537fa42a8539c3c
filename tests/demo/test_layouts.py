"""Invented outlines, skins and captions: the space that the demo model is trained on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pack.demo.captions import training_caption, vocabulary
from pack.demo.layouts import InventedThing, is_held_out, training_layout, varied_layout
from pack.demo.outlines import FAMILIES, invented_outline
from pack.demo.weaves import WEAVES, invented_weave
from pack.scenescope.world.scene import Layout, Thing, draw
from pack.scenescope.world.vocabulary import (
    HELD_OUT_SHAPES,
    HELD_OUT_TEXTURES,
    TEST_SHAPES,
    TEST_TEXTURES,
)


def layouts(number: int, seed: int = 0) -> list[Layout]:
    """Layouts as training draws them."""
    return [training_layout(np.random.default_rng([seed, i])) for i in range(number)]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_invented_outline_fills_its_box_and_never_comes_twice(family):
    """Oracle: closed form of the box; an invariant of seeds."""
    seen = [np.array(invented_outline(family, seed)) for seed in range(12)]
    for corners in seen:
        assert np.abs(corners.max(0) + corners.min(0)).max() < 1e-6
        assert (corners.max(0) - corners.min(0)).max() == pytest.approx(1)
    assert len({corners.tobytes() for corners in seen}) == 12
    assert np.array_equal(seen[0], invented_outline(family, 0))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_invented_outline_has_room_for_a_skin(family):
    """Oracle: an invariant: a fifth of the box at least is inside."""
    for seed in range(8):
        thing = InventedThing(family, "red", "plain", size=0.6, seed=seed)
        drawing = draw(Layout((thing,), "grey"), height=64, width=64)
        assert drawing.masks.sum() > 0.2 * (0.6 * 64) ** 2 * 0.75


@pytest.mark.parametrize("family", WEAVES)
def test_an_invented_skin_has_both_tones(family):
    """Oracle: an invariant: each tone on a tenth at least, over eight seeds."""
    columns, rows = np.meshgrid(np.linspace(-1.5, 1.5, 60), np.linspace(-1.5, 1.5, 60))
    for seed in range(8):
        dark = invented_weave(family, seed, columns=columns, rows=rows, edge=0.05)
        assert 0.08 < dark.mean() < 0.92
        assert (dark.min(), dark.max()) == (0, 1)


def test_training_never_draws_what_is_held_out():
    """Oracle: the lists: unseen shapes, unseen textures, and combinations of known words that are kept back."""
    unseen = {*HELD_OUT_SHAPES, *TEST_SHAPES, *HELD_OUT_TEXTURES, *TEST_TEXTURES}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        for thing in (*training_layout(rng).things, *varied_layout(rng).things):
            assert not {thing.shape, thing.texture} & unseen
    for thing in itertools.chain.from_iterable(layout.things for layout in layouts(150)):
        if thing.shape not in FAMILIES and thing.texture not in WEAVES:
            assert not is_held_out(thing.shape, thing.colour, thing.texture)


def test_training_shows_one_to_three_things_some_close_and_some_alike():
    """Oracle: counted: of 300 pictures each kind has its share, to a half of what is meant."""
    drawn = layouts(300)
    counts = [len(layout.things) for layout in drawn]
    assert {counts.count(n) > 45 for n in (1, 2, 3)} == {True}
    twins = [layout for layout in drawn if len({tuple(t.words()) for t in layout.things}) < len(layout.things)]
    assert 5 < len(twins) < 40
    assert any(thing.second for layout in drawn for thing in layout.things)


def test_captions_hold_known_words_only():
    """Oracle: the vocabulary, which the model has rows for."""
    known = set(vocabulary())
    for index, layout in enumerate(layouts(200)):
        words = training_caption(layout, np.random.default_rng(index)).replace(",", " ,").split()
        assert set(words) <= known, words


def test_captions_come_in_several_orders_and_wordings():
    """Oracle: written by hand."""
    layout = Layout((Thing("star", "red", "plain"), Thing("oval", "blue", "striped")), "snow")
    seen = {training_caption(layout, np.random.default_rng(seed)) for seed in range(200)}
    assert {
        "a photo of a red star and a striped blue oval in the snow",
        "a photo of a striped blue oval and a red star in the snow",
        "in the snow, a photo of a red star and a striped blue oval",
        "a picture of a red star and a striped blue oval in the snow",
    } <= seen


def test_two_of_a_kind_are_named_together():
    """Oracle: written by hand."""
    twin = Thing("cross", "blue", "plain")
    layout = Layout((twin, Thing("star", "red", "plain"), twin), "snow")
    seen = {training_caption(layout, np.random.default_rng(seed)) for seed in range(20)}
    assert "a photo of two blue crosses and a red star in the snow" in seen
