"""The words of the drawn world, and which of their combinations are kept back from training."""

from __future__ import annotations

import numpy as np

WORLD_VERSION = 2
"""Changes whenever the same seed would draw another picture."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 30, 35),
    "orange": (250, 130, 15),
    "yellow": (250, 225, 40),
    "green": (45, 175, 50),
    "cyan": (35, 215, 225),
    "blue": (35, 75, 235),
    "purple": (140, 40, 200),
    "pink": (255, 85, 180),
}
"""Name -> 8-bit RGB. All are saturated, all backgrounds are muted: colour alone tells thing from background."""
LEAST_CHROMA = 0.5
"""|R-G| + |G-B| + |B-R| that a thing has wherever it is not its dark outline."""


def partners(colour: str) -> list[str]:
    """List the colours that can stand beside one on the same thing: half-way between them it is still colourful.

    >>> "yellow" in partners("red"), "cyan" in partners("red")
    (True, False)
    """
    own = np.array(COLOURS[colour], dtype=float)
    between = {name: (own + np.array(other)) / 510 for name, other in COLOURS.items() if name != colour}
    return [name for name, mixed in between.items() if 2 * (mixed.max() - mixed.min()) > LEAST_CHROMA]


FIRST_SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
"""Known since the world's first version, and seen longest."""
LATER_SHAPES = ("oval", "drop", "bolt", "mushroom", "bottle", "hammer", "dome", "hourglass")
SHAPES = FIRST_SHAPES + LATER_SHAPES
TEXTURES = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS: dict[str, str] = {
    "beach": "at the beach",
    "snow": "in the snow",
    "forest": "in the forest",
    "floor": "on a wooden floor",
    "desert": "in the desert",
    "night": "at night",
    "grey": "on a grey background",
    "white": "on a white background",
    "meadow": "in a meadow",
    "water": "on the water",
    "road": "on the road",
    "wall": "in front of a brick wall",
}
"""Key -> the phrase that a caption ends with."""
FIRST_BACKGROUNDS, LATER_BACKGROUNDS = tuple(BACKGROUNDS)[:8], tuple(BACKGROUNDS)[8:]
"""Known since the world's first version, and new in its second."""

HELD_OUT_SHAPES = ("crescent", "arrow", "flower", "house")
HELD_OUT_TEXTURES = ("zigzag", "grid", "bullseye", "halved")
"""Never drawn in training: Demo Scene shows these, and settings of training are tuned on them."""
TEST_SHAPES = ("fish", "tree", "boat", "cup")
TEST_TEXTURES = ("quartered", "crossed", "rayed", "bricked")
"""Never drawn in training, and kept back from all tuning as well: what is measured is measured on these."""

GENERIC = "thing"
"""The word for any shape; training captions use it now and then, so it is a fair starting word for a new one."""
GENERAL = ("thing", "toy", "badge")
"""Words for things of invented outlines."""
PATTERNED = "patterned"
"""The word for any invented texture."""
PLURALS = {
    **{shape: shape + "s" for shape in SHAPES},
    "cross": "crosses",
    "hourglass": "hourglasses",
}
"""Of the shapes, for two of a kind."""
OPENINGS = ("a photo of", "a picture of", "a drawing of", "")
"""How captions begin, the usual way first."""


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


def vocabulary() -> list[str]:
    """List every word that a caption of this world can hold, sorted.

    >>> "striped" in vocabulary(), "crescent" in vocabulary()
    (True, False)
    """
    words = {"a", "an", "and", "two", ",", PATTERNED, *GENERAL, *SHAPES, *PLURALS.values(), *COLOURS, *TEXTURES}
    for phrase in (*BACKGROUNDS.values(), *OPENINGS):
        words.update(phrase.split())
    return sorted(words)
