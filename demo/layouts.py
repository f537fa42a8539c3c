"""Layouts of random things: those that the demo model is trained on, and those that its figures ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..scenescope.world.scene import Layout, Thing, place
from ..scenescope.world.shapes import Point
from ..scenescope.world.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    FIRST_BACKGROUNDS,
    FIRST_SHAPES,
    GENERAL,
    LATER_BACKGROUNDS,
    LATER_SHAPES,
    LEAST_CHROMA,
    PATTERNED,
    SHAPES,
    TEXTURES,
)
from .outlines import FAMILIES, invented_outline
from .weaves import WEAVES, invented_weave


@dataclass(frozen=True)
class InventedThing(Thing):
    """A thing whose shape and texture may each be a family, of which `seed` invents one; training alone draws them."""

    seed: int = 0

    def words(self) -> list[str]:
        """Name the thing; what is invented has general words.

        >>> InventedThing("toothed", "green", "waves", second="red", seed=1).words()
        ['patterned', 'green', 'and', 'red', 'toy']
        """
        general = {self.texture: PATTERNED} if self.texture in WEAVES else {}
        if self.shape in FAMILIES:
            general[self.shape] = GENERAL[self.seed % len(GENERAL)]
        return [general.get(word, word) for word in super().words()]

    def rims(self) -> list[list[Point]]:
        """Corners of its outline, and of its hole if it has one."""
        return [invented_outline(self.shape, self.seed)] if self.shape in FAMILIES else super().rims()

    def dark(self, *, columns: np.ndarray, rows: np.ndarray, edge: float) -> np.ndarray:
        """How much of the dark tone its skin has at each place."""
        if self.texture in WEAVES:
            return invented_weave(self.texture, self.seed, columns=columns, rows=rows, edge=edge)
        return super().dark(columns=columns, rows=rows, edge=edge)


def random_layout(
    rng: np.random.Generator,
    *,
    count: int,
    held_out: bool = False,
    shapes: Sequence[str] = FIRST_SHAPES,
    places: Sequence[str] = FIRST_BACKGROUNDS,
) -> Layout:
    """Invent a layout of known words, as the figures ask for it.

    Args:
        rng: source of everything.
        count: 1 to 3 things, no two of the same shape or colour.
        held_out: take only combinations that training never saw; otherwise only those that it did.
        shapes: to choose from; by default those that the shipped model has seen longest.
        places: keys of backgrounds to choose from.

    Returns:
        The layout, its things ordered from left to right.
    """
    spots = place(count, rng)
    while True:
        named = rng.choice(shapes, count, replace=False)
        colours = rng.choice(list(COLOURS), count, replace=False)
        # A plain skin is as common as the three textures together.
        skins = ["plain" if rng.random() < 0.5 else str(rng.choice(TEXTURES[1:])) for _ in range(count)]
        kinds = [(str(s), str(c), t) for s, c, t in zip(named, colours, skins, strict=True)]
        if all(is_held_out(*kind) == held_out for kind in kinds):
            break
    things = tuple(Thing(*kind, centre=centre, size=size) for kind, (centre, size) in zip(kinds, spots, strict=True))
    return Layout(things, str(rng.choice(places)), int(rng.integers(2**31)))


def is_held_out(shape: str, colour: str, texture: str) -> bool:
    """Tell whether this combination of known words is kept back from training.

    One combination in eight is, spread so that each shape, colour and texture stays in training.

    Args:
        shape: one of SHAPES.
        colour: one of COLOURS.
        texture: one of TEXTURES.

    Returns:
        True for the combinations that only the checks may use.

    >>> is_held_out("circle", "red", "plain"), is_held_out("square", "red", "plain")
    (True, False)
    """
    shape_index, colour_index = SHAPES.index(shape), list(COLOURS).index(colour)
    return (shape_index + 3 * colour_index + 2 * TEXTURES.index(texture)) % 8 == 0


def partners(colour: str) -> list[str]:
    """List the colours that can stand beside one on the same thing: half-way between them it is still colourful.

    >>> "yellow" in partners("red"), "cyan" in partners("red")
    (True, False)
    """
    own = np.array(COLOURS[colour], dtype=float)
    between = {name: (own + np.array(other)) / 510 for name, other in COLOURS.items() if name != colour}
    return [name for name, mixed in between.items() if 2 * (mixed.max() - mixed.min()) > LEAST_CHROMA]


INVENTED = 0.65
"""Share of outlines that are invented, and of skins."""


def varied_layout(rng: np.random.Generator) -> Layout:
    """Invent one to three things of any outline, skin, colour and size, now and then in front of each other."""
    things = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))):
        known = SHAPES if rng.random() > INVENTED else tuple(FAMILIES)
        skins = TEXTURES if rng.random() > INVENTED else tuple(WEAVES)
        colour = str(rng.choice(list(COLOURS)))
        second = str(rng.choice(partners(colour)))
        size = float(rng.uniform(0.26, 0.66))
        column, row = (float(v) for v in rng.uniform(0.2, 0.8, 2))
        things.append(
            InventedThing(
                str(rng.choice(known)),
                colour,
                str(rng.choice(skins)),
                centre=(column, row),
                size=size,
                seed=int(rng.integers(2**31)),
                second=second if rng.random() < 0.2 else "",
            )
        )
    return Layout(tuple(things), str(rng.choice(list(BACKGROUNDS))), int(rng.integers(2**31)))


COUNTS = (0.25, 0.42, 0.33)
"""Odds of one, two and three things in a picture with words."""
LATER, LATER_PLACE = 0.22, 0.2
"""Shares of named things and of backgrounds that the world's second version added: the first ones are to stay known."""
INVENTED_OUTLINE, INVENTED_SKIN, TWO_COLOURS, TWINS, CLOSE = 0.28, 0.2, 0.05, 0.05, 0.08
"""Shares of things with invented outlines, with invented skins and with two colours; shares of pictures with two of a
kind, and with things that may touch or overlap."""


def _kind(rng: np.random.Generator) -> InventedThing:
    """Invent what a thing is: named combinations that are held out never come up."""
    while True:
        named = LATER_SHAPES if rng.random() < LATER else FIRST_SHAPES
        shape = str(rng.choice(list(FAMILIES) if rng.random() < INVENTED_OUTLINE else named))
        skin = "plain" if rng.random() < 0.5 else str(rng.choice(TEXTURES[1:]))
        skin = str(rng.choice(list(WEAVES))) if rng.random() < INVENTED_SKIN else skin
        colour = str(rng.choice(list(COLOURS)))
        second = str(rng.choice(partners(colour)))
        two = skin != "plain" and rng.random() < 2 * TWO_COLOURS
        if shape in FAMILIES or skin in WEAVES or not is_held_out(shape, colour, skin):
            return InventedThing(shape, colour, skin, seed=int(rng.integers(2**31)), second=second if two else "")


def training_layout(rng: np.random.Generator) -> Layout:
    """Invent a picture to be captioned: mostly different things that stand apart, as prompts ask for them."""
    count = 1 + int(rng.choice(3, p=COUNTS))
    kinds = [_kind(rng) for _ in range(count)]
    while len({kind.colour for kind in kinds}) < count:
        kinds = [_kind(rng) for _ in range(count)]
    if count > 1 and rng.random() < TWINS:
        kinds[1] = kinds[0]
    spots = place(count, rng)
    if count > 1 and rng.random() < CLOSE:
        (left, size), (right, _) = spots[:2]
        pull = rng.uniform(0.2, 0.5)
        spots[0] = ((left[0] + pull * (right[0] - left[0]), left[1] + pull * (right[1] - left[1])), size)
    stood = zip(kinds, sorted(spots), strict=True)
    things = [replace(kind, centre=centre, size=size) for kind, (centre, size) in stood]
    places = LATER_BACKGROUNDS if rng.random() < LATER_PLACE else FIRST_BACKGROUNDS
    return Layout(tuple(things), str(rng.choice(places)), int(rng.integers(2**31)))
