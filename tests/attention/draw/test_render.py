"""Pictures: colours that tell lightness in order, letters that are there, sizes that fit."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.draw.render import Style, captioned, masks_of, overlay, plain, sheet, tiles_of
from pack.scenescope.attention.read.cautions import Caution
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.normalise import ScaledMaps, normalise
from pack.scenescope.dims import Grid
from pack.scenescope.drawing.colormap import COLOUR_MAPS, colour, from_oklab, to_oklab
from pack.scenescope.drawing.lettering import AMBER, PAPER, bar_of, draw_bar, fitting, font, ticks
from pack.scenescope.drawing.pixels import enlarge, joined
from pack.scenescope.errors import InputError
from pack.tests.support.recordings import match, record

STYLE = Style(Grid(128, 192))
WORDS = [match("cat", (2,)), match("and", (3,)), match("dog", (5,))]


def scaled(how="words") -> ScaledMaps:
    """Two pictures, three words, on a 4x6 grid."""
    return normalise([heatmaps(record(), WORDS)], how)[0]


@pytest.mark.parametrize("name", ["inferno", "viridis", "grey"])
def test_more_attention_is_always_lighter(name):
    """Oracle: an invariant of a map that can be read: Oklab lightness rises from level to level."""
    lightness = to_oklab(colour(torch.linspace(0, 1, 256), name).double())[:, 0]
    assert (lightness.diff() > 0).all()


def test_the_difference_map_is_lightest_at_no_difference_and_equally_dark_on_both_sides():
    """Oracle: an invariant. Lightness is symmetrical, falls to both ends; less is bluer, more is redder."""
    colours = colour(torch.linspace(0, 1, 1024), "difference").double()
    lightness = to_oklab(colours)[:, 0]
    torch.testing.assert_close(lightness, lightness.flip(0), rtol=0, atol=0.01)
    assert (lightness[:500].diff() > 0).all()
    assert colours[0, 2] > colours[0, 0]
    assert colours[-1, 0] > colours[-1, 2]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("inferno", (0, 0, 4), (252, 255, 164)), ("viridis", (68, 1, 84), (253, 231, 37)), ("grey", (0,) * 3, (255,) * 3)],
)
def test_the_ends_of_the_colour_maps(name, low, high):
    """Oracle: the published colours."""
    ends = (colour(torch.tensor([0.0, 1.0]), name) * 255).round().int().tolist()
    assert ends == [list(low), list(high)]


def test_levels_outside_the_scale_are_clamped_and_nothing_is_black():
    """Oracle: by hand. NaN is drawn as 0."""
    levels = colour(torch.tensor([-1.0, float("nan"), 2.0]), "viridis")
    assert torch.equal(levels, colour(torch.tensor([0.0, 0.0, 1.0]), "viridis"))
    with pytest.raises(InputError, match="inferno, viridis, grey, difference"):
        colour(torch.zeros(1), "jet")


def test_oklab_there_and_back():
    """Oracle: an invariant, and white at lightness 1 without colour."""
    rgb = torch.rand(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(from_oklab(to_oklab(rgb)), rgb, rtol=0, atol=1e-6)
    white = to_oklab(torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(white, torch.tensor([1.0, 0, 0], dtype=torch.float64), rtol=0, atol=1e-6)


@settings(deadline=None)
@given(st.floats(1e-6, 1e4))
def test_ticks_rise_from_zero_to_the_top_with_room_between(top):
    """Oracle: invariants of a scale that can be read: 3 to 8 numbers, the last one the top, none too close."""
    marks = ticks(top)
    assert marks[0] == 0
    assert marks[-1] == top
    assert 3 <= len(marks) <= 8
    assert min(high - low for low, high in itertools.pairwise(marks)) > top * 0.05


def test_a_colour_bar_runs_from_its_colour_for_zero_at_the_bottom_to_the_top():
    """Oracle: the colour map itself, read back from the pixels."""
    picture = draw_bar(bar_of(0.3, "share of attention", "inferno"), 200, 13)
    assert picture.getpixel((2, 199)) == (0, 0, 4)
    assert picture.getpixel((2, 0)) == (252, 255, 164)
    assert picture.height == 200


def test_a_long_word_is_cut_to_its_tile():
    """Oracle: measured in pixels; a short word is left alone, and line breaks become spaces."""
    assert fitting("cat\ndog", 100, 14) == "cat dog"
    cut = fitting("an enormous phrase of many words", 100, 14)
    assert cut.endswith("...")
    assert font(14).getlength(cut) <= 100


def test_cells_are_squares_and_smooth_keeps_the_mean():
    """Oracle: by hand for the cells; area for going down; in range for going up."""
    levels = torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])
    cells = enlarge(levels, Grid(4, 6), "cells")
    assert torch.equal(cells[0], levels[0].repeat_interleave(2, 0).repeat_interleave(3, 1))
    smooth = enlarge(levels, Grid(64, 96), "smooth")
    assert 0 <= smooth.min() < smooth.max() <= 1
    assert smooth.mean().item() == pytest.approx(levels.mean().item(), abs=0.01)


def test_masks_are_the_levels_at_full_size_words_outside_pictures_inside():
    """Oracle: each mask is that word's and that picture's level, enlarged alone."""
    maps = scaled()
    masks = masks_of(maps, Grid(128, 192))
    assert masks.shape == (6, 128, 192)
    alone = enlarge(maps.levels[1, ..., 2][None], Grid(128, 192), "smooth")
    assert torch.equal(masks[2 * 2 + 1], alone[0])


def test_plain_pictures_are_the_coloured_masks():
    """Oracle: the colour map on the masks; nothing is written on them."""
    maps = scaled()
    assert torch.equal(plain(maps, STYLE), colour(masks_of(maps, STYLE.size), "inferno"))


def test_a_sheet_holds_every_map_and_one_bar_where_the_scale_is_shared():
    """Oracle: pixels of each tile's top left corner are the colour of that level."""
    maps = scaled()
    style = Style(Grid(128, 192), "viridis", "cells")
    picture = sheet(tiles_of(maps, (), style), style)
    assert picture.shape[0] == 1
    assert picture.shape[3] == 3
    gap = 13
    width = (picture.shape[2] - gap) // 3
    assert width > 192
    expected = (colour(maps.levels[:, 0, 0], "viridis") * 255).round()  # (image word 3)
    torch.testing.assert_close(picture[0, gap + 2, gap + 2] * 255, expected[0, 0])
    torch.testing.assert_close(picture[0, gap + 2, gap + 2 + 192 + gap] * 255, expected[0, 1])
    own = sheet(tiles_of(scaled("maximum"), (), style), style)
    assert own.shape[2] > picture.shape[2]  # a bar to every tile


def test_doubts_are_written_in_amber_where_they_belong():
    """Oracle: amber pixels are there with a caution and not without."""
    maps = scaled()
    cautions = (Caution("near uniform", "and", 0, 0.01, ""),)
    tiles = tiles_of(maps, cautions, STYLE)
    assert [[tile.caution for tile in row] for row in tiles] == [["", "near uniform", ""], ["", "", ""]]
    amber = torch.tensor(AMBER) / 255

    def drawn(picture):
        return bool(((picture - amber).abs() < 0.02).all(-1).any())

    assert drawn(sheet([[tiles[0][1]]], STYLE))
    assert not drawn(sheet([[tiles[0][0]]], STYLE))


def test_captioned_pictures_come_one_for_each_map_in_the_order_of_the_masks():
    """Oracle: the picture of word 2, image 1 is the sheet of that tile."""
    maps = scaled()
    tiles = tiles_of(maps, (), STYLE)
    pictures = captioned(tiles, STYLE)
    assert len(pictures) == 6
    alone = sheet([[tiles[1][2]]], STYLE)
    assert torch.equal(pictures[5, : alone.shape[1], : alone.shape[2]], alone[0])


def test_pictures_of_different_size_are_joined_with_a_margin():
    """Oracle: by hand."""
    batch = joined([torch.zeros(1, 2, 4, 3), torch.ones(1, 3, 2, 3)])
    assert batch.shape == (2, 3, 4, 3)
    assert torch.equal(batch[1, 0, 3], torch.tensor(PAPER) / 255)
    assert batch[0, :2].max() == 0


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_an_overlay_goes_from_the_picture_to_the_map(opacity):
    """Oracle: by hand. At 0 the picture; at 1 the map's colour where the level is 1, and half of each where it is 0."""
    image = torch.full((1, 4, 6, 3), 0.5)
    mask = torch.zeros(1, 4, 6)
    mask[..., 3:] = 1
    found = overlay(image, mask, opacity=opacity, colours="grey")
    expected = image.clone()
    if opacity:
        expected[..., :3, :], expected[..., 3:, :] = 0.25, 1.0
    torch.testing.assert_close(found, expected)


def test_overlays_pair_masks_with_pictures_and_refuse_what_does_not_fit():
    """Oracle: by hand. Six masks on two pictures: mask 3 lies on picture 1; five do not fit."""
    images = torch.stack([torch.zeros(4, 6, 3), torch.ones(4, 6, 3)])
    found = overlay(images, torch.zeros(6, 2, 3), opacity=0.5, colours="grey")
    assert found.shape == (6, 4, 6, 3)
    assert found[2].max() == 0
    assert found[3].min() == pytest.approx(0.75)
    with pytest.raises(InputError, match="2 pictures and 5 maps"):
        overlay(images, torch.zeros(5, 2, 3), opacity=0.5)
    with pytest.raises(InputError, match="opacity is 2"):
        overlay(images, torch.zeros(2, 2, 3), opacity=2)


@pytest.mark.parametrize("size", [Grid(8, 8), Grid(64, 24), Grid(1024, 2048)])
@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_sheets_of_any_size_can_be_drawn(size, name):
    """Oracle: an invariant. The tile's longer side stays within 192 and 512 pixels, whatever the picture's size."""
    style = Style(size, name)
    picture = sheet([tiles_of(scaled(), (), style)[0][:1]], style, footer="where it comes from")
    assert 192 < max(picture.shape[1:3]) < 800
    assert picture.isfinite().all()
