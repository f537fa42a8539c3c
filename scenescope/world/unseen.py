"""Pictures of things that the demo model never saw, to learn concepts from."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn.functional import max_pool2d

from .scene import Layout, Thing, place
from .vocabulary import COLOURS, FIRST_BACKGROUNDS, HELD_OUT_SHAPES, HELD_OUT_TEXTURES, TEST_SHAPES, TEST_TEXTURES

STARTING_WORDS = {
    "crescent": "ring",
    "arrow": "triangle",
    "flower": "star",
    "house": "square",
    "fish": "circle",
    "tree": "triangle",
    "boat": "triangle",
    "cup": "square",
}
"""Unseen shape -> the known word that is least wrong for it: where learning its token starts."""
DEMO_FAMILIES = (HELD_OUT_SHAPES, HELD_OUT_TEXTURES)
TEST_FAMILIES = (TEST_SHAPES, TEST_TEXTURES)
MARGIN = 0.022
"""How far a loose mask reaches beyond its thing, in shorter picture sides."""


def unseen_layout(seed: int, count: int, *, test: bool = False) -> Layout:
    """Invent a scene of things with shapes and textures kept back from training.

    Args:
        seed: of everything.
        count: 2 or 3 things, all different in shape, texture and colour.
        test: of the families that are kept back from all tuning as well; otherwise of those that Demo Scene shows.

    Returns:
        The layout, its things ordered from left to right.

    >>> layout = unseen_layout(0, 2)
    >>> len({thing.shape for thing in layout.things})
    2
    """
    rng = np.random.default_rng([seed, count])
    spots = place(count, rng)
    shapes, textures, colours = (
        [str(name) for name in rng.choice(list(names), count, replace=False)]
        for names in (*(TEST_FAMILIES if test else DEMO_FAMILIES), COLOURS)
    )
    things = tuple(
        Thing(shape, colour, texture, centre=centre, size=size)
        for shape, colour, texture, (centre, size) in zip(shapes, colours, textures, spots, strict=True)
    )
    return Layout(things, str(rng.choice(FIRST_BACKGROUNDS)), int(rng.integers(2**31)))


def loosened(masks: np.ndarray) -> np.ndarray:
    """Widen and round masks as a quick hand would draw them.

    Args:
        masks: (thing, height, width) float32, 0 to 1.

    Returns:
        loose: (thing, height, width) float32, 0 or 1; each holds its thing whole, and they may overlap.
    """
    reach = max(1, round(MARGIN * min(masks.shape[1:])))
    loose = []
    for mask in masks:
        inside = torch.from_numpy(np.float32(mask > 0))[None]  # (1 height width)
        for across in ((1, 0), (0, 1)):  # a square's largest value is that of its rows' largest: work by its side
            kernel, padding = tuple(1 + 2 * reach * at for at in across), tuple(reach * at for at in across)
            inside = max_pool2d(inside, kernel, stride=1, padding=padding)
        wide = Image.fromarray(np.uint8(inside[0].numpy() * 255))
        # Blurring and cutting rounds the corners; the thing itself is put back.
        soft = np.asarray(wide.filter(ImageFilter.GaussianBlur(reach)), dtype=np.float32) / 255
        loose.append(np.maximum(soft > 0.5, mask > 0))
    return np.array(loose, dtype=np.float32)
