"""Which things a scene has, and the sheet on which a person checks them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError
from pack.scenescope.training.scene.cautions import SceneCaution, cautions
from pack.scenescope.training.scene.masks import PALETTE, MaskSources, collect_masks, colour_of, name_things
from pack.scenescope.training.scene.painted import NEAR
from pack.scenescope.training.scene.preview import describe, facts, preview
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene

SIZE = Grid(64, 96)


def box(top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A mask (height width) that is 1 in a rectangle."""
    mask = torch.zeros(SIZE)
    mask[top : top + height, left : left + width] = 1
    return mask


def painted(*places: tuple[torch.Tensor, tuple[int, int, int], float]) -> torch.Tensor:
    """Strokes (height width 4): masks in colours with an opacity, on transparent ground."""
    strokes = torch.zeros(*SIZE, 4)
    for mask, colour, opacity in places:
        strokes[mask.bool()] = torch.tensor([*(part / 255 for part in colour), opacity])
    return strokes


def scene_of(*masks: torch.Tensor, images: int = 1) -> Scene:
    """A grey scene."""
    concepts = [Concept(f"<thing{index}>", "cat") for index in range(len(masks))]
    stacked = [mask.expand(images, *SIZE) for mask in masks]
    return build_scene(torch.full((images, *SIZE, 3), 0.5), stacked, concepts)


LEFT, RIGHT = box(16, 8, 32, 32), box(16, 56, 32, 32)


def test_a_batch_on_one_socket_is_several_things_of_one_picture():
    """Oracle: the masks, in order, with those of other sockets; one without a batch dimension among them."""
    things = collect_masks(MaskSources([torch.stack([LEFT, RIGHT]), box(0, 0, 8, 8)]), 1)
    assert torch.equal(torch.cat(things), torch.stack([LEFT, RIGHT, box(0, 0, 8, 8)]))


def test_masks_of_sockets_can_be_turned_inside_out_and_paint_stays_as_it_is():
    """Oracle: the complement of a soft mask, and a coloured picture's mask as it was."""
    painted = torch.zeros(1, 8, 8, 3)
    painted[:, :4, :, 0] = 1
    soft = torch.full((1, 8, 8), 0.25)
    turned, thing = collect_masks(MaskSources([soft], painted, inverted=True), 1)
    assert torch.equal(turned, 1 - soft)
    assert torch.equal(thing[0], painted[0, ..., 0])


def test_with_several_pictures_every_so_many_masks_are_one_thing():
    """Oracle: by hand, two things in two pictures; a batch that does not divide is refused."""
    things = collect_masks(MaskSources([torch.stack([LEFT, RIGHT, RIGHT, LEFT])]), 2)
    assert [thing.tolist() for thing in things] == [
        torch.stack([LEFT, RIGHT]).tolist(),
        torch.stack([RIGHT, LEFT]).tolist(),
    ]
    with pytest.raises(InputError, match="3 masks for 2 pictures"):
        collect_masks(MaskSources([torch.stack([LEFT] * 3)]), 2)


def test_a_colour_is_the_same_thing_in_every_picture():
    """Oracle: by hand, red left and green right in one picture, the other way about in the next."""
    coloured = torch.zeros(2, *SIZE, 3)
    for image, (red, green) in enumerate([(LEFT, RIGHT), (RIGHT, LEFT)]):
        coloured[image, ..., 0], coloured[image, ..., 1] = red, green
    red, green = collect_masks(MaskSources(coloured=coloured), 2)
    assert torch.equal(red, torch.stack([LEFT, RIGHT]))
    assert torch.equal(green, torch.stack([RIGHT, LEFT]))
    with pytest.raises(InputError, match=r"2 coloured pictures for 1 picture\."):
        collect_masks(MaskSources(coloured=coloured), 1)


def test_strokes_in_the_colour_of_a_thing_add_to_its_mask_and_others_are_new_things():
    """Oracle: by hand; the second thing's colour is painted where its mask is not, and red is nobody's."""
    more, new = box(0, 0, 16, 16), box(48, 0, 16, 96)
    strokes = painted((new, (255, 0, 0), 1.0), (more, PALETTE[1], 1.0))
    first, second, third = collect_masks(MaskSources([LEFT, RIGHT], strokes=strokes), 1)
    assert torch.equal(first[0], LEFT)
    assert torch.equal(second[0], torch.maximum(RIGHT, more))
    assert torch.equal(third[0], new)


def test_strokes_alone_come_in_the_palettes_order_wherever_they_are():
    """Oracle: by hand; the palette's second colour is painted above its first, which is thin paint everywhere."""
    upper, lower = box(0, 0, 16, 96), box(32, 0, 16, 96)
    things = collect_masks(MaskSources(strokes=painted((upper, PALETTE[1], 0.3), (lower, PALETTE[0], 0.3))), 1)
    assert torch.equal(torch.cat(things), torch.stack([lower, upper]))


def test_strokes_belong_to_the_first_picture():
    """Oracle: by hand; the second picture does not show the thing."""
    (thing,) = collect_masks(MaskSources(strokes=painted((LEFT, (255, 0, 0), 1.0))), 2)
    assert torch.equal(thing, torch.stack([LEFT, torch.zeros(SIZE)]))


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (MaskSources(), "no mask yet"),
        (MaskSources([torch.zeros(SIZE)]), "the mask is empty"),
        (MaskSources(strokes=torch.zeros(*SIZE, 4)), "no mask yet"),
    ],
)
def test_a_scene_without_any_mask_is_refused(marks, said):
    """Oracle: the message."""
    with pytest.raises(InputError, match=said):
        collect_masks(marks, 1)


def test_handles_and_words_are_read_line_by_line():
    """Oracle: by hand; empty lines, missing words, and the background's word after the others."""
    concepts, ground = name_things(3, "<cat>\n\n<dog>\n\n", " cat \n\nred dog\nbeach\n", " <bg> ")
    assert concepts == [Concept("<cat>", "cat"), Concept("<asset1>", ""), Concept("<dog>", "red dog")]
    assert ground == Concept("<bg>", "beach")
    assert name_things(2, "<cat>", "", "") == ([Concept("<cat>", ""), Concept("<asset1>", "")], None)


@pytest.mark.parametrize(
    ("handles", "words", "said"),
    [
        ("<a>\n<b>\n<c>", "", "3 handles but only 2 masks"),
        ("", "a\nb\nc", "3 starting words"),
    ],
)
def test_more_names_than_things_are_refused(handles, words, said):
    """Oracle: the message."""
    with pytest.raises(InputError, match=said):
        name_things(2, handles, words, "")


def test_colours_of_the_palette_are_told_apart():
    """Oracle: the distance at which painted colours are taken for one."""
    colours = torch.tensor([colour_of(index) for index in range(len(PALETTE))], dtype=torch.float64)
    distances = torch.cdist(colours, colours) + 1000 * torch.eye(len(colours))
    assert distances.min() > NEAR
    assert len({colour_of(index) for index in range(64)}) > 25


def test_the_sheet_shows_each_mask_in_its_colour_at_every_grid():
    """Oracle: the palette; on a grey picture a thing's pixels lean to its colour, and nothing else has colour."""
    sheet = preview(scene_of(LEFT, RIGHT), [])[0]
    assert (sheet.min() >= 0, sheet.max() <= 1, sheet.dtype) == (True, True, torch.float32)
    scale = 512 / 96
    for mask_left, colour in ((8, colour_of(0)), (56, colour_of(1))):
        row, column = 14 + round(20 * scale), 14 + round((mask_left + 4) * scale)  # away from the name
        seen = sheet[row, column]
        expected = torch.lerp(torch.full((3,), 0.45), torch.tensor(colour) / 255, 0.6)
        assert torch.allclose(seen, expected, atol=0.01)
    bare = sheet[14 + round(8 * scale), 14 + round(48 * scale)]
    assert torch.allclose(bare, torch.full((3,), 0.45), atol=0.01)


@pytest.mark.parametrize("size", [(64, 64), (32, 128), (160, 32), (96, 128)])
def test_every_shape_gets_a_sheet_for_each_picture(size):
    """Oracle: the number of pictures; very wide and very tall ones, more concepts than colours."""
    masks = [torch.ones(2, *size) for _ in range(9)]
    scene = build_scene(torch.rand(2, *size, 3), masks, [Concept(f"<a{index}>") for index in range(9)])
    sheets = preview(scene, cautions(scene, len))
    assert len(sheets) == 2
    assert sheets.isfinite().all()


def test_warnings_make_the_sheet_longer_and_are_written_in_amber():
    """Oracle: the same sheet without them."""
    scene = scene_of(LEFT)
    said = [SceneCaution("overlap", 0, "Something is wrong " * 20)] * 2
    without, with_them = preview(scene, [])[0], preview(scene, said)[0]
    assert len(with_them) > len(without)
    amber = (with_them[..., 0] > 0.9) & (with_them[..., 2] < 0.4)
    assert amber[len(without) :].any()
    assert preview(scene, said[:1]).shape[1] == len(with_them)


def test_the_report_names_sizes_words_cells_and_each_warning_once():
    """Oracle: by hand: 32x32 pixels are one cell of 32 pixels a side."""
    scene = scene_of(LEFT)
    text = describe(scene, [SceneCaution("overlap", 0, "It is so.")] * 2)
    assert text.splitlines() == [
        "1 concept in 1 picture of 64x96; latent 8x12, attention loss 2x3",
        "<thing0>: starts as 'cat', 1.0 of 6 cells",
        "Warning: It is so.",
    ]


def test_the_facts_are_plain_json():
    """Oracle: what JSON gives back, and the values by hand."""
    found = json.loads(json.dumps(facts(scene_of(LEFT, RIGHT), [SceneCaution("overlap", 1, "It is so.")])))
    assert found["concepts"][0] == {"handle": "<thing0>", "word": "cat", "colour": "#56b4e9", "cells": 1.0}
    assert found["grids"] == {"picture": [64, 96], "latent": [8, 12], "loss": [2, 3]}
    assert found["warnings"] == [{"kind": "overlap", "concept": 1, "message": "It is so."}]
    assert found["palette"][0] == "#56b4e9"


def test_the_front_end_has_the_same_palette():
    """Oracle: the script's own text."""
    script = (Path(__file__).resolve().parents[3] / "web" / "js" / "painter" / "rows.js").read_text("utf-8")
    line = next(line for line in script.splitlines() if line.startswith("export const PALETTE"))
    assert re.findall("#[0-9a-f]{6}", line) == facts(scene_of(LEFT), [])["palette"]
