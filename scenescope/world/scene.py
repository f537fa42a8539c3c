"""One drawn picture: its things, its background, its caption and the true mask of each thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import Point, coverage, rims_of
from .surfaces import PITCH, SHADE, background, texture
from .vocabulary import BACKGROUNDS, COLOURS

SIZES = {1: (0.42, 0.62), 2: (0.36, 0.48), 3: (0.3, 0.4)}
"""Number of things -> smallest and largest size, in shorter picture sides."""


@dataclass(frozen=True)
class Thing:
    """One thing: what it is, and where it stands (centre in picture widths and heights, size in shorter sides).

    A second colour stands in for the dark tone.
    """

    shape: str
    colour: str
    texture: str
    centre: tuple[float, float] = (0.5, 0.5)
    size: float = 0.5
    second: str = ""

    def words(self) -> list[str]:
        """Name the thing: texture unless plain, colours, shape.

        >>> Thing("star", "green", "striped", second="red").words()
        ['striped', 'green', 'and', 'red', 'star']
        """
        colours = [self.colour, "and", self.second] if self.second else [self.colour]
        return [*([] if self.texture == "plain" else [self.texture]), *colours, self.shape]

    def rims(self) -> list[list[Point]]:
        """Corners of its outline, and of its hole if it has one."""
        return rims_of(self.shape)

    def dark(self, *, columns: np.ndarray, rows: np.ndarray, edge: float) -> np.ndarray:
        """How much of the dark tone its skin has at each place; arguments and result are those of `texture`."""
        return texture(self.texture, columns=columns, rows=rows, edge=edge)


@dataclass(frozen=True)
class Layout:
    """What a picture shows, before it is drawn: things from left to right, a background key, a seed for its details."""

    things: tuple[Thing, ...]
    background: str
    seed: int = 0


@dataclass(frozen=True)
class Drawing:
    """A drawn layout.

    picture: (height, width, 3) float32, 0 to 1. masks: (thing, height, width) float32, 0 to 1, in the layout's order.
    """

    picture: np.ndarray
    masks: np.ndarray
    layout: Layout


def draw(layout: Layout, *, height: int, width: int) -> Drawing:
    """Draw a layout; the same layout gives the same picture on every machine.

    Args:
        layout: what to draw; later things lie in front of earlier ones.
        height: pixels.
        width: pixels.

    Returns:
        The picture and the visible part of each thing.

    >>> drawing = draw(Layout((Thing("ring", "red", "plain"),), "snow"), height=64, width=96)
    >>> drawing.picture.shape, drawing.masks.shape
    ((64, 96, 3), (1, 64, 96))
    """
    picture = background(layout.background, height=height, width=width, rng=np.random.default_rng(layout.seed))
    short = min(height, width)
    masks: list[np.ndarray] = []
    for thing in layout.things:
        mask, stroke = coverage(thing.rims(), centre=thing.centre, size=thing.size, height=height, width=width)
        columns = (np.arange(width) + 0.5 - thing.centre[0] * width)[None, :] / (PITCH * short)
        rows = (np.arange(height) + 0.5 - thing.centre[1] * height)[:, None] / (PITCH * short)
        columns, rows = np.broadcast_arrays(columns, rows)
        dark = thing.dark(columns=columns, rows=rows, edge=1 / (PITCH * short))[..., None]
        light_tone = np.array(COLOURS[thing.colour], dtype=np.float32) / 255
        dark_tone = np.array(COLOURS[thing.second], dtype=np.float32) / 255 if thing.second else SHADE * light_tone
        skin = (light_tone + (dark_tone - light_tone) * dark) * (1 - 0.85 * stroke[..., None])
        picture = picture * (1 - mask[..., None]) + skin * mask[..., None]
        masks = [other * (1 - mask) for other in masks] + [mask]
    stack = np.stack(masks) if masks else np.zeros((0, height, width), np.float32)
    return Drawing(picture.astype(np.float32), stack.astype(np.float32), layout)


def _inside(size: float, rng: np.random.Generator) -> tuple[float, float]:
    column, row = (float(rng.uniform(size * 0.54, 1 - size * 0.54)) for _ in range(2))
    return column, row


def place(count: int, rng: np.random.Generator) -> list[tuple[tuple[float, float], float]]:
    """Find places for things that do not touch each other.

    Args:
        count: 1 to 3 things.
        rng: source of places.

    Returns:
        (centre, size) of each, from left to right.
    """
    low, high = SIZES[count]
    shrink = 1.0
    while True:
        sizes = [shrink * float(rng.uniform(low, high)) for _ in range(count)]
        spots = [(_inside(size, rng), size) for size in sizes]
        clear = all(
            max(abs(a[0][0] - b[0][0]), abs(a[0][1] - b[0][1])) > 0.56 * (a[1] + b[1])
            for i, a in enumerate(spots)
            for b in spots[:i]
        )
        if clear:
            return sorted(spots)
        shrink = max(0.8, shrink * 0.998)


def noun_phrase(words: list[str]) -> str:
    """Put the article before a thing's words.

    >>> noun_phrase(["orange", "star"])
    'an orange star'
    """
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def caption(phrases: list[str], background_key: str) -> str:
    """Join noun phrases and a background into the sentence that the model was trained on.

    >>> caption(["a red circle", "a striped green star"], "snow")
    'a photo of a red circle and a striped green star in the snow'
    """
    *first, last = phrases
    listed = (", ".join(first) + " and " if first else "") + last
    return f"a photo of {listed} {BACKGROUNDS[background_key]}"


def full_caption(layout: Layout) -> str:
    """Caption a layout with all its words, from left to right."""
    return caption([noun_phrase(thing.words()) for thing in layout.things], layout.background)
