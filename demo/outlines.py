"""Outlines invented from a seed, family by family, so that shape is a space and not a list."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Point = tuple[float, float]
ANGLES = 96
"""Corners of a smooth outline."""


def _boxed(points: np.ndarray, rng: np.random.Generator) -> list[Point]:
    """Turn (corner, 2) points by chance, squeeze them a little, and centre them in the unit box."""
    turn = rng.uniform(0, 2 * math.pi)
    turned = points @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    turned = turned * rng.uniform(0.75, 1, size=2)
    low, high = turned.min(0), turned.max(0)
    placed = (turned - (low + high) / 2) / (high - low).max()
    return [(float(x), float(y)) for x, y in placed]


def _radial(reach: np.ndarray) -> np.ndarray:
    """Corners at equal angles, each as far out as `reach` (corner) says."""
    angles = np.arange(len(reach)) * 2 * math.pi / len(reach)
    return np.stack([reach * np.sin(angles), -reach * np.cos(angles)], axis=1)


def _polygon(rng: np.random.Generator) -> np.ndarray:
    corners = int(rng.integers(3, 8))
    angles = (np.arange(corners) + rng.uniform(-0.28, 0.28, corners)) * 2 * math.pi / corners
    reach = rng.uniform(0.6, 1, corners)
    return np.stack([reach * np.sin(angles), -reach * np.cos(angles)], axis=1)


def _pointed(rng: np.random.Generator) -> np.ndarray:
    points = int(rng.integers(4, 9))
    return _radial(np.tile([1, rng.uniform(0.38, 0.75)], points))


def _toothed(rng: np.random.Generator) -> np.ndarray:
    teeth, depth = int(rng.integers(5, 10)), rng.uniform(0.6, 0.82)
    reach = np.repeat(np.tile([1, depth], teeth), 2)
    angles = (np.arange(2 * teeth).repeat(2) + np.tile([0.08, 0.92], 2 * teeth)) * math.pi / teeth
    return np.stack([reach * np.sin(angles), -reach * np.cos(angles)], axis=1)


def _superellipse(rng: np.random.Generator) -> np.ndarray:
    power, squeeze = 2 / math.exp(rng.uniform(math.log(0.7), math.log(5))), rng.uniform(0.45, 1)
    angles = np.arange(ANGLES) * 2 * math.pi / ANGLES
    sides = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    return np.sign(sides) * np.abs(sides) ** power * [1, squeeze]


def _harmonic(rng: np.random.Generator) -> np.ndarray:
    angles = np.arange(ANGLES) * 2 * math.pi / ANGLES
    reach = np.ones(ANGLES)
    for order in range(2, 7):
        reach += rng.normal(0, 0.42 / order) * np.cos(order * angles + rng.uniform(0, 2 * math.pi))
    return _radial(np.maximum(reach, 0.35))


def _fitted(rng: np.random.Generator) -> np.ndarray:
    """Cut a notch out of a rounded outline, or put a handle on it, or both."""
    angles = np.arange(2 * ANGLES) * math.pi / ANGLES
    power = rng.choice([2.0, 4.0, 12.0])
    sides = np.abs(np.stack([np.sin(angles), np.cos(angles)]) / np.array([[1], [rng.uniform(0.6, 1)]]))
    reach = (sides**power).sum(0) ** (-1 / power)
    for change in rng.permutation([rng.uniform(0.25, 0.5), -rng.uniform(0.3, 0.5)])[: rng.integers(1, 3)]:
        away = np.abs((angles - rng.uniform(0, 2 * math.pi) + math.pi) % (2 * math.pi) - math.pi)
        reach = np.where(away < rng.uniform(0.16, 0.4), reach * (1 + change), reach)
    return _radial(reach)


def _blocks(rng: np.random.Generator) -> np.ndarray:
    """Trace the rim of some squares of a 3 x 3 board that hang together without a hole."""
    cells = {(1, 1)}
    while len(cells) < rng.integers(3, 7):
        column, row = list(cells)[int(rng.integers(len(cells)))]
        near = [(column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)]
        near = [cell for cell in near if min(cell) >= 0 and max(cell) <= 2]
        cells.add(near[int(rng.integers(len(near)))])
    ahead: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for column, row in sorted(cells):
        rim = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
        beyond = [(column, row - 1), (column + 1, row), (column, row + 1), (column - 1, row)]
        for side, other in enumerate(beyond):
            if other not in cells:
                ahead.setdefault(rim[side], []).append(rim[(side + 1) % 4])
    if any(len(ends) > 1 for ends in ahead.values()):  # squares that touch at a corner only: another try
        return _blocks(rng)
    path = [min(ahead)]
    while (after := ahead[path[-1]][0]) != path[0]:
        path.append(after)
    return np.array(path, dtype=float)


FAMILIES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "polygon": _polygon,
    "pointed": _pointed,
    "toothed": _toothed,
    "superellipse": _superellipse,
    "harmonic": _harmonic,
    "fitted": _fitted,
    "blocks": _blocks,
}
"""Family -> its maker; what a maker returns is (corner, 2) float, of any size."""


def invented_outline(family: str, seed: int) -> list[Point]:
    """Invent an outline.

    Args:
        family: a key of FAMILIES.
        seed: the same one gives the same outline everywhere.

    Returns:
        Corners (column, row) about the centre of a unit box, the longer side of which they fill.

    >>> corners = invented_outline("toothed", 3)
    >>> round(max(max(abs(x), abs(y)) for x, y in corners), 3)
    0.5
    """
    rng = np.random.default_rng([seed, 11, list(FAMILIES).index(family)])
    return _boxed(FAMILIES[family](rng), rng)
