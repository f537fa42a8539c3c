"""What the benchmarks of acting measure pictures by."""

from __future__ import annotations

import numpy as np
from pack.demo.judge.checker import Found
from pack.demo.judge.silhouette import silhouette_of
from pack.scenescope.world.scene import Thing, noun_phrase


def phrase(thing: Thing) -> str:
    """The thing's words, as the prompt has them."""
    return noun_phrase(thing.words()).split(" ", 1)[1]


def present(things: list[Found], thing: Thing) -> bool:
    """Whether a thing of this shape and colour was found."""
    return any((found.shape, found.colour) == (thing.shape, thing.colour) for found in things)


def overlap(things: list[Found], thing: Thing, mask: np.ndarray, *, whole: bool = False) -> float:
    """IoU of what was found in the thing's colour with the mask; 0 where nothing was.

    Args:
        things: what was found in the picture.
        thing: the one that was asked for.
        mask: (height width), where.
        whole: compare the whole silhouette, dark outline included, as masks have it; else the coloured part alone.
    """
    own = [found.mask for found in things if found.colour == thing.colour]
    return max((iou(silhouette_of(part) if whole else part, mask > 0.5) for part in own), default=0.0)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of (height width) bool masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def box_of(mask: np.ndarray) -> dict[str, int]:
    """Core's bounding box around a mask."""
    rows, columns = np.nonzero(mask.max(axis=1) > 0.5)[0], np.nonzero(mask.max(axis=0) > 0.5)[0]
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return {"x": int(columns[0]), "y": int(rows[0]), "width": int(width), "height": int(height)}
