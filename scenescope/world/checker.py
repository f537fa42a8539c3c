"""Reading a picture back without a learned judge: which things it shows, in which colours, in front of what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from PIL import Image, ImageFilter

from .scene import Layout
from .shapes import coverage
from .surfaces import background
from .vocabulary import BACKGROUNDS, COLOURS, SHAPES

CHROMA = 0.42
"""|R-G| + |G-B| + |B-R| above which a pixel belongs to a thing; backgrounds stay below 0.36."""
LEAST = 0.008
"""Smallest thing, as a share of the picture; less is a stain."""
GRID = 24
BANDS = 8
"""Sides of the grids on which outlines and backgrounds are compared."""


@dataclass(frozen=True)
class Found:
    """One thing found in a picture: names, how well its outline fits (IoU), and its (height, width) bool mask."""

    shape: str
    colour: str
    fit: float
    mask: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """How a picture answers its prompt: share of things whose shape, whose colour is right, and the background."""

    shapes: float
    colours: float
    background: bool
    count: bool

    @property
    def finds(self) -> bool:
        """Everything asked for is there, perhaps among more."""
        return self.shapes == 1 and self.colours == 1 and self.background

    @property
    def follows(self) -> bool:
        """Everything asked for is there, and nothing more."""
        return self.finds and self.count


def _neighbours(values: np.ndarray) -> list[np.ndarray]:
    """A (height, width) array, and the same moved by one pixel up, down, left and right."""
    padded = np.pad(values, 1)
    return [padded[1:-1, 1:-1], padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]]


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Widen a (height, width) bool mask by `pixels` along rows and columns."""
    for _ in range(pixels):
        mask = np.any(_neighbours(mask), axis=0)
    return mask


def pieces_of(mask: np.ndarray) -> list[np.ndarray]:
    """Split a (height, width) bool mask into its connected pieces, largest first, stains left out."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(mask, np.max(_neighbours(labels), axis=0), 0)
        # Looking up the label's own label halves the way that is left.
        spread = np.where(mask, np.maximum(spread, spread.ravel()[np.maximum(spread - 1, 0)]), 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    kept = sorted((-size, name) for name, size in zip(names, sizes, strict=True) if size >= LEAST * mask.size)
    return [labels == name for _, name in kept]


def outline_of(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Bring a mask's bounding box to GRID x GRID, values 0 to 1; the second value is its width over its height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = Image.fromarray(np.uint8(box * 255)).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255, box.shape[1] / box.shape[0]


@cache
def _templates() -> list[tuple[str, np.ndarray, float]]:
    found = []
    for shape in SHAPES:
        for size in (0.32, 0.42, 0.56):
            mask, stroke = coverage(shape, centre=(0.5, 0.5), size=size, height=128, width=128)
            inside = Image.fromarray(np.uint8(mask * (1 - stroke) * 255))
            # An autoencoder rounds corners; a rounded star is nearer to a circle than to a sharp star.
            for blur in (0, 2):
                found.append((shape, *outline_of(np.asarray(inside.filter(ImageFilter.GaussianBlur(blur))) > 127)))
    return found


def _shape_of(mask: np.ndarray) -> tuple[str, float]:
    """Name the shape whose outline fits best: IoU in the bounding box times how alike the boxes' proportions are."""
    seen, proportion = outline_of(mask)
    fits = []
    for shape, outline, its in _templates():
        overlap = float(np.minimum(seen, outline).sum() / np.maximum(seen, outline).sum())
        fits.append((overlap * min(proportion / its, its / proportion), shape))
    fit, shape = max(fits)
    return shape, fit


def _colour_of(pixels: np.ndarray) -> str:
    """Name the colour of (pixel, 3) values by their brighter half: textures only darken."""
    top = pixels.max(-1)
    mean = pixels[top >= np.median(top)].mean(0)
    names = list(COLOURS)
    wanted = np.array([COLOURS[name] for name in names], dtype=np.float32) / 255
    distance = np.linalg.norm(mean / mean.max() - wanted / wanted.max(1, keepdims=True), axis=1)
    return names[int(distance.argmin())]


def find_things(picture: np.ndarray) -> list[Found]:
    """Find the coloured things in a picture.

    Args:
        picture: (height, width, 3) float, 0 to 1.

    Returns:
        The things, largest first.

    >>> from .scene import Layout, Thing, draw
    >>> drawn = draw(Layout((Thing("star", "green", "striped"),), "beach"), height=128, width=128)
    >>> [(found.shape, found.colour) for found in find_things(drawn.picture)]
    [('star', 'green')]
    """
    chroma = 2 * (picture.max(-1) - picture.min(-1))
    things = []
    for piece in pieces_of(chroma > CHROMA):
        shape, fit = _shape_of(piece)
        things.append(Found(shape, _colour_of(picture[piece]), fit, piece))
    return things


@cache
def _prototypes(height: int, width: int) -> tuple[list[str], np.ndarray]:
    """Band means of every background under several horizons: names, (picture, band, 3)."""
    names, rows = [], []
    for name in BACKGROUNDS:
        for seed in range(10):
            painted = background(name, height=height, width=width, rng=np.random.default_rng(seed))
            names.append(name)
            rows.append([band.mean((0, 1)) for band in np.array_split(painted, BANDS)])
    return names, np.array(rows, dtype=np.float32)


def background_distances(picture: np.ndarray) -> dict[str, float]:
    """Say how far a picture's background is from each: by the mean colours of horizontal bands away from all things.

    Args:
        picture: (height, width, 3) float, 0 to 1.

    Returns:
        For each key of BACKGROUNDS the sum over the bands of the RGB distance; all 0 where no background is to be seen.
    """
    height, width, _ = picture.shape
    chroma = 2 * (picture.max(-1) - picture.min(-1))
    things = np.zeros((height, width), bool)
    for piece in pieces_of(chroma > CHROMA):
        things |= piece
    free = ~grow(things, max(2, min(height, width) // 26))
    names, wanted = _prototypes(height, width)
    distance = np.zeros(len(names))
    bands = zip(np.array_split(picture, BANDS), np.array_split(free, BANDS), strict=True)
    for index, (band, open_to_view) in enumerate(bands):
        if open_to_view.sum() > 0.05 * open_to_view.size:
            distance += np.linalg.norm(wanted[:, index] - band[open_to_view].mean(0), axis=1)
    return {name: min(float(d) for d, n in zip(distance, names, strict=True) if n == name) for name in BACKGROUNDS}


def find_background(picture: np.ndarray) -> str:
    """Name the background of a picture, by `background_distances`.

    Args:
        picture: (height, width, 3) float, 0 to 1.

    Returns:
        A key of BACKGROUNDS.
    """
    distances = background_distances(picture)
    return min(distances, key=lambda name: distances[name])


def judge(picture: np.ndarray, layout: Layout) -> Verdict:
    """Compare a picture with what was asked for, wherever the things stand.

    Args:
        picture: (height, width, 3) float, 0 to 1.
        layout: the things and the background asked for; places and sizes do not count.

    Returns:
        The verdict for the best assignment of found things to wanted ones.
    """
    found, wanted = find_things(picture), layout.things
    seen: list[Found | None] = [*found, *[None] * max(0, len(wanted) - len(found))]
    best = (-1.0, 0.0, 0.0)
    for order in permutations(seen[: len(wanted) + 2], len(wanted)):
        pairs = [(one, want) for one, want in zip(order, wanted, strict=True) if one is not None]
        shapes = sum(one.shape == want.shape for one, want in pairs) / len(wanted)
        colours = sum(one.colour == want.colour for one, want in pairs) / len(wanted)
        best = max(best, (shapes + colours, shapes, colours))
    return Verdict(best[1], best[2], find_background(picture) == layout.background, len(found) == len(wanted))
