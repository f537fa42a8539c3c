"""Reading a picture back without a learned judge: which things it shows, in which colours, in front of what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from ...scenescope.world.scene import Layout, Thing
from ...scenescope.world.shapes import coverage, rims_of
from ...scenescope.world.surfaces import background
from ...scenescope.world.vocabulary import BACKGROUNDS, COLOURS, SHAPES
from .silhouette import CHROMA, chroma_of, grow, pieces_of

SECOND = 0.08
"""Share of a thing's bright part from which another colour is its second."""
GAP = 0.08
"""Widest strip, in shorter picture sides, across which two pieces of one colour are one thing."""
GRID = 24
BANDS = 8
"""Sides of the grids on which outlines and backgrounds are compared."""


@dataclass(frozen=True)
class Found:
    """One thing found in a picture: names, how well its outline fits (IoU), and its (height, width) bool mask.

    Colours: the commonest first; a thing of one colour has one.
    """

    shape: str
    colours: tuple[str, ...]
    iou: float
    mask: np.ndarray

    @property
    def colour(self) -> str:
        """The commonest colour."""
        return self.colours[0]


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
            mask, stroke = coverage(rims_of(shape), centre=(0.5, 0.5), size=size, height=128, width=128)
            inside = Image.fromarray(np.uint8(mask * (1 - stroke) * 255))
            # An autoencoder rounds corners; a rounded star is nearer to a circle than to a sharp star.
            for blur in (0, 2):
                found.append((shape, *outline_of(np.asarray(inside.filter(ImageFilter.GaussianBlur(blur))) > 127)))
    return found


def _shape_of(mask: np.ndarray) -> tuple[str, float]:
    """Name the shape whose outline fits best: IoU in the bounding box times how alike the boxes' proportions are."""
    seen, proportion = outline_of(mask)
    ious = []
    for shape, outline, its in _templates():
        overlap = float(np.minimum(seen, outline).sum() / np.maximum(seen, outline).sum())
        ious.append((overlap * min(proportion / its, its / proportion), shape))
    iou, shape = max(ious)
    return shape, iou


def _colours_of(pixels: np.ndarray) -> tuple[str, ...]:
    """Name the colours of (pixel, 3) values, the commonest first, by their brighter part: textures only darken."""
    top = pixels.max(-1)
    names = list(COLOURS)
    hues = _hues_of(pixels[top >= 0.6 * np.quantile(top, 0.95)])
    votes = np.bincount(hues, minlength=len(names)) / len(hues)
    order = np.argsort(-votes, kind="stable")
    return tuple(names[i] for i in order if i == order[0] or votes[i] > SECOND)


def _hues_of(pixels: np.ndarray) -> np.ndarray:
    """Number the colour that each of (..., 3) values is nearest to, whatever its brightness."""
    wanted = np.array(list(COLOURS.values()), dtype=np.float32)
    wanted /= wanted.max(1, keepdims=True)
    hues = pixels / np.maximum(pixels.max(-1, keepdims=True), 1e-3)
    nearest: np.ndarray = np.linalg.norm(hues[..., None, :] - wanted, axis=-1).argmin(-1)
    return nearest


def shows_colour(picture: np.ndarray, colour: str) -> bool:
    """Tell whether anything of a colour is there, in whatever shape: a patch as large as the smallest thing.

    Args:
        picture: (height, width, 3) float, 0 to 1.
        colour: a key of COLOURS.

    >>> from ...scenescope.world.scene import Layout, Thing, draw
    >>> drawn = draw(Layout((Thing("star", "green", "striped"),), "beach"), height=128, width=128)
    >>> shows_colour(drawn.picture, "green"), shows_colour(drawn.picture, "red")
    (True, False)
    """
    own = chroma_of(picture) > CHROMA
    own[own] = _hues_of(picture[own]) == list(COLOURS).index(colour)
    return bool(pieces_of(own))


def find_things(picture: np.ndarray) -> list[Found]:
    """Find the coloured things in a picture.

    Args:
        picture: (height, width, 3) float, 0 to 1.

    Returns:
        The things, largest first.

    >>> from ...scenescope.world.scene import Layout, Thing, draw
    >>> drawn = draw(Layout((Thing("star", "green", "striped"),), "beach"), height=128, width=128)
    >>> [(found.shape, found.colour) for found in find_things(drawn.picture)]
    [('star', 'green')]
    """
    things = []
    for piece in _whole_pieces(picture):
        shape, iou = _shape_of(piece)
        things.append(Found(shape, _colours_of(picture[piece]), iou, piece))
    return things


def _whole_pieces(picture: np.ndarray) -> list[np.ndarray]:
    """The coloured pieces of a picture, largest first; a dull strip of skin between two of one colour joins them."""
    joined: list[tuple[np.ndarray, str]] = []
    for piece in pieces_of(chroma_of(picture) > CHROMA):
        colour = _colours_of(picture[piece])[0]
        gap = ndimage.distance_transform_edt(~piece)
        near = [
            i for i, (other, its) in enumerate(joined) if its == colour and gap[other].min() <= GAP * min(gap.shape)
        ]
        for i in reversed(near):
            piece = piece | joined.pop(i)[0]
        joined.append((piece, colour))
    return sorted((piece for piece, _ in joined), key=lambda piece: -int(piece.sum()))


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
    things = np.zeros((height, width), bool)
    for piece in pieces_of(chroma_of(picture) > CHROMA):
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


def _right_colours(one: Found, want: Thing) -> bool:
    return set(one.colours[:2]) == {want.colour, want.second} if want.second else one.colour == want.colour


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
        colours = sum(_right_colours(one, want) for one, want in pairs) / len(wanted)
        best = max(best, (shapes + colours, shapes, colours))
    return Verdict(best[1], best[2], find_background(picture) == layout.background, len(found) == len(wanted))
