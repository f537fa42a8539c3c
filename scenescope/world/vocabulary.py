"""The words of the drawn world, and which of them are kept back from training."""

from __future__ import annotations

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

GENERAL = ("thing", "toy", "badge")
"""Words for things of invented outlines."""
PATTERNED = "patterned"
"""The word for any invented texture."""
