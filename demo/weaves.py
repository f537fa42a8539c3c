"""Textures invented from a seed, family by family, so that skin is a space and not a list."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Field = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]
"""Chance, columns and rows in periods -> (height, width) distance into the dark tone, in periods."""


def _wave(place: np.ndarray, share: float) -> np.ndarray:
    return share / 2 - np.abs((place % 1.0) - 0.5)


def _stripes(rng: np.random.Generator, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return _wave(rows + rng.random(), rng.uniform(0.35, 0.6))


def _checks(rng: np.random.Generator, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    across, down = _wave(columns + rng.random(), 0.5), _wave(rows + rng.random(), 0.5)
    # Dark where exactly one of both is: the product of signed distances is below zero there.
    return np.where(across * down < 0, 1, -1) * np.minimum(np.abs(across), np.abs(down))


def _dots(rng: np.random.Generator, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    shifted = columns + 0.5 * (np.floor(rows) % 2) * rng.integers(2)
    return rng.uniform(0.24, 0.36) - np.hypot((shifted % 1.0) - 0.5, (rows % 1.0) - 0.5)


def _waves(rng: np.random.Generator, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    swing = rng.uniform(0.15, 0.35) * np.sin(2 * math.pi * columns / rng.uniform(1.6, 2.6) + 6.3 * rng.random())
    return _wave(rows + swing, rng.uniform(0.4, 0.6))


def _patches(rng: np.random.Generator, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(columns.shape)
    for _ in range(5):
        turn, pace = rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 1)
        total += np.sin(2 * math.pi * pace * (columns * math.cos(turn) + rows * math.sin(turn)) + 6.3 * rng.random())
    return (total - rng.uniform(-0.5, 0.5)) / 12


WEAVES: dict[str, Field] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "waves": _waves,
    "patches": _patches,
}
"""Family -> its field."""


def invented_weave(family: str, seed: int, *, columns: np.ndarray, rows: np.ndarray, edge: float) -> np.ndarray:
    """Return how much of the dark tone an invented texture has at each place.

    Args:
        family: a key of WEAVES.
        seed: the same one gives the same texture everywhere.
        columns: (height, width) float, distance from the thing's centre, in periods.
        rows: (height, width) float, the same downwards.
        edge: width of the soft edges, in periods (one pixel).

    Returns:
        dark: (height, width) float32, 0 to 1.
    """
    rng = np.random.default_rng([seed, 12, list(WEAVES).index(family)])
    turn, pace = rng.uniform(0, math.pi), rng.uniform(0.75, 1.3)
    across = (columns * math.cos(turn) + rows * math.sin(turn)) * pace
    down = (rows * math.cos(turn) - columns * math.sin(turn)) * pace
    field = WEAVES[family](rng, across, down)
    return np.clip(field / (edge * pace) + 0.5, 0, 1).astype(np.float32)
