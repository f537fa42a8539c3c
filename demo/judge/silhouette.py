"""Whole silhouettes, dark outline included, and a comparison that forgives a pixel or two."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

CHROMA = 0.42
"""|R-G| + |G-B| + |B-R| above which a pixel is coloured; backgrounds stay below 0.36."""
LEAST = 0.008
"""Smallest thing, as a share of the picture; less is a stain."""
CLOSE, RIM = 0.035, 0.016
"""Gaps in a thing's colour that are closed, and how far its outline reaches beyond it, in shorter picture sides."""
GRID, SPAN = 64, 2.6
"""Cells along each side of the grid on which silhouettes are compared, and its side in roots of the thing's area."""
BASE = 0.8
"""Overlap from which on two silhouettes are alike at all: a house and a circle have 0.92, two unseen shapes 0.88."""


def chroma_of(picture: np.ndarray) -> np.ndarray:
    """|R-G| + |G-B| + |B-R| of a (height, width, 3) picture."""
    chroma: np.ndarray = 2 * (picture.max(-1) - picture.min(-1))
    return chroma


def pieces_of(mask: np.ndarray) -> list[np.ndarray]:
    """Split a (height, width) bool mask into its connected pieces, largest first, stains left out."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [labels == i + 1 for i in np.argsort(-sizes, kind="stable") if sizes[i] >= LEAST * mask.size]


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Widen a (height, width) bool mask by `pixels` along rows and columns."""
    wide: np.ndarray = ndimage.binary_dilation(mask, iterations=pixels)
    return wide


def silhouette_of(coloured: np.ndarray) -> np.ndarray:
    """Close the gaps of a thing's coloured part and add its dark outline.

    Args:
        coloured: (height, width) bool, one piece.

    Returns:
        whole: (height, width) bool.
    """
    short = min(coloured.shape)
    room = round(CLOSE * short) + 2
    padded = np.pad(coloured, room)
    grown = ndimage.distance_transform_edt(~padded) <= CLOSE * short
    whole = ndimage.distance_transform_edt(grown) > (CLOSE - RIM) * short
    inner: np.ndarray = (whole | padded)[room:-room, room:-room]
    return inner


def within(silhouette: np.ndarray) -> np.ndarray:
    """A silhouette, (height, width) bool, without its dark outline."""
    inner: np.ndarray = ndimage.distance_transform_edt(np.pad(silhouette, 1)) > 2 * RIM * min(silhouette.shape) + 1
    return inner[1:-1, 1:-1]


def framed(silhouette: np.ndarray) -> np.ndarray:
    """Bring a silhouette to GRID x GRID bool, its centre in the middle and its area the same as any other's."""
    rows, columns = np.nonzero(silhouette)
    area = len(rows)
    steps = ((np.arange(GRID) + 0.5) / GRID - 0.5) * SPAN * area**0.5
    where = np.meshgrid(rows.mean() + steps, columns.mean() + steps, indexing="ij")
    cell = SPAN * area**0.5 / GRID
    soft = ndimage.gaussian_filter(silhouette.astype(np.float32), max(0.0, cell / 2 - 0.25), mode="constant")
    grid: np.ndarray = ndimage.map_coordinates(soft, where, order=1, mode="constant") > 0.5
    return grid


def _widened(grid: np.ndarray) -> np.ndarray:
    wide: np.ndarray = ndimage.binary_dilation(grid, ndimage.generate_binary_structure(2, 1))
    return wide


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Compare two framed silhouettes: 1 where neither has a cell beyond the other's neighbours."""
    beyond = np.sum(one & ~_widened(other)) + np.sum(other & ~_widened(one))
    overlap = 1 - float(beyond) / max(int(np.sum(one | other)), 1)
    return max(0.0, (overlap - BASE) / (1 - BASE))
