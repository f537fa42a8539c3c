"""The ablation's measures, held to drawn truth: what is the thing itself, what is another, and what lies between."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pack.demo.judge.likeness import Likeness, Truth, foils, likeness, retrieves, score
from pack.scenescope.world.scene import Drawing, Layout, Thing, draw
from pack.scenescope.world.surfaces import background
from pack.scenescope.world.unseen import unseen_layout
from pack.scenescope.world.vocabulary import BACKGROUNDS, COLOURS, HELD_OUT_SHAPES, HELD_OUT_TEXTURES

SIDE = 128
HOUSE = Thing("house", "green", "grid", centre=(0.3, 0.4), size=0.42)
ARROW = Thing("arrow", "pink", "halved", centre=(0.7, 0.7), size=0.4)


def drawn(*things: Thing, place: str = "snow", seed: int = 0) -> Drawing:
    """Things on a background."""
    return draw(Layout(things, place, seed), height=SIDE, width=SIDE)


@functools.cache
def alone(thing: Thing) -> Any:
    """A thing as it is when it is drawn alone; drawn once for all that it is compared with."""
    return Truth.of(drawn(thing)).things[0]


def between(one: Thing, other: Thing) -> Likeness:
    """How like two things are, each drawn alone."""
    return likeness(alone(one), alone(other))


@pytest.mark.parametrize("shape", HELD_OUT_SHAPES)
@pytest.mark.parametrize("texture", HELD_OUT_TEXTURES)
def test_a_thing_drawn_elsewhere_and_smaller_is_still_itself(shape, texture):
    """Oracle: the drawing."""
    thing = Thing(shape, "blue", texture, centre=(0.35, 0.6), size=0.46)
    same = between(thing, replace(thing, centre=(0.61, 0.42), size=0.4))
    assert same.colour > 0.97
    assert same.shape > 0.9
    assert same.texture > 0.4
    assert between(thing, thing).whole == pytest.approx(1)


@pytest.mark.parametrize("shape", HELD_OUT_SHAPES)
def test_another_shape_is_less_like(shape):
    """Oracle: the drawing; only the shape differs."""
    thing = Thing(shape, "blue", "grid", size=0.46)
    for other in (*HELD_OUT_SHAPES, "circle", "star"):
        if other != shape:
            assert between(thing, replace(thing, shape=other, size=0.4)).shape < 0.65 * between(thing, thing).shape


@pytest.mark.parametrize("texture", HELD_OUT_TEXTURES)
def test_another_texture_is_less_like(texture):
    """Oracle: the drawing; only the texture differs, and the same one is measured elsewhere and smaller."""
    thing = Thing("house", "blue", texture, centre=(0.4, 0.5), size=0.46)
    moved = replace(thing, centre=(0.62, 0.44), size=0.4)
    own = between(thing, moved).texture
    for other in (*HELD_OUT_TEXTURES, "plain", "dotted"):
        if other != texture:
            assert between(thing, replace(moved, texture=other)).texture < own - 0.1


def test_another_colour_is_less_like():
    """Oracle: the drawing; only the colour differs."""
    for name in COLOURS:
        for other in COLOURS:
            alike = between(replace(HOUSE, colour=name), replace(HOUSE, colour=other)).colour
            assert alike > 0.99 if name == other else alike < 0.6


def test_the_colour_falls_as_another_is_mixed_in():
    """Oracle: an invariant: monotone in the share of the other colour."""
    truth, other = drawn(HOUSE), drawn(replace(HOUSE, colour="blue"))
    seen = [
        score((1 - share) * truth.picture + share * other.picture, Truth.of(truth), [0], "snow").colour
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 0.99
    assert seen[-1] < 0.1


def test_the_identity_falls_as_the_thing_fades_into_its_background():
    """Oracle: an invariant: never rises, and ends at nothing."""
    truth = drawn(HOUSE, ARROW)
    empty = background("snow", height=SIDE, width=SIDE, rng=np.random.default_rng(0))
    seen = [
        score((1 - share) * truth.picture + share * empty, Truth.of(truth), [0, 1], "snow").identity
        for share in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    assert seen == pytest.approx(sorted(seen, reverse=True), abs=0.01)
    assert (seen[0], seen[-1]) == (pytest.approx(1), 0)


def test_the_background_score_falls_as_another_is_mixed_in():
    """Oracle: an invariant; half-way it is a half, to what the painters' chance lets it be."""
    beach, night = (
        background(name, height=SIDE, width=SIDE, rng=np.random.default_rng(3)) for name in ("grey", "white")
    )
    truth = Truth.of(drawn(HOUSE))
    seen = [
        score((1 - share) * beach + share * night, truth, [0], "grey").background for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 0.95
    assert seen[-1] < 0.05


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_empty_picture_scores_nothing(value):
    """Oracle: by hand."""
    empty = np.full((SIDE, SIDE, 3), value, np.float32)
    seen = score(empty, Truth.of(drawn(HOUSE, ARROW)), [0], "grey")
    assert (seen.identity, seen.prompt, seen.leakage) == (0, 0, 0)


def test_a_picture_that_is_full_of_one_colour_shows_no_background():
    """Oracle: by hand: nothing is open to view, so nothing is near."""
    full = np.zeros((SIDE, SIDE, 3), np.float32)
    full[..., 0] = 1
    assert score(full, Truth.of(drawn(HOUSE)), [0], "snow").background == 0


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_things_redrawn_elsewhere_on_the_background_asked_for_score_high(name):
    """Oracle: the drawing: other places, sizes and another background than the scene's."""
    truth = Truth.of(drawn(HOUSE, ARROW, place="snow" if name != "snow" else "night"))
    moved = [replace(HOUSE, centre=(0.7, 0.28), size=0.38), replace(ARROW, centre=(0.3, 0.72), size=0.38)]
    seen = score(drawn(*moved, place=name, seed=5).picture, truth, [1, 0], name)
    assert seen.prompt > 0.85
    assert seen.identity > 0.75
    assert seen.leakage is None


def test_the_prompt_score_wants_the_things_asked_for_and_no_others():
    """Oracle: by hand: one of two, another one, and one too many."""
    both = drawn(HOUSE, ARROW)
    truth = Truth.of(both)
    alone = drawn(HOUSE).picture
    assert score(alone, truth, [0], "snow").prompt > 0.9
    half, wrong, many = (
        score(alone, truth, [0, 1], "snow"),
        score(alone, truth, [1], "snow"),
        score(both.picture, truth, [0], "snow"),
    )
    assert (half.count, half.recognised) == (0.5, 0.5)
    assert (wrong.count, wrong.recognised) == (1, 0)
    assert (many.count, many.recognised) == (0.5, 0.5)
    assert half.identity == pytest.approx(0.5)
    assert many.identity == pytest.approx(0.5)
    assert wrong.identity < 0.4


def test_leakage_is_what_comes_uncalled():
    """Oracle: by hand: none where the thing asked for stands alone, all where the other stands beside it."""
    both = drawn(HOUSE, ARROW)
    truth = Truth.of(both)
    assert score(drawn(HOUSE).picture, truth, [0], "snow").leakage == 0
    assert score(both.picture, truth, [0], "snow").leakage == pytest.approx(1)
    dyed = score(drawn(replace(HOUSE, colour=ARROW.colour)).picture, truth, [0], "snow").leakage
    assert dyed is not None
    assert 0.1 < dyed < 0.9


@pytest.mark.parametrize("count", [2, 3])
def test_every_scene_to_learn_from_scores_full_marks_against_itself(count):
    """Oracle: the drawing; the ablation's own scenes can be told by these measures."""
    for seed in range(4):
        layout = unseen_layout(seed, count)
        drawing = draw(layout, height=SIDE, width=SIDE)
        seen = score(drawing.picture, Truth.of(drawing), range(count), layout.background)
        assert seen.identity > 0.95
        assert seen.prompt > 0.9


@pytest.mark.parametrize("count", [1, 2, 3])
def test_painting_more_foreign_things_earns_nothing(count):
    """Oracle: an invariant: three guesses at a thing score no more than one."""
    truth = Truth.of(drawn(HOUSE))
    places = [(0.25, 0.25), (0.75, 0.3), (0.5, 0.75)]
    foreign = zip(("circle", "star", "cross"), ("red", "pink", "blue"), places, strict=True)
    things = [Thing(shape, colour, "plain", centre=centre, size=0.36) for shape, colour, centre in foreign]
    one = score(drawn(things[0]).picture, truth, [0], "snow").identity
    assert score(drawn(*things[:count]).picture, truth, [0], "snow").identity <= one + 0.01


def test_a_thing_that_is_only_nearest_is_not_recognised():
    """Oracle: by hand: a plain circle of the house's colour stands nearest to the house, and is no house."""
    both = drawn(HOUSE, ARROW)
    circle = drawn(Thing("circle", "green", "plain", size=0.42))
    seen = score(circle.picture, Truth.of(both), [0], "snow")
    assert (seen.count, seen.recognised) == (1, 0)
    assert score(drawn(HOUSE).picture, Truth.of(both), [0], "snow").recognised == 1


def test_sixteen_things_are_told_apart_and_a_stranger_is_no_match():
    """Oracle: the drawing: a thing redrawn elsewhere and smaller is found among sixteen."""
    for thing in (HOUSE, ARROW, Thing("fish", "red", "rayed", size=0.46), Thing("cup", "cyan", "bricked", size=0.46)):
        truth = Truth.of(drawn(thing)).things[0]
        again = Truth.of(drawn(replace(thing, centre=(0.58, 0.45), size=0.38))).things[0]
        assert retrieves(again, truth)
        assert not retrieves(Truth.of(drawn(Thing("ring", "yellow", "plain"))).things[0], truth)


def test_by_chance_one_in_sixteen_is_retrieved():
    """Oracle: an invariant: unseen things match others than themselves no more often than a few times chance."""
    others = foils()[:64]
    hits = [retrieves(piece, thing) for piece in others[:16] for thing in others[16:32]]
    assert np.mean(hits) < 0.2
