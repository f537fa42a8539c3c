"""The outlines of the drawn things, as polygons in a unit box, and their coverage of a pixel grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]

SUPERSAMPLE = 4
STROKE = 0.022
"""Width of a thing's dark outline, in shorter picture sides."""


def _round(radius: float, count: int = 48, turn: float = 0.0) -> list[Point]:
    """Corners of a regular polygon; row axis downwards, first corner on top."""
    angles = [2 * math.pi * i / count + turn for i in range(count)]
    return [(radius * math.sin(a), -radius * math.cos(a)) for a in angles]


def _star() -> list[Point]:
    outer, inner = _round(0.54, 5), _round(0.24, 5, math.pi / 5)
    return [(x, y + 0.04) for pair in zip(outer, inner, strict=True) for x, y in pair]


def _heart() -> list[Point]:
    # The usual parametric heart, 16 sin^3 t against four cosines, scaled to the unit box.
    points = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((16 * math.sin(t) ** 3 / 33, -(y + 2.5) / 30))
    return points


def _cross(arm: float = 0.17) -> list[Point]:
    a, b = arm, 0.5
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


def _crescent() -> list[Point]:
    outer = [(-0.1 + 0.5 * math.cos(a), 0.5 * math.sin(a)) for a in np.linspace(0.9, 2 * math.pi - 0.9, 32)]
    inner = [(0.1 + 0.4 * math.cos(a), 0.4 * math.sin(a)) for a in np.linspace(2 * math.pi - 1.3, 1.3, 32)]
    return outer + inner


def _flower() -> list[Point]:
    angles = [2 * math.pi * i / 60 for i in range(60)]
    petals = [(0.36 + 0.14 * math.cos(6 * angle), angle) for angle in angles]
    return [(reach * math.sin(angle), -reach * math.cos(angle)) for reach, angle in petals]


def _drop() -> list[Point]:
    # The piriform: a round body that runs out into a tip, here upwards.
    angles = [2 * math.pi * i / 48 for i in range(48)]
    return [(0.38 * math.sin(a) * math.sin(a / 2) ** 1.4, 0.5 * -math.cos(a)) for a in angles]


def _dome() -> list[Point]:
    return [(0.52 * math.cos(a), 0.26 - 0.52 * math.sin(a)) for a in np.linspace(0, math.pi, 32)]


def _mushroom() -> list[Point]:
    cap = [(0.5 * math.cos(a), 0.04 - 0.52 * math.sin(a)) for a in np.linspace(0, math.pi, 32)]
    return [*cap, (-0.17, 0.04), (-0.17, 0.5), (0.17, 0.5), (0.17, 0.04)]


def _fish() -> list[Point]:
    body = [(0.12 + 0.38 * math.cos(a), 0.3 * math.sin(a)) for a in np.linspace(-2.7, 2.7, 40)]
    return [*body, (-0.5, 0.32), (-0.38, 0.0), (-0.5, -0.32)]


def _boat() -> list[Point]:
    sail = [(-0.08, 0.12), (-0.08, -0.5), (0.4, 0.02), (0.08, 0.02), (0.08, 0.12)]
    return [(-0.5, 0.12), *sail, (0.5, 0.12), (0.32, 0.44), (-0.32, 0.44)]


def _cup() -> list[Point]:
    handle = [(0.24, -0.24), (0.5, -0.24), (0.5, 0.16), (0.22, 0.16)]
    return [(-0.42, -0.4), (0.24, -0.4), *handle, (0.14, 0.42), (-0.32, 0.42)]


def _mirrored(*right: Point) -> list[Point]:
    """Corners of the right half from top to bottom, and of the left half back up."""
    return [*right, *((-x, y) for x, y in reversed(right))]


RING_HOLE = 0.24

OUTLINES: dict[str, list[Point]] = {
    "circle": _round(0.5),
    "square": [(-0.44, -0.44), (0.44, -0.44), (0.44, 0.44), (-0.44, 0.44)],
    "triangle": [(0.0, -0.48), (0.52, 0.44), (-0.52, 0.44)],
    "star": _star(),
    "heart": _heart(),
    "cross": _cross(),
    "ring": _round(0.5),
    "diamond": [(0.0, -0.52), (0.4, 0.0), (0.0, 0.52), (-0.4, 0.0)],
    "oval": [(0.66 * x, y) for x, y in _round(0.52)],
    "drop": _drop(),
    "bolt": [(0.12, -0.52), (-0.34, 0.1), (-0.04, 0.1), (-0.16, 0.52), (0.34, -0.12), (0.04, -0.12), (0.3, -0.52)],
    "mushroom": _mushroom(),
    "bottle": _mirrored((0.1, -0.52), (0.1, -0.2), (0.25, 0.0), (0.25, 0.52)),
    "hammer": _mirrored((0.46, -0.46), (0.46, -0.08), (0.14, -0.08), (0.14, 0.5)),
    "dome": _dome(),
    "hourglass": [(-0.42, -0.5), (0.42, -0.5), (0.08, 0), (0.42, 0.5), (-0.42, 0.5), (-0.08, 0)],
    "crescent": _crescent(),
    "arrow": [(-0.5, -0.16), (0.02, -0.16), (0.02, -0.42), (0.5, 0.0), (0.02, 0.42), (0.02, 0.16), (-0.5, 0.16)],
    "flower": _flower(),
    "house": [(0.0, -0.5), (0.5, -0.06), (0.34, -0.06), (0.34, 0.48), (-0.34, 0.48), (-0.34, -0.06), (-0.5, -0.06)],
    "fish": _fish(),
    "tree": _mirrored((0, -0.52), (0.32, -0.12), (0.18, -0.12), (0.44, 0.24), (0.11, 0.24), (0.11, 0.52)),
    "boat": _boat(),
    "cup": _cup(),
}
"""Shape -> corners (column, row) about its centre, in units of the thing's size."""


def rims_of(shape: str) -> list[list[Point]]:
    """Corners of a shape's outline and, of a ring, of its hole."""
    return [OUTLINES[shape], *([_round(RING_HOLE)] if shape == "ring" else [])]


def coverage(
    rims: Sequence[list[Point]], *, centre: Point, size: float, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise one thing with smooth edges.

    Args:
        rims: corners of its outline and perhaps of a hole, as `rims_of` gives them.
        centre: (column, row), in picture widths and heights.
        size: side of the unit box, in shorter picture sides.
        height: pixels.
        width: pixels.

    Returns:
        mask: (height, width) float32, 0 to 1, the whole thing with its outline.
        stroke: (height, width) float32, 0 to 1, the dark outline alone.

    >>> mask, stroke = coverage(rims_of("square"), centre=(0.5, 0.5), size=0.5, height=64, width=64)
    >>> bool(mask[32, 32] == 1 and mask[0, 0] == 0 and stroke[32, 32] == 0)
    True
    """
    scale, short = SUPERSAMPLE, min(height, width)
    column, row = centre[0] * width * scale, centre[1] * height * scale
    unit, pen = size * short * scale, max(1, round(STROKE * short * scale))

    def placed(points: list[Point]) -> list[Point]:
        return [(column + x * unit, row + y * unit) for x, y in points]

    fill, stroke = (Image.new("L", (width * scale, height * scale)) for _ in range(2))
    for value, rim in zip((255, 0), rims, strict=False):
        ImageDraw.Draw(fill).polygon(placed(rim), fill=value)
    for rim in rims:
        corners = placed(rim)
        ImageDraw.Draw(stroke).line(corners + corners[:2], fill=255, width=pen, joint="curve")
    outline = np.asarray(stroke.reduce(scale), dtype=np.float32) / 255
    inside = np.asarray(fill.reduce(scale), dtype=np.float32) / 255
    return np.maximum(inside, outline), outline
