"""The drawn world: what is drawn is what was asked for, and the checker reads it back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pack.demo.captions import vocabulary
from pack.demo.judge.checker import find_background, find_things, judge, shows_colour
from pack.demo.layouts import is_held_out, partners, random_layout
from pack.scenescope.world.latent import DEVIATION, MATTE_FROM, MEAN, latent_of
from pack.scenescope.world.scene import Layout, Thing, draw, full_caption, place
from pack.scenescope.world.surfaces import SHADE, background, texture
from pack.scenescope.world.unseen import MARGIN, STARTING_WORDS, loosened, unseen_layout
from pack.scenescope.world.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_SHAPES,
    HELD_OUT_TEXTURES,
    SHAPES,
    TEST_SHAPES,
    TEST_TEXTURES,
    TEXTURES,
)
from PIL import Image, ImageFilter

RED_SQUARE = Thing("square", "red", "plain", centre=(0.5, 0.5), size=0.5)


def layouts(number: int, *, seed: int = 0) -> list[Layout]:
    """Invent layouts of one, two and three things, seen and held-out combinations in turn."""
    kinds = itertools.cycle(itertools.product((1, 2, 3), (False, True)))
    chances = (np.random.default_rng([seed, i]) for i in range(number))
    return [
        random_layout(chance, count=n, held_out=held, shapes=SHAPES, places=tuple(BACKGROUNDS))
        for chance, (n, held) in zip(chances, kinds, strict=False)
    ]


def chroma(picture: np.ndarray) -> np.ndarray:
    """|R-G| + |G-B| + |B-R| of each pixel."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    return abs(red - green) + abs(green - blue) + abs(blue - red)


def test_the_same_layout_draws_the_same_picture():
    """Oracle: an invariant."""
    for layout in layouts(3):
        first, second = (draw(layout, height=96, width=128) for _ in range(2))
        assert np.array_equal(first.picture, second.picture)
        assert np.array_equal(first.masks, second.masks)


def test_a_square_covers_its_area():
    """Oracle: closed form; the side is 0.88 of the size, and half of the outline, 0.022 of the side, stands out."""
    mask = draw(Layout((RED_SQUARE,), "snow"), height=200, width=200).masks[0]
    side = 0.88 * 0.5 * 200 + 0.022 * 200
    assert mask.sum() == pytest.approx(side**2, rel=0.03)


def test_a_ring_has_a_hole_that_is_not_masked():
    """Oracle: worked out by hand; the hole's radius is 0.24 of the size."""
    drawing = draw(Layout((Thing("ring", "blue", "plain", size=0.6),), "white"), height=128, width=128)
    assert drawing.masks[0, 64, 64] == 0
    assert chroma(drawing.picture)[64, 64] < MATTE_FROM


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 160), (160, 96)])
def test_things_are_where_their_masks_are(height, width):
    """Oracle: closed form; only things are saturated, at any size and shape of the picture."""
    for layout in layouts(6, seed=1):
        drawing = draw(layout, height=height, width=width)
        saturated = chroma(drawing.picture) > 0.42
        assert (drawing.masks.sum(0)[saturated] > 0).all()
        assert saturated[drawing.masks.max(0) == 1].mean() > 0.6  # the rest is outline


def test_masks_share_no_pixel_twice():
    """Oracle: an invariant; visible parts sum to one at most, even where things overlap."""
    overlapping = Layout((RED_SQUARE, Thing("circle", "green", "dotted", centre=(0.6, 0.6), size=0.5)), "night")
    for layout in [overlapping, *layouts(6, seed=2)]:
        assert draw(layout, height=128, width=128).masks.sum(0).max() <= 1 + 1e-6


def test_places_never_touch():
    """Oracle: an invariant of the boxes around the things, over 200 seeds."""
    for seed, count in itertools.product(range(100), (2, 3)):
        spots = place(count, np.random.default_rng(seed))
        assert spots == sorted(spots)
        for (one, small), (other, large) in itertools.combinations(spots, 2):
            assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 0.5 * (small + large)


def test_backgrounds_are_muted_and_things_are_not():
    """Oracle: closed form; both sides of the thresholds that the checker and the encoder use."""
    for name, seed in itertools.product(BACKGROUNDS, range(5)):
        painted = background(name, height=64, width=64, rng=np.random.default_rng(seed))
        assert chroma(painted).max() < MATTE_FROM
    for colour in COLOURS.values():
        assert chroma(np.float32(colour) / 255 * SHADE) > 0.42


def test_every_texture_has_both_tones():
    """Oracle: an invariant; plain has one, all others have each tone on a tenth of a thing at least."""
    columns, rows = np.meshgrid(np.linspace(-1.5, 1.5, 60), np.linspace(-1.5, 1.5, 60))
    for name in (*TEXTURES, *HELD_OUT_TEXTURES, *TEST_TEXTURES):
        dark = texture(name, columns=columns, rows=rows, edge=0.05)
        assert dark.max() == 0 if name == "plain" else 0.1 < dark.mean() < 0.9


def test_one_combination_in_eight_is_held_out_and_no_word_is():
    """Oracle: counted by hand; 16 shapes x 8 colours x 4 textures hold 64 eighths."""
    kinds = list(itertools.product(SHAPES, COLOURS, TEXTURES))
    held = {kind for kind in kinds if is_held_out(*kind)}
    assert len(held) == 64
    for position, words in enumerate((SHAPES, COLOURS, TEXTURES)):
        assert {kind[position] for kind in kinds if kind not in held} == set(words)


def test_layouts_keep_to_their_side_of_the_split():
    """Oracle: an invariant."""
    for held in (False, True):
        for seed in range(20):
            layout = random_layout(np.random.default_rng(seed), count=2, held_out=held)
            assert {is_held_out(t.shape, t.colour, t.texture) for t in layout.things} == {held}


def test_captions_are_plain_english():
    """Oracle: written by hand."""
    star, ring = Thing("star", "green", "striped"), Thing("ring", "orange", "plain")
    assert full_caption(Layout((RED_SQUARE, star), "snow")) == (
        "a photo of a red square and a striped green star in the snow"
    )
    assert full_caption(Layout((ring, RED_SQUARE, star), "floor")) == (
        "a photo of an orange ring, a red square and a striped green star on a wooden floor"
    )


def test_the_checker_reads_drawn_pictures():
    """Oracle: the layouts that were drawn; all of 96."""
    for layout in layouts(96, seed=3):
        assert judge(draw(layout, height=128, width=128).picture, layout).follows, full_caption(layout)


def test_a_picture_shows_the_colours_of_its_things_and_no_other():
    """Oracle: the layouts that were drawn, whatever their shapes, skins and backgrounds; all of 24."""
    for layout in layouts(24, seed=5):
        picture = draw(layout, height=128, width=128).picture
        shown = {colour for colour in COLOURS if shows_colour(picture, colour)}
        assert shown == {thing.colour for thing in layout.things}, full_caption(layout)


def test_the_checker_reads_two_colours_and_two_of_a_kind():
    """Oracle: the layouts that were drawn; pairs of colours that keep their colour where they meet."""
    for index, (colour, second) in enumerate((one, other) for one in COLOURS for other in partners(one)):
        shape = SHAPES[index % len(SHAPES)]
        thing = Thing(shape, colour, ("striped", "checkered")[index % 2], centre=(0.28, 0.4), size=0.42, second=second)
        layout = Layout((thing, replace(thing, centre=(0.74, 0.6))), "road")
        assert judge(draw(layout, height=128, width=128).picture, layout).follows, full_caption(layout)


def test_the_checker_reads_pictures_that_are_not_square():
    """Oracle: the layouts that were drawn."""
    for layout in layouts(6, seed=4):
        assert judge(draw(layout, height=128, width=192).picture, layout).follows, full_caption(layout)


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        (Layout((Thing("circle", "red", "plain"),), "snow"), (0, 1, True, True)),
        (Layout((Thing("square", "blue", "plain"),), "snow"), (1, 0, True, True)),
        (Layout((RED_SQUARE,), "forest"), (1, 1, False, True)),
        (Layout((RED_SQUARE, Thing("star", "cyan", "plain")), "snow"), (0.5, 0.5, True, False)),
    ],
)
def test_the_checker_says_what_is_wrong(wrong, verdict):
    """Oracle: worked out by hand; a red square in the snow against four other prompts."""
    seen = judge(draw(Layout((RED_SQUARE,), "snow"), height=128, width=128).picture, wrong)
    assert (seen.shapes, seen.colours, seen.background, seen.count) == verdict
    assert not seen.follows


def test_a_thing_too_many_is_found_beside_those_asked_for():
    """Oracle: by hand; a square and a star where only the square was asked for."""
    both = Layout((RED_SQUARE, Thing("star", "cyan", "plain", (0.75, 0.25), 0.3)), "snow")
    seen = judge(draw(both, height=128, width=128).picture, Layout((RED_SQUARE,), "snow"))
    assert seen.finds
    assert not seen.follows


def test_an_empty_picture_holds_nothing():
    """Oracle: worked out by hand."""
    picture = draw(Layout((), "desert"), height=64, width=64).picture
    assert find_things(picture) == []
    assert find_background(picture) == "desert"
    assert not judge(picture, Layout((RED_SQUARE,), "desert")).follows


def test_the_latent_of_one_colour_is_that_colour():
    """Oracle: worked out by hand; lightness 0.5, red 0.6 above green, their mean 0.4 from blue, and fully a thing."""
    latent = latent_of(np.broadcast_to(np.float32([0.8, 0.2, 0.5]), (16, 8, 3)))
    wanted = (np.float32([0.5, 0.6, 0.0, 1.0]) - MEAN) / DEVIATION
    assert np.allclose(latent, wanted[:, None, None], atol=1e-5)
    assert latent.shape == (4, 2, 1)


def test_latents_of_the_world_are_about_standard_normal():
    """Oracle: an invariant that diffusion relies on."""
    latents = np.stack([latent_of(draw(layout, height=128, width=128).picture) for layout in layouts(40, seed=5)])
    assert np.abs(latents.mean((0, 2, 3))).max() < 0.3
    assert np.abs(np.log(latents.std((0, 2, 3)))).max() < 0.3


def test_unseen_scenes_hold_nothing_that_was_trained():
    """Oracle: the lists of held-out words; their starting words are known."""
    for seed, count in itertools.product(range(10), (2, 3)):
        things = unseen_layout(seed, count).things
        assert len(things) == count
        assert {t.shape for t in things} <= set(HELD_OUT_SHAPES)
        assert {t.texture for t in things} <= set(HELD_OUT_TEXTURES)
    for seed, count in itertools.product(range(10), (2, 3)):
        things = unseen_layout(seed, count, test=True).things
        assert {t.shape for t in things} <= set(TEST_SHAPES)
        assert {t.texture for t in things} <= set(TEST_TEXTURES)
    assert set(STARTING_WORDS) == {*HELD_OUT_SHAPES, *TEST_SHAPES}
    assert set(STARTING_WORDS.values()) <= set(vocabulary())


def test_loose_masks_hold_the_exact_ones_with_a_small_margin():
    """Oracle: an invariant; no more than twice the area."""
    exact = draw(unseen_layout(3, 3), height=96, width=128).masks
    loose = loosened(exact)
    assert (loose[exact > 0] == 1).all()
    areas = loose.sum((1, 2)) / exact.sum((1, 2))
    assert (areas > 1.1).all()
    assert (areas < 2).all()


@pytest.mark.parametrize("size", [(96, 128), (64, 64), (256, 200)])
def test_loose_masks_are_a_squares_maximum_blurred_and_cut(size):
    """Oracle: Pillow's own filters, whose work grows with the square's area."""
    exact, reach = draw(unseen_layout(3, 3), height=size[0], width=size[1]).masks, max(1, round(MARGIN * min(size)))
    for mask, loose in zip(exact, loosened(exact), strict=True):
        wide = Image.fromarray(np.uint8(mask > 0) * np.uint8(255)).filter(ImageFilter.MaxFilter(2 * reach + 1))
        soft = np.asarray(wide.filter(ImageFilter.GaussianBlur(reach))) / 255
        assert np.array_equal(loose > 0, (soft > 0.5) | (mask > 0))
