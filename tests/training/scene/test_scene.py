"""Scenes: sizes, masks on every grid, the background, painted masks, and what to doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError
from pack.scenescope.training.scene.cautions import cautions, colour_cautions, size_cautions
from pack.scenescope.training.scene.masks import PALETTE, MaskSources, collect_masks
from pack.scenescope.training.scene.painted import Stray, colours_of, masks_by_colour
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene, soft_mask, working_size

CAT, DOG = Concept("<cat0>", "cat"), Concept("<dog0>", "dog")


def box(size: Grid, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A mask (height width) that is 1 in a rectangle."""
    mask = torch.zeros(size)
    mask[top : top + height, left : left + width] = 1
    return mask


def picture(size: Grid, images: int = 1) -> torch.Tensor:
    """Random pixels (image height width 3)."""
    return torch.rand(images, *size, 3, generator=torch.Generator().manual_seed(0))


def test_a_scene_of_the_right_size_is_taken_as_it_is():
    """Oracle: the inputs themselves; grids by hand for a picture that is not square."""
    size = Grid(64, 104)
    masks = [box(size, 0, 0, 32, 32), box(size, 32, 64, 16, 16)]
    scene = build_scene(picture(size), masks, [CAT, DOG])
    assert torch.equal(scene.pictures, picture(size))
    assert torch.equal(scene.masks, torch.stack(masks)[None])
    assert (scene.handles, scene.latent, scene.loss_grid) == (("<cat0>", "<dog0>"), Grid(8, 13), Grid(2, 4))
    assert scene.present(0) == (0, 1)


def test_masks_on_coarser_grids_are_exact_means():
    """Oracle: by hand: 12 of 16 pixels of a latent cell, and their 64th part of a supervised cell's."""
    size = Grid(64, 64)
    scene = build_scene(picture(size), [box(size, 0, 0, 8, 4)], [CAT])
    assert float(scene.masks_on(scene.latent)[0, 0, 0, 0]) == 0.5
    assert float(scene.masks_on(scene.loss_grid)[0, 0, 0, 0]) == pytest.approx(32 / 1024)
    assert float(scene.masks_on(scene.loss_grid).sum()) == pytest.approx(32 / 1024)


def test_picture_and_masks_are_scaled_and_cut_together():
    """Oracle: a picture that is its own mask stays its own mask, for growing, shrinking and cutting."""
    for size, resolution in ((Grid(70, 110), None), (Grid(128, 96), 64), (Grid(50, 45), 128)):
        mask = box(size, 10, 20, 25, 17)
        scene = build_scene(mask[None, ..., None].expand(1, *size, 3), [mask], [CAT], resolution=resolution)
        assert torch.allclose(scene.pictures[0, ..., 0], scene.masks[0, 0], atol=1e-6)
        assert scene.size.height % 8 == scene.size.width % 8 == 0
        assert scene.size == working_size(size, resolution)


def test_cutting_takes_from_both_edges_alike():
    """Oracle: by hand: 70 rows to 64 lose 3 above and 3 below."""
    size = Grid(70, 64)
    scene = build_scene(picture(size), [box(size, 3, 0, 1, 64)], [CAT])
    assert torch.equal(scene.pictures, picture(size)[:, 3:67])
    assert float(scene.masks[0, 0, 0].mean()) == 1.0


@settings(deadline=None, max_examples=60)
@given(st.integers(64, 2000), st.integers(64, 2000), st.integers(128, 1024))
def test_the_working_size_keeps_the_aspect_and_the_number_of_pixels(height, width, resolution):
    """Oracle: an invariant: less than 8 pixels are missing of each side."""
    exact = [side * resolution / (height * width) ** 0.5 for side in (height, width)]
    if min(exact) < 33:
        return
    size = working_size(Grid(height, width), resolution)
    assert all(0 <= wanted - side < 8 + 1e-3 for wanted, side in zip(exact, size, strict=True))


def test_the_background_is_what_no_mask_covers():
    """Oracle: by hand, with soft masks that overlap; it comes last."""
    size = Grid(64, 64)
    soft = [torch.full(size, 0.25), box(size, 0, 0, 32, 64) * 0.75]
    scene = build_scene(picture(size), soft, [CAT, DOG], background=Concept("<room>", "room"))
    assert scene.handles == ("<cat0>", "<dog0>", "<room>")
    assert scene.masks[0, 2, 0, 0] == 0.25
    assert scene.masks[0, 2, 63, 0] == 0.75


def test_several_pictures_may_show_different_concepts():
    """Oracle: by hand; an empty mask means that the picture does not show the concept."""
    size = Grid(64, 64)
    first = torch.stack([box(size, 0, 0, 32, 32), torch.zeros(size)])
    scene = build_scene(picture(size, 2), [first, torch.ones(2, *size)], [CAT, DOG])
    assert [scene.present(image) for image in (0, 1)] == [(0, 1), (1,)]
    with pytest.raises(InputError, match=r"Connect one mask of \(height, width\) with finite numbers for each picture"):
        build_scene(picture(size, 2), [torch.ones(size)], [CAT])


def test_masks_come_in_many_forms():
    """Oracle: by hand: grey, colour, alpha, an alpha that says nothing, and values out of range."""
    grey = torch.tensor([[0.0, 0.5, 1.0]])
    opaque = torch.cat([grey[None, ..., None].expand(1, 1, 3, 3), torch.ones(1, 1, 3, 1)], dim=-1)
    alpha = torch.cat([torch.ones(1, 1, 3, 3), grey[None, ..., None]], dim=-1)
    for mask in (grey, grey[None], grey[None, ..., None], opaque, alpha, opaque[..., :3], grey.half()):
        assert soft_mask(mask, 1).tolist() == [[[0.0, 0.5, 1.0]]]
    assert soft_mask(torch.tensor([[-1.0, 2.0]]), 1).tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": []}, r"0 masks and 1 handle\."),
        ({"concepts": [CAT, DOG]}, "1 mask and 2 handles"),
        ({"concepts": [Concept("a cat")]}, "'a cat' can't be a handle"),
        ({"concepts": [Concept("")]}, "'' can't be a handle"),
        ({"background": Concept("<CAT0>")}, "is part of"),
        ({"background": Concept("cat0")}, "'cat0' is part of the handle '<cat0>'"),
        ({"masks": [torch.full((64, 64), float("nan"))]}, "finite numbers"),
        ({"pictures": torch.zeros(64, 64, 3)}, r"picture has shape \(64, 64, 3\)"),
        ({"resolution": 16}, "would be 16x16 pixels; each side needs at least 32"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, words):
    """Oracle: the docstring's list."""
    whole = {"pictures": picture(Grid(64, 64)), "masks": [torch.ones(64, 64)], "concepts": [CAT]}
    with pytest.raises(InputError, match=words):
        build_scene(**{**whole, **change})


def test_a_scenes_name_differs_where_anything_differs():
    """Oracle: an invariant over one change of each kind."""
    size = Grid(64, 64)
    scene = build_scene(picture(size), [torch.ones(size)], [CAT])
    changed = scene.pictures.clone()
    changed[0, 5, 5, 0] += 1e-4
    others = [
        replace(scene, pictures=changed),
        replace(scene, masks=scene.masks * 0.999),
        replace(scene, concepts=(Concept("<cat0>", "kitten"),)),
    ]
    assert scene.digest == build_scene(picture(size), [torch.ones(size)], [CAT]).digest
    assert len({scene.digest, *(other.digest for other in others)}) == 4


def kinds(scene: Scene, **options) -> list[tuple[str, int | None]]:
    """What is doubted, and of which concept."""
    return [(caution.kind, caution.concept) for caution in cautions(scene, **options)]


def test_masks_that_say_too_little_are_named():
    """Oracle: by hand: none, 3.5 and 4 cells of 32 pixels; of several pictures the best one counts."""
    size = Grid(128, 128)
    masks = [torch.zeros(size), box(size, 0, 0, 112, 32), box(size, 0, 32, 128, 32)]
    scene = build_scene(picture(size), masks, [CAT, DOG, Concept("<tree>")])
    assert kinds(scene) == [("empty mask", 0), ("tiny mask", 1)]
    assert "3.5 of 16 cells in the 4x4 training map" in cautions(scene)[1].message
    twice = build_scene(picture(size, 2), [torch.stack([torch.zeros(size), masks[2]])], [CAT])
    assert kinds(twice) == []


def test_overlap_is_named_but_not_soft_edges_that_add_up():
    """Oracle: by hand: half of the smaller mask; a soft mask and its complement share nothing."""
    size = Grid(128, 128)
    scene = build_scene(picture(size), [box(size, 0, 0, 128, 64), box(size, 0, 32, 128, 64)], [CAT, DOG])
    assert kinds(scene) == [("overlap", 1)]
    assert "50%" in cautions(scene)[0].message
    soft = build_scene(picture(size), [torch.full(size, 0.5)], [CAT], background=Concept("<room>"))
    assert "overlap" not in dict(kinds(soft))


def test_many_concepts_words_and_sizes_are_named():
    """Oracle: by hand, with a text encoder that makes a token of every letter but knows `cat`."""
    size = Grid(128, 320)
    masks = [box(size, 0, 64 * place, 128, 64) for place in range(5)]
    concepts = [Concept("cat"), Concept("<1>", "cat"), Concept("<2>", "dog"), Concept("<3>"), Concept("<4>")]
    scene = build_scene(picture(size), masks, concepts)
    found = kinds(scene, pieces=lambda text: 1 if text == "cat" else len(text))
    assert found == [
        ("ordinary word", 0),
        ("no word", 0),
        ("long word", 2),
        ("no word", 3),
        ("no word", 4),
        ("many concepts", None),
    ]
    assert kinds(scene) == [("many concepts", None)]
    sizes = size_cautions([torch.ones(128, 320), torch.ones(1, 64, 128), torch.ones(1, 64, 64, 3)], size)
    assert [(caution.kind, caution.concept) for caution in sizes] == [
        ("mask of another size", place) for place in (1, 2)
    ]
    assert "64x128 and the picture 128x320" in sizes[0].message


def test_every_colour_is_a_thing():
    """Oracle: a painting by hand with a soft edge, which belongs to the nearer colour, and a transparent part."""
    painted = torch.zeros(40, 40, 4)
    painted[..., 3] = 1
    painted[0:10, 0:10, 0] = 1
    painted[0:10, 10, 0] = 0.7  # the edge: 10 pixels of 1600, nearer to red than to black
    painted[20:30, 20:30, 2] = 1
    painted[30:40, :, 1] = 1
    painted[30:40, :, 3] = 0
    painted[25, 25, 0] = 0.02  # noise
    colours, masks = masks_by_colour(painted)
    assert colours == ((255, 0, 0), (0, 0, 255))
    assert masks.sum(dim=(1, 2)).tolist() == [110, 100]
    everything, parts = masks_by_colour(painted[:, :, :3], ground=None)
    assert everything == ((255, 0, 0), (0, 0, 0), (0, 0, 255), (0, 255, 0))
    assert torch.equal(parts.sum(0), torch.ones(40, 40))


def test_a_painting_of_nothing_is_refused():
    """Oracle: by hand: only ground, nothing opaque, and no picture."""
    for painted in (torch.zeros(8, 8, 3), torch.zeros(8, 8, 4)):
        with pytest.raises(InputError, match="no colour besides the background"):
            masks_by_colour(painted)
    with pytest.raises(InputError, match="no colour besides the background"):
        masks_by_colour(torch.zeros(8, 8, 4), ground=None)
    with pytest.raises(InputError, match=r"\(height, width, 3\) is needed"):
        masks_by_colour(torch.zeros(8, 8))


def strokes_of(*dots: tuple[tuple[int, int, int], int, int, int], side: int = 200) -> torch.Tensor:
    """Strokes (height width 4): squares of a side at a row and a column, in colours, later ones over earlier ones."""
    strokes = torch.zeros(side, side, 4)
    for colour, row, column, extent in dots:
        strokes[row : row + extent, column : column + extent] = torch.tensor([*(part / 255 for part in colour), 1.0])
    return strokes


def test_a_dot_in_another_colour_is_told_of_and_an_edge_is_not():
    """Oracle: by hand: 36 of 40000 pixels are 0.09 %; an edge two pixels wide and 80 long has more of them."""
    strokes = strokes_of((PALETTE[0], 10, 10, 80), ((255, 0, 255), 30, 30, 6))
    assert colours_of(strokes, ground=None)[1] == (Stray((255, 0, 255), None, 36 / 40000),)
    assert colours_of(strokes, ground=None)[0] == ((PALETTE[0], (6400 - 36) / 40000),)
    edge = strokes_of((PALETTE[0], 10, 10, 80))
    edge[10:90, 88:90, :3] = torch.tensor([0.6, 0.7, 0.8])
    edge[10:90, 90] = torch.tensor([0.2, 0.2, 0.2, 1.0])
    assert colours_of(edge, ground=None)[1] == ()
    assert colours_of(strokes_of((PALETTE[0], 10, 10, 80), ((255, 0, 255), 30, 30, 4)), ground=None)[1] == ()
    assert colours_of(torch.zeros(8, 8, 4), ground=None)[1] == colours_of(torch.zeros(8, 8, 4))[0] == ()


def test_a_colour_that_is_too_near_to_another_is_told_of_however_large():
    """Oracle: by hand: 40 steps of red lie between 24 and 48; 20 steps are one colour that a file has blurred."""
    red, green, blue = PALETTE[0]
    near = strokes_of((PALETTE[0], 0, 0, 100), ((red + 40, green, blue), 120, 120, 60))
    assert colours_of(near, ground=None)[1] == (Stray((red + 40, green, blue), PALETTE[0], 3600 / 40000),)
    assert (
        colours_of(strokes_of((PALETTE[0], 0, 0, 100), ((red + 20, green, blue), 120, 120, 60)), ground=None)[1] == ()
    )


def test_colours_that_may_mean_something_else_are_doubted():
    """Oracle: by hand; a palette's colour and one of nobody's, with no, too few and enough handles."""
    own = strokes_of((PALETTE[0], 10, 10, 80), ((255, 255, 255), 100, 100, 50), ((1, 2, 3), 180, 180, 10))
    found = colour_cautions(MaskSources(strokes=own), 2, 0)
    assert [caution.kind for caution in found] == ["stray colour", "colour without a row"]
    assert "#010203 covers 0.25% of the painting, too little for a thing" in found[0].message
    assert "it was taken for nothing" in found[0].message
    assert "#ffffff, on 6.2% of the painting, is no handle's colour" in found[1].message
    few = colour_cautions(MaskSources(strokes=own), 2, 1)
    assert [(caution.kind, caution.concept) for caution in few][1:] == [
        ("colour without a row", None),
        ("thing without a handle", 1),
    ]
    assert "Thing 2 has no line among the 1 handle and is called <asset1>" in few[2].message
    assert [caution.kind for caution in colour_cautions(MaskSources(strokes=own), 2, 2)] == ["stray colour"]
    assert colour_cautions(MaskSources([torch.ones(8, 8)] * 2), 2, 1) == ()


def test_a_stray_colour_in_a_coloured_picture_is_counted_as_nothing():
    """Oracle: by hand: a dark dot on black ground, in the second of two pictures."""
    coloured = torch.zeros(2, 100, 100, 3)
    coloured[:, :50, :, 0] = 1
    coloured[1, 60:70, 60:70, 2] = 0.3
    (caution,) = colour_cautions(MaskSources(coloured=coloured), 1, 0)
    assert "#00004c covers 0.50% of the painting" in caution.message
    assert "taken for nothing" in caution.message


def test_a_small_stroke_in_a_colour_of_the_palette_is_a_thing_of_its_own():
    """Oracle: by hand: two things, and 0.6 % of the painting far away in the third row's colour."""
    strokes = strokes_of((PALETTE[0], 10, 10, 60), (PALETTE[1], 10, 120, 60), (PALETTE[2], 180, 180, 16))
    first, second, third = collect_masks(MaskSources(strokes=strokes), 1)
    assert [int(mask.sum()) for mask in (first, second, third)] == [3600, 3600, 256]
    assert third[0, 180:196, 180:196].all()
    (caution,) = colour_cautions(MaskSources(strokes=strokes), 3, 2)
    assert caution.kind == "thing without a handle"


def test_too_little_of_a_palette_colour_is_nothing_and_never_a_part_of_another_thing():
    """Oracle: by hand: 16 of 40000 pixels, in one of which even a block would fit; and a stroke of nobody's colour."""
    strokes = strokes_of((PALETTE[0], 10, 10, 60), (PALETTE[2], 180, 180, 4), ((255, 0, 255), 150, 150, 12))
    (only,) = collect_masks(MaskSources(strokes=strokes), 1)
    assert int(only.sum()) == 3600
    assert not only[0, 100:].any()


def test_a_small_painting_alone_is_a_thing():
    """Oracle: by hand: nothing but 0.25 % of the picture, in the second row's colour."""
    (only,) = collect_masks(MaskSources(strokes=strokes_of((PALETTE[1], 20, 20, 10))), 1)
    assert int(only.sum()) == 100


def test_a_colour_that_is_too_near_to_a_rows_is_told_with_the_rows_name():
    """Oracle: the sentence; 40 steps of red from the first row's colour."""
    red, green, blue = PALETTE[0]
    strokes = strokes_of((PALETTE[0], 0, 0, 100), ((red + 40, green, blue), 120, 120, 60))
    (caution,) = colour_cautions(MaskSources(strokes=strokes), 1, 1)
    assert "it was taken for a part of what is in the colour of row 1" in caution.message
