"""A scene for a person to check: masks on the picture at three grids, their names, and reasons to doubt them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ...dims import Grid, counted
from ...drawing.lettering import AMBER, FAINT, INK, PAPER, fitting, folded, font
from ...drawing.pixels import enlarge, to_image, to_tensor
from ...resample import resize
from ..weights.embeddings import WITHOUT_A_WORD
from .cautions import SceneCaution, hex_of
from .masks import PALETTE, MaskSources, colour_of, given_masks
from .scene import Scene

LONGER, LETTERS, GAP = 512, 22, 14
"""Pixels of the picture's longer side, of letters, and between parts."""

_CAPTION = round(LETTERS * 1.6)
_LEAST_COLUMN = 250  # pixels that a caption needs
_FAINT_FROM = 0.4  # share of the picture from which a mask is tinted half as much, so that the picture stays visible
_GIVEN = 0.5  # of a mask's colour over the picture that is painted on
_GRID_LINES = 6  # pixels of a cell from which lines are drawn between cells


def preview(scene: Scene, found: Sequence[SceneCaution]) -> Tensor:
    """Draw a sheet for each picture: masks at the picture's, the latent's and the attention loss's grid.

    Args:
        scene: the scene.
        found: what to doubt about it; listed under the names.

    Returns:
        (image height width 3) float32, 0..1.
    """
    return torch.cat([to_tensor(_sheet(scene, image, found)) for image in range(len(scene.pictures))])


def with_given(pictures: Tensor, marks: MaskSources) -> Tensor | None:
    """The first picture with the masks that sockets give, each in its thing's colour: what is painted on.

    Args:
        pictures: (image height width 3) float, 0..1.
        marks: as given; strokes are not drawn.

    Returns:
        (height width 3) float32, or None where sockets give no mask.

    Raises:
        InputError: the number of masks does not fit the pictures.

    >>> with_given(torch.zeros(1, 2, 2, 3), MaskSources([torch.ones(1, 4, 4)]))[0, 0].mul(255).round().tolist()
    [43.0, 90.0, 116.0]
    >>> with_given(torch.zeros(1, 2, 2, 3), MaskSources()) is None
    True
    """
    masks = given_masks(marks, len(pictures))
    shown = pictures[0].float()
    for thing, mask in enumerate(masks):
        share = _GIVEN * F.interpolate(mask[None, :1].float(), shown.shape[:2], mode="nearest-exact")[0, 0, :, :, None]
        shown = shown + share * (torch.tensor(colour_of(thing)) / 255 - shown)
    return shown if masks else None


def describe(scene: Scene, found: Sequence[SceneCaution]) -> str:
    """Say what the scene is, one line for each concept, and what to doubt."""
    what = f"{counted(len(scene.concepts), 'concept')} in {counted(len(scene.pictures), 'picture')}"
    lines = [f"{what} of {scene.size}; latent {scene.latent}, attention loss {scene.loss_grid}"]
    lines += [f"{name}: {note}" for name, note in zip(scene.handles, _notes(scene, None), strict=True)]
    return "\n".join(lines + [f"Warning: {message}" for message in _messages(found)])


def facts(scene: Scene, found: Sequence[SceneCaution]) -> dict[str, Any]:
    """The same for the front end, as plain values that JSON can hold."""
    concepts = [
        {"handle": concept.handle, "word": concept.word, "colour": hex_of(colour_of(index)), "cells": round(cells, 2)}
        for index, (concept, cells) in enumerate(zip(scene.concepts, _cells(scene, None), strict=True))
    ]
    grids = {"picture": scene.size, "latent": scene.latent, "loss": scene.loss_grid}
    return {
        "concepts": concepts,
        "grids": {name: list(grid) for name, grid in grids.items()},
        "pictures": len(scene.pictures),
        "palette": [hex_of(colour) for colour in PALETTE],
        "warnings": [
            {"kind": caution.kind, "concept": caution.concept, "message": caution.message} for caution in found
        ],
    }


@dataclass(frozen=True)
class _Tile:
    """One grid of a sheet: what is under it, and how large it is drawn."""

    grid: Grid
    caption: str
    size: Grid


def _sheet(scene: Scene, image: int, found: Sequence[SceneCaution]) -> Image.Image:
    tiles = _tiles(scene)
    drawn = [_draw_tile(scene, image, tile) for tile in tiles]
    stacked = tiles[0].size == tiles[1].size
    columns = [drawn] if stacked else [drawn[:1], drawn[1:]]
    widths = [max(tile.width for tile in column) for column in columns]
    width = sum(widths) + GAP * (len(widths) + 1)
    bottom = max(sum(tile.height + GAP for tile in column) for column in columns)
    legend = _legend(scene, image, found, width - 2 * GAP)
    sheet = Image.new("RGB", (width, GAP + bottom + legend.height), PAPER)
    left = GAP
    for column, wide in zip(columns, widths, strict=True):
        top = GAP
        for tile in column:
            sheet.paste(tile, (left, top))
            top += tile.height + GAP
        left += wide + GAP
    sheet.paste(legend, (GAP, GAP + bottom))
    return sheet


def _tiles(scene: Scene) -> list[_Tile]:
    """The picture large, the other grids beside it; below it where the picture is very wide."""
    size = scene.size
    large = size.scaled(LONGER / max(size), least=8)
    beside = (large.height - _CAPTION - GAP) / 2 / large.height
    small = large if size.width >= 2 * size.height else large.scaled(beside, least=8)
    return [
        _Tile(size, f"picture {size}", large),
        _Tile(scene.latent, f"latent {scene.latent}", small),
        _Tile(scene.loss_grid, f"attention loss {scene.loss_grid}", small),
    ]


def _draw_tile(scene: Scene, image: int, tile: _Tile) -> Image.Image:
    pixels = _tinted(scene, image, tile)
    picture = Image.new("RGB", (max(tile.size.width, _LEAST_COLUMN), tile.size.height + _CAPTION), PAPER)
    picture.paste(to_image(pixels), (0, 0))
    draw = ImageDraw.Draw(picture)
    small = LETTERS - 2
    text = fitting(tile.caption, picture.width, small)
    draw.text((0, tile.size.height + _CAPTION // 2), text, fill=FAINT, font=font(small, text), anchor="lm")
    if tile.grid == scene.size:
        _write_names(draw, scene, image, tile.size)
    return picture


def _tinted(scene: Scene, image: int, tile: _Tile) -> Tensor:
    """The picture with its masks as a grid sees them, (height width 3) 0..1; outlines run where a mask is one half."""
    own = scene.pictures[image].movedim(-1, 0)  # (3 height width)
    whole = tile.grid == scene.size
    pixels = enlarge(resize(own, tile.grid), tile.size, "smooth" if whole else "cells").movedim(0, -1).clamp(0, 1)
    pixels = 0.9 * torch.lerp(pixels, pixels.mean(dim=-1, keepdim=True), 0.7)
    masks = enlarge(scene.masks_on(tile.grid)[image], tile.size, "smooth" if whole else "cells").clamp(0, 1)
    for index, mask in enumerate(masks):
        opacity = 0.6 if float(mask.mean()) < _FAINT_FROM else 0.3
        ink = torch.tensor(colour_of(index)) / 255
        pixels = torch.lerp(pixels, ink, opacity * mask[..., None])
    for index, mask in enumerate(masks):
        pixels[_outline(mask)] = torch.tensor(colour_of(index)) / 255
    return pixels if whole else _with_lines(pixels, tile)


def _outline(mask: Tensor) -> Tensor:
    """Where the inner rim, two pixels wide, of the half-covered part is: (height width) bool."""
    inside = (mask >= 0.5).float()
    core = -F.max_pool2d(-F.pad(inside, (2, 2, 2, 2), value=1.0)[None, None], 5, stride=1)[0, 0]
    return (inside > core).bool()


def _with_lines(pixels: Tensor, tile: _Tile) -> Tensor:
    if tile.size.height / tile.grid.height < _GRID_LINES:
        return pixels
    pixels = pixels.clone()
    for axis in (0, 1):
        cells = torch.arange(1, tile.grid[axis])
        lines = (cells * tile.size[axis] / tile.grid[axis]).round().long()
        pixels.index_copy_(axis, lines, 0.6 * pixels.index_select(axis, lines))
    return pixels


def _write_names(draw: ImageDraw.ImageDraw, scene: Scene, image: int, size: Grid) -> None:
    small = LETTERS - 2
    for index in scene.present(image):
        row, column = _middle(scene.masks[image, index], size)
        text, colour = fitting(scene.handles[index], size.width - 8, small), colour_of(index)
        face = font(small, text)
        half = face.getlength(text) / 2 + 4
        column = min(max(column, half), max(size.width - half, half))
        row = min(max(row, small), size.height - small)
        box = (column - half, row - small * 0.7, column + half, row + small * 0.7)
        draw.rectangle(box, fill=colour)
        draw.text((column, row), text, fill=_readable_on(colour), font=face, anchor="mm")


def _middle(mask: Tensor, size: Grid) -> tuple[float, float]:
    """Where there is most of the mask around: row and column in pixels of a size."""
    grid = Grid(min(48, mask.shape[0]), min(48, mask.shape[1]))
    around = resize(mask, grid)[None, None]
    for _ in range(3):  # once leaves a plateau, whose first place would be its corner
        around = F.avg_pool2d(around, 9, stride=1, padding=4)
    row, column = divmod(int(around.argmax()), grid.width)
    return (row + 0.5) * size.height / grid.height, (column + 0.5) * size.width / grid.width


def _readable_on(colour: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = colour
    return PAPER if 0.3 * red + 0.59 * green + 0.11 * blue > 105 else INK


def _legend(scene: Scene, image: int, found: Sequence[SceneCaution], width: int) -> Image.Image:
    """Swatch, handle and facts of each concept, and under them the warnings."""
    line = round(LETTERS * 1.5)
    warnings = [part for message in _messages(found) for part in folded(f"! {message}", width, LETTERS - 2)]
    height = line * len(scene.concepts) + line * len(warnings) + (GAP if warnings else 0) + GAP
    legend = Image.new("RGB", (width, height), PAPER)
    draw, small = ImageDraw.Draw(legend), LETTERS - 2
    notes = _notes(scene, image)
    names = [fitting(name, width // 2, LETTERS) for name in scene.handles]
    left = line + round(max(font(LETTERS, name).getlength(name) for name in names))
    for index, name in enumerate(names):
        middle = line * index + line // 2
        draw.rectangle((0, middle - LETTERS // 2, LETTERS - 2, middle + LETTERS // 2 - 2), fill=colour_of(index))
        draw.text((line, middle), name, fill=INK, font=font(LETTERS, name), anchor="lm")
        note = fitting(notes[index], width - left - GAP, small)
        draw.text((left + GAP, middle), note, fill=FAINT, font=font(small, note), anchor="lm")
    top = line * len(scene.concepts) + GAP
    for row, text in enumerate(warnings):
        draw.text((0, top + line * row + line // 2), text, fill=AMBER, font=font(small, text), anchor="lm")
    return legend


def _messages(found: Sequence[SceneCaution]) -> list[str]:
    """What is said, each once: of several masks of another size the message is the same."""
    return list(dict.fromkeys(caution.message for caution in found))


def _notes(scene: Scene, image: int | None) -> list[str]:
    notes = []
    for concept, cells in zip(scene.concepts, _cells(scene, image), strict=True):
        start = f"starts as {concept.word!r}" if concept.word else f"starts near {WITHOUT_A_WORD!r}"
        notes.append(f"{start}, {cells:.1f} of {scene.loss_grid.cells} cells")
    return notes


def _cells(scene: Scene, image: int | None) -> list[float]:
    """Cells of the supervised maps that each mask covers in a picture, or in the best of them."""
    cells = scene.masks_on(scene.loss_grid).flatten(2).sum(dim=-1)  # (image concept)
    found: list[float] = (cells.amax(dim=0) if image is None else cells[image]).tolist()
    return found
