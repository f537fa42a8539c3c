"""Pictures of maps: plain, captioned, on one sheet, as an animation, and laid over a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from ...cost import MASK, PICTURE, refuse_costly
from ...dims import Grid, counted
from ...drawing.colormap import ColourMap, colour
from ...drawing.lettering import AMBER, FAINT, INK, PAPER, Bar, bar_of, draw_bar, fitting, font, number_text
from ...drawing.pixels import Enlarging, enlarge, joined, tile_size, to_image, to_tensor
from ...errors import InputError
from ..read.cautions import Caution
from ..read.normalise import ScaledMaps


@dataclass(frozen=True)
class Style:
    """How maps are drawn.

    Args:
        size: pixels of one map.
        colours: the colour map.
        enlarging: `smooth` draws between the cells' centres, `cells` shows each cell as a square.
    """

    size: Grid
    colours: ColourMap = "inferno"
    enlarging: Enlarging = "smooth"


@dataclass(frozen=True)
class Tile:
    """One map of a sheet.

    Args:
        levels: (height width) float32 0..1 on the map's own grid.
        word: what stands under it.
        note: a line of numbers.
        caution: a caution in a few words, empty where there is none.
        bar: its scale.
    """

    levels: Tensor
    word: str
    note: str
    caution: str
    bar: Bar


def masks_of(scaled: ScaledMaps, size: Grid, enlarging: Enlarging = "smooth") -> Tensor:
    """The maps as masks of a picture, (word*image height width) 0..1 of the scale; words outside, pictures inside."""
    levels = rearrange(scaled.levels, "image height width word -> (word image) height width")
    return enlarge(levels, size, enlarging).clamp(0, 1)


def plain(scaled: ScaledMaps, style: Style) -> Tensor:
    """The maps in colour and nothing else, (word*image height width 3) 0..1; words outside, pictures inside."""
    return colour(masks_of(scaled, style.size, style.enlarging), style.colours)


def tiles_of(scaled: ScaledMaps, cautions: Sequence[Caution], style: Style) -> list[list[Tile]]:
    """Make a tile of every map: one row for each picture, one column for each word."""
    kinds = {(caution.image, caution.word): caution.kind for caution in cautions}
    levels = scaled.levels
    rows: list[list[Tile]] = []
    for image in range(len(levels)):
        row: list[Tile] = []
        for word, name in enumerate(scaled.words):
            values = scaled.values[image, ..., word]
            note = f"mean {number_text(float(values.mean()))}, max {number_text(float(values.amax()))}"
            bar = bar_of(float(scaled.top[image, word]), scaled.unit, style.colours)
            row.append(Tile(levels[image, ..., word], name, note, kinds.get((image, name), ""), bar))
        rows.append(row)
    return rows


def sheet(rows: Sequence[Sequence[Tile]], style: Style, *, footer: str = "") -> Tensor:
    """Draw tiles on one picture, with words, numbers and colour bars.

    A scale that all tiles share is drawn once, at the right; otherwise each tile has its own.

    Args:
        rows: the tiles. A single row is folded so that the sheet is not wider than four tiles.
        style: how to draw; the tile's size is held between 192 and 512 pixels.
        footer: a line at the bottom that says where the maps come from.

    Returns:
        (1 height width 3) float32 0..1.
    """
    size = tile_size(style.size)
    letters = _letters(size)
    tiles = [tile for row in rows for tile in row]
    across = len(rows[0]) if len(rows) > 1 else _columns(len(tiles))
    shared = len({tile.bar for tile in tiles}) == 1
    below = round(letters * (4.4 if any(tile.caution for tile in tiles) else 3.2))
    bars = [None if shared else draw_bar(tile.bar, size.height, letters) for tile in tiles]
    drawn = [_draw_tile(tile, size, style, below, bar) for tile, bar in zip(tiles, bars, strict=True)]
    width, height = drawn[0].size
    gap, down = letters, math.ceil(len(tiles) / across)
    foot = round(2 * letters) if footer else 0
    bar = draw_bar(tiles[0].bar, size.height, letters) if shared else None
    whole = (gap + across * (width + gap) + (bar.width + gap if bar else 0), gap + down * (height + gap) + foot)
    picture = Image.new("RGB", whole, PAPER)
    for index, tile in enumerate(drawn):
        picture.paste(tile, (gap + index % across * (width + gap), gap + index // across * (height + gap)))
    if bar:
        picture.paste(bar, (gap + across * (width + gap), gap))
    if footer:
        small, place = letters - 1, (gap, whole[1] - foot // 2 - 2)
        text = fitting(footer, whole[0] - 2 * gap, small)
        ImageDraw.Draw(picture).text(place, text, fill=FAINT, font=font(small, text), anchor="lm")
    return to_tensor(picture)


def captioned(rows: Sequence[Sequence[Tile]], style: Style, *, footer: str = "") -> Tensor:
    """Draw each tile as a picture of its own, (word*image height width 3) 0..1; words outside, pictures inside."""
    tiles = [row[word] for word in range(len(rows[0])) for row in rows]
    return joined([sheet([[tile]], style, footer=footer) for tile in tiles])


def overlay(images: Tensor, masks: Tensor, *, opacity: float, colours: ColourMap = "inferno") -> Tensor:
    """Lay maps over pictures: the colour where the map is, the picture where it is not.

    Args:
        images: (image height width 3) 0..1; repeated to match the masks, mask i on picture i modulo their number.
        masks: (batch height width) 0..1, of any size; resampled to the pictures.
        opacity: 0 is the picture alone, 1 the map alone at its maximum. The map's level multiplies it half and half, so
            that a low level still tints and a high one still lets the picture through.
        colours: the colour map.

    Returns:
        (batch height width 3) float32 0..1.

    Raises:
        InputError: the opacity lies outside 0..1, or the numbers of pictures and masks do not fit.
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"Overlay Heatmap: opacity is {opacity}, but it has to be between 0 and 1. Correct it.")
    count = max(len(images), len(masks))
    if not len(images) or not len(masks) or count % len(images) or count % len(masks):
        raise InputError(
            f"Overlay Heatmap: {counted(len(images), 'picture')} and {counted(len(masks), 'map')} can't be matched up; "
            "one number has to be a multiple of the other. Connect pictures and maps of the same run."
        )
    size = Grid(*images.shape[1:3])
    refuse_costly("Overlay Heatmap: the pictures", count, size, PICTURE + MASK, "Give fewer maps, or smaller pictures.")
    pick = torch.arange(count)
    pictures = images[pick % len(images), ..., :3].float()
    levels = enlarge(masks.float(), size, "smooth").clamp(0, 1)[pick % len(masks)]
    alpha = opacity * (0.5 + 0.5 * levels[..., None])
    return torch.lerp(pictures, colour(levels, colours), alpha)


def _draw_tile(tile: Tile, size: Grid, style: Style, below: int, bar: Image.Image | None) -> Image.Image:
    letters = _letters(size)
    levels = enlarge(tile.levels[None].float(), size, style.enlarging)
    width = size.width + (letters // 2 + bar.width if bar else 0)
    picture = Image.new("RGB", (width, size.height + below), PAPER)
    picture.paste(to_image(colour(levels, tile.bar.colours)[0]), (0, 0))
    if bar:
        picture.paste(bar, (size.width + letters // 2, 0))
    draw, middle, top = ImageDraw.Draw(picture), size.width // 2, size.height + letters
    word = fitting(tile.word, size.width, letters + 3)
    draw.text((middle, top), word, fill=INK, font=font(letters + 3, word), anchor="mm")
    small = max(11, letters - 2)
    lines = [(tile.note, FAINT)] + ([(tile.caution, AMBER)] if tile.caution else [])
    for row, (text, ink) in enumerate(lines):
        place = (middle, top + round(letters * (1.3 + 1.2 * row)))
        draw.text(place, fitting(text, size.width, small), fill=ink, font=font(small, text), anchor="mm")
    return picture


def _letters(size: Grid) -> int:
    return max(13, min(size) // 22)


def _columns(count: int) -> int:
    """How many of `count` tiles stand side by side: all up to four, then as even a rectangle as four columns allow.

    >>> [_columns(count) for count in (1, 3, 4, 5, 6, 8, 9)]
    [1, 3, 4, 3, 3, 4, 3]
    """
    return count if count <= 4 else min(range(4, 2, -1), key=lambda across: (-count % across, -across))
