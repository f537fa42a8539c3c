"""How like the things of a scene the things in a picture are, in closed forms and without a learned judge.

Break-a-Scene's two measures, for the drawn world: prompt similarity (there CLIP's) and identity similarity (there
DINO's inside masks). All are 0 to 1 and graded, so that blurred pictures of a small model can still be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

from ...scenescope.world.scene import Drawing, Layout, Thing, draw
from ...scenescope.world.vocabulary import COLOURS, HELD_OUT_SHAPES, HELD_OUT_TEXTURES, TEST_SHAPES, TEST_TEXTURES
from .checker import background_distances, find_things
from .silhouette import CHROMA, alike, chroma_of, framed, pieces_of, silhouette_of, within

COLOUR_REACH = 0.8
"""Distance of two colours, each divided by its largest channel, from which they are nothing alike."""
RECOGNISED = 0.65
"""Likeness from which a thing counts as there: the right colour alone reaches 0.5, another unseen thing 0.6."""
WEAVE_REACH = 0.19
"""How far a texture is compared with itself moved, in shorter picture sides: one period."""
LEAST_CONTRAST = 0.03
"""Standard deviation of the brightness, as a share of the brightest, below which a skin counts as half plain."""
COLOUR_BINS = 6
"""Along each of red, green and blue, where only histograms are compared."""
SAME = 0.9
"""Likeness from which two things are one and the same."""
MOST_FOUND = 6
"""Pieces of a picture that are looked at, largest first."""


@dataclass(frozen=True)
class Looks:
    """How one thing looks.

    outline: (cell cell) bool, its whole silhouette as `silhouette.framed` brings it. hue: (3) float, largest 1.
    weave: (lag lag) float, the brightness against itself moved, divided by its standard deviation; pairs: (lag lag)
    float, 0 to 1, the share of the thing that this was read from.
    """

    outline: np.ndarray
    hue: np.ndarray
    weave: np.ndarray
    pairs: np.ndarray


@dataclass(frozen=True)
class Likeness:
    """How like each other two things are, 0 to 1."""

    shape: float
    colour: float
    texture: float

    @property
    def whole(self) -> float:
        """The mean of the three."""
        return (self.shape + self.colour + self.texture) / 3


@dataclass(frozen=True)
class Truth:
    """The things of a scene as they are to be found again, in the scene's order."""

    things: tuple[Looks, ...]

    @classmethod
    def of(cls, drawing: Drawing) -> Truth:
        """Read the things of a drawing inside their true masks, as things in a picture are read."""
        read = []
        for mask in drawing.masks > 0.5:
            pieces = pieces_of(mask & (chroma_of(drawing.picture) > CHROMA))
            read.append(looks_of(drawing.picture, pieces[0] if pieces else mask))
        return cls(tuple(read))


@dataclass(frozen=True)
class Score:
    """How a picture answers a prompt that asks for some things of a scene, each 0 to 1.

    Args:
        background: how near its background is to the one asked for, against the nearest other one.
        count: how near the number of things is to the number asked for.
        recognised: of the things asked for or found, the share that is both; found is what is recognisably that thing.
        shape: of the true things in those found, as colour and texture; a thing asked for that is not there counts as
            nothing, and so does a piece too many: the sum is divided by what was asked for or found, whichever is more.
        retrieved: of the things asked for, the share whose piece is more like it than like any of fifteen others.
        leakage: how like a thing that was not asked for something found is, beyond how like the things asked for are;
            None where everything was asked for.
    """

    background: float
    count: float
    recognised: float
    shape: float
    colour: float
    texture: float
    retrieved: float
    leakage: float | None

    @property
    def prompt(self) -> float:
        """Prompt similarity: the things asked for, and no others, in front of the background asked for."""
        return self.background * (self.count + self.recognised) / 2

    @property
    def identity(self) -> float:
        """Identity similarity: the mean of shape, colour and texture."""
        return (self.shape + self.colour + self.texture) / 3


def looks_of(picture: np.ndarray, mask: np.ndarray) -> Looks:
    """Read how a thing looks.

    Args:
        picture: (height, width, 3) float, 0 to 1.
        mask: (height, width) bool, some of it true.
    """
    pixels = picture[mask]
    top = pixels.max(-1)
    mean = pixels[top >= np.median(top)].mean(0)  # the brighter half: textures only darken
    whole = silhouette_of(mask)
    inner = within(whole)
    weave, pairs = _weave_of(picture.max(-1), inner if inner.sum() > 0.2 * mask.sum() else mask)
    return Looks(framed(whole), mean / max(float(mean.max()), 1e-6), weave, pairs)


def likeness(one: Looks, other: Looks) -> Likeness:
    """Compare two things wherever they stand, and of whatever size.

    Args:
        one: a thing.
        other: another, of a picture of the same size.
    """
    colour = max(0.0, 1 - float(np.linalg.norm(one.hue - other.hue)) / COLOUR_REACH)
    weight = np.minimum(one.pairs, other.pairs)
    apart = float((weight * np.abs(one.weave - other.weave)).sum())
    together = float((weight * (np.abs(one.weave) + np.abs(other.weave))).sum())
    plain = LEAST_CONTRAST * float(weight.sum())
    return Likeness(alike(one.outline, other.outline), colour, 1 - apart / (together + plain))


def colour_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Compare what colours two things have, for pictures of which nothing else is known.

    Source: Swain and Ballard 1991, histogram intersection.

    Args:
        one: (pixel, 3) float, 0 to 1.
        other: (pixel, 3) float, 0 to 1.

    Returns:
        0 to 1; 0 where one of them is empty.

    >>> reds = np.full((4, 3), 0.9)
    >>> colour_overlap(reds, reds), colour_overlap(reds, 0 * reds), colour_overlap(reds, reds[:0])
    (1.0, 0.0, 0.0)
    """
    if not len(one) or not len(other):
        return 0.0
    edges = [np.linspace(0, 1, COLOUR_BINS + 1)] * 3
    shares = [np.histogramdd(np.clip(pixels, 0, 1), edges)[0] / len(pixels) for pixels in (one, other)]
    return float(np.minimum(*shares).sum())


OTHERS = 15
"""Unseen things that a thing is told from."""


@cache
def foils() -> tuple[Looks, ...]:
    """Unseen things of all colours, each colour twice, to tell things from: more than OTHERS, in an order of chance."""
    rng, made = np.random.default_rng(16), []
    shapes, textures = (HELD_OUT_SHAPES + TEST_SHAPES, HELD_OUT_TEXTURES + TEST_TEXTURES)
    for index, (shape, texture) in enumerate(product(shapes, textures)):
        colour = list(COLOURS)[(index + index // 8) % 8]
        drawing = draw(Layout((Thing(shape, colour, texture, size=0.44),), "grey"), height=128, width=128)
        made.append(Truth.of(drawing).things[0])
    return tuple(made[i] for i in rng.permutation(len(made)))


def retrieves(piece: Looks, thing: Looks) -> bool:
    """Tell whether a piece is more like a thing than like each of fifteen unseen others; by chance one in sixteen is.

    Args:
        piece: what was found.
        thing: what it should be.
    """
    others = [other for other in foils() if likeness(other, thing).whole < SAME][:OTHERS]
    return likeness(piece, thing).whole > max(likeness(piece, other).whole for other in others)


def score(picture: np.ndarray, truth: Truth, asked: Sequence[int], background: str) -> Score:
    """Score a picture that was asked to show some things of a scene in front of a background.

    Args:
        picture: (height, width, 3) float, 0 to 1, of the size of the scene's own.
        truth: the scene's things.
        asked: which of them the prompt names.
        background: a key of BACKGROUNDS.

    >>> from ...scenescope.world.scene import Layout, Thing, draw
    >>> drawn = draw(Layout((Thing("star", "green", "grid"),), "beach"), height=128, width=128)
    >>> seen = score(drawn.picture, Truth.of(drawn), [0], "beach")
    >>> round(seen.identity, 2), seen.prompt > 0.9
    (1.0, True)
    """
    found = [looks_of(picture, thing.mask) for thing in find_things(picture)[:MOST_FOUND]]
    table = [[likeness(one, thing) for thing in truth.things] for one in found]  # found, thing
    pairs = _assigned(table, asked)
    best = [table[piece][thing] for piece, thing in pairs]
    count = min(len(found), len(asked)) / max(len(found), len(asked), 1)
    nearest = [max(range(len(row)), key=lambda thing: row[thing].whole) for row in table]
    there = {thing for row, thing in zip(table, nearest, strict=True) if row[thing].whole >= RECOGNISED}
    strangers = len(found) - sum(row[thing].whole >= RECOGNISED for row, thing in zip(table, nearest, strict=True))
    recognised = len(there & set(asked)) / (len(there | set(asked)) + strangers)
    shape, colour, texture = (
        sum(getattr(one, part) for one in best) / max(len(asked), len(found)) for part in ("shape", "colour", "texture")
    )
    retrieved = sum(retrieves(found[piece], truth.things[thing]) for piece, thing in pairs) / len(asked)
    return Score(
        _background_score(picture, background),
        count,
        recognised,
        shape,
        colour,
        texture,
        retrieved,
        _leakage(table, truth, asked),
    )


def _assigned(table: list[list[Likeness]], asked: Sequence[int]) -> list[tuple[int, int]]:
    """What is found for each thing asked for, no piece twice: the best of all ways, as (found, thing)."""
    seen: list[int | None] = [*range(len(table)), *[None] * max(0, len(asked) - len(table))]
    ways = (
        [(piece, thing) for piece, thing in zip(order, asked, strict=True) if piece is not None]
        for order in permutations(seen, len(asked))
    )
    return max(ways, key=lambda way: sum(table[piece][thing].whole for piece, thing in way))


def _leakage(table: list[list[Likeness]], truth: Truth, asked: Sequence[int]) -> float | None:
    others = [thing for thing in range(len(truth.things)) if thing not in asked]
    if not others:
        return None
    beyond = []
    for thing in others:
        base = max(likeness(truth.things[own], truth.things[thing]).whole for own in asked)
        most = max((row[thing].whole for row in table), default=0.0)
        beyond.append(max(0.0, most - base) / max(1 - base, 1e-6))
    return sum(beyond) / len(beyond)


def _background_score(picture: np.ndarray, wanted: str) -> float:
    """1 at the wanted background, 0.5 half-way to the nearest other one, 0 there."""
    distances = background_distances(picture)
    own = distances[wanted]
    other = min(value for name, value in distances.items() if name != wanted)
    return other**2 / (own**2 + other**2) if own or other else 0.0


def _weave_of(brightness: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness against itself moved, by the theorem of Wiener and Khinchin: as `Looks` describes."""
    reach = max(1, round(WEAVE_REACH * min(inner.shape)))
    top = np.quantile(brightness[inner], 0.9)
    values = np.where(inner, brightness / max(float(top), 1e-6), 0)
    values = np.where(inner, values - values[inner].mean(), 0)
    size = [side + reach for side in inner.shape]  # room, so that nothing meets itself around the edge
    spectra = [np.fft.rfft2(field, size) for field in (values, inner.astype(float))]
    products, pairs = (np.fft.irfft2(np.abs(spectrum) ** 2, size) for spectrum in spectra)
    deviation = float(values[inner].std())
    rows, columns = np.arange(0, reach + 1, 2), np.arange(-reach, reach + 1, 2)
    products, pairs = (field[rows][:, columns] for field in (products, pairs))
    weave = products / np.maximum(pairs, 1) / max(deviation, 1e-6)
    return weave, pairs / max(float(inner.sum()), 1.0)
