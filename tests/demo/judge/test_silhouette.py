"""Silhouettes and their comparison: what forgives a blur, and what no other shape gets away with."""

from __future__ import annotations

import numpy as np
import pytest
from pack.demo.judge.silhouette import BASE, CHROMA, GRID, alike, chroma_of, framed, pieces_of, silhouette_of, within
from pack.scenescope.world.scene import Layout, Thing, draw
from pack.scenescope.world.vocabulary import HELD_OUT_SHAPES, HELD_OUT_TEXTURES, TEST_SHAPES, TEST_TEXTURES
from scipy import ndimage

UNSEEN = (*HELD_OUT_SHAPES, *TEST_SHAPES)
SKINS = (*HELD_OUT_TEXTURES, *TEST_TEXTURES)


def picture_of(shape: str, texture: str = "grid", place: str = "snow") -> np.ndarray:
    """One thing, drawn alone."""
    thing = Thing(shape, "blue", texture, centre=(0.45, 0.5), size=0.42)
    return draw(Layout((thing,), place), height=128, width=128).picture


def outline(picture: np.ndarray) -> np.ndarray:
    """The framed silhouette of a picture's largest thing."""
    return framed(silhouette_of(pieces_of(chroma_of(picture) > CHROMA)[0]))


def test_a_silhouette_is_the_whole_thing():
    """Oracle: the true mask, dark outline included; the coloured part alone is 0.63 of it."""
    thing = Thing("house", "green", "grid", size=0.5)
    drawing = draw(Layout((thing,), "snow"), height=128, width=128)
    whole, true = silhouette_of(pieces_of(chroma_of(drawing.picture) > CHROMA)[0]), drawing.masks[0] > 0.5
    assert (whole & true).sum() / (whole | true).sum() > 0.93
    assert (within(whole) & ~whole).sum() == 0


@pytest.mark.parametrize(("width", "least", "mean"), [(1.2, 0.85, 0.95), (2.0, 0.6, 0.9)])
def test_a_blur_hardly_changes_a_shape(width, least, mean):
    """Oracle: what the measure promises: over all shapes a blur of 1.2 pixels keeps 0.95, one of 2 pixels 0.9."""
    kept = []
    for index, shape in enumerate(UNSEEN):
        for skin in (SKINS[index], SKINS[index - 3]):
            sharp = picture_of(shape, skin)
            kept.append(alike(outline(sharp), outline(ndimage.gaussian_filter(sharp, (width, width, 0)))))
    assert min(kept) > least
    assert np.mean(kept) > mean


def test_another_unseen_shape_gets_six_tenths_at_most():
    """Oracle: what the measure promises, for all pairs."""
    outlines = {shape: outline(picture_of(shape)) for shape in UNSEEN}
    for one in UNSEEN:
        for other in UNSEEN:
            seen = alike(outlines[one], outlines[other])
            assert seen == 1 if one == other else seen <= 0.6, (one, other)


@pytest.mark.parametrize(
    ("shape", "symmetric"), [("house", True), ("flower", True), ("crescent", False), ("cup", False)]
)
def test_a_mirrored_shape_gets_what_its_symmetry_deserves(shape, symmetric):
    """Oracle: by hand: a house and a flower are their mirror images, a crescent and a cup are not."""
    picture = picture_of(shape, "plain")
    seen = alike(outline(picture), outline(picture[:, ::-1]))
    assert seen > 0.97 if symmetric else seen < 0.7


def test_the_background_does_not_count():
    """Oracle: an invariant, in front of a dark and a light one."""
    for shape in UNSEEN:
        assert alike(outline(picture_of(shape, place="night")), outline(picture_of(shape, place="white"))) > 0.97


def test_overlap_is_counted_by_hand():
    """Oracle: worked out: a square of 20 cells a side and one with 4 of its columns gone; the last 1 is forgiven."""
    square = np.zeros((GRID, GRID), bool)
    square[20:40, 20:40] = True
    narrow = square.copy()
    narrow[:, 36:40] = False
    overlap = 1 - 3 * 20 / 400
    assert alike(square, narrow) == pytest.approx((overlap - BASE) / (1 - BASE))
    assert alike(square, square) == 1
