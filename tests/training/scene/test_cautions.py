"""What is doubted about masks that look like the ground, and about paintings of another shape."""

from __future__ import annotations

import re

import pytest
import torch
from pack.scenescope.dims import Grid
from pack.scenescope.training.scene.cautions import cautions, painting_cautions
from pack.scenescope.training.scene.scene import Concept, build_scene


def test_a_mask_of_the_ground_is_doubted():
    """Oracle: by hand: a thing, the same inside out, a white mask, a bust inside out, which stands on an edge, and soft
    ones; the background of the complement is none.
    """
    picture, thing = torch.zeros(1, 256, 256, 3), torch.zeros(1, 256, 256)
    thing[:, 80:176, 80:176] = 1
    bust = torch.zeros_like(thing)
    bust[:, 96:, 28:228] = 1
    inside_out = ["inside out"]
    for mask, doubted in (
        (thing, []), (1 - thing, inside_out), (torch.ones_like(thing), inside_out), (bust, []), (1 - bust, inside_out),
        (0.6 * thing, []), (0.45 * (1 - thing), inside_out), (torch.full_like(thing, 0.3), inside_out),
    ):  # fmt: skip
        scene = build_scene(picture, [mask], [Concept("<cup>")])
        assert [caution.kind for caution in cautions(scene)] == doubted
    ground = Concept("<ground>")
    scene = build_scene(picture, [thing], [Concept("<cup>")], background=ground)
    assert cautions(scene, background=ground) == ()
    (caution,) = cautions(build_scene(picture, [1 - thing], [Concept("<cup>")]))
    assert "covers 86% of the picture and 100% of its edge" in caution.message
    assert "switch invert_masks, or put Invert Mask before this one alone" in caution.message


def test_one_mask_of_the_ground_among_several_pictures_is_doubted():
    """Oracle: by hand: the second of three pictures has its mask inside out."""
    thing = torch.zeros(256, 256)
    thing[80:176, 80:176] = 1
    scene = build_scene(torch.zeros(3, 256, 256, 3), [torch.stack([thing, 1 - thing, thing])], [Concept("<cup>")])
    (caution,) = cautions(scene)
    assert (caution.kind, caution.concept) == ("inside out", 0)
    assert "covers 86% of picture 2" in caution.message


def test_a_thing_without_a_starting_word_is_named_with_what_to_type_and_where():
    """Oracle: the sentence, by hand; nothing is said where words are not questioned."""
    cup, thing = Concept("<cup>", "cup"), Concept("<thing>")
    masks = [torch.zeros(256, 256) for _ in range(2)]
    masks[0][32:96, 32:96] = masks[1][128:224, 128:224] = 1
    scene = build_scene(torch.zeros(1, 256, 256, 3), masks, [cup, thing])
    (caution,) = cautions(scene, pieces=lambda text: 2 - (text == "cup"))
    assert (caution.kind, caution.concept) == ("no word", 1)
    assert caution.message == (
        "<thing> has no starting word, so its training starts near 'object'. Write what it is, in one ordinary word "
        "such as cup: beside <thing> on Build Scene, or on line 2 of its words."
    )
    assert cautions(scene) == ()


@pytest.mark.parametrize(
    ("painted", "size", "said"),
    [
        ((320, 160), Grid(512, 512), "on a picture of 320x160, and this one is 512x512.* clear the painting"),
        ((640, 480), Grid(480, 640), "640x480, and this one is 480x640.* the browser rotates the file"),
    ],
)
def test_a_painting_of_another_shape_is_doubted(painted, size, said):
    """Oracle: the sentences; one made on another picture, and one made on the same picture turned."""
    (caution,) = painting_cautions(torch.zeros(*painted, 4), size)
    assert caution.kind == "painting of another shape"
    assert re.search(said, caution.message)


def test_a_painting_of_the_pictures_shape_is_not_doubted():
    """Oracle: by hand: the same size, half of it rounded up, and no painting."""
    for painted in ((333, 501), (167, 251), None):
        strokes = None if painted is None else torch.zeros(*painted, 4)
        assert painting_cautions(strokes, Grid(333, 501)) == ()
