"""The words of the drawn world, and which of their combinations are kept back from training."""

from __future__ import annotations

WORLD_VERSION = 1
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

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
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
}
"""Key -> the phrase that a caption ends with."""

HELD_OUT_SHAPES = ("crescent", "arrow", "flower", "house")
HELD_OUT_TEXTURES = ("zigzag", "grid", "bullseye", "halved")
"""Never drawn in training: these are what concepts are learned from."""

GENERIC = "thing"
"""The word for any shape; training captions use it now and then, so it is a fair starting word for a new one."""


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
    words = {"a", "an", "photo", "of", "and", ",", GENERIC, *SHAPES, *COLOURS, *TEXTURES}
    for phrase in BACKGROUNDS.values():
        words.update(phrase.split())
    return sorted(words)
