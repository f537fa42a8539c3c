"""What things are covered with and what they stand in front of: textures and backgrounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PITCH = 0.19
"""Period of a texture, in shorter picture sides; three latent cells of the demo model at 128 pixels."""
SHADE = 0.46
"""Brightness of a texture's second tone against its first."""
Soft = Callable[[np.ndarray], np.ndarray]


def _wave(place: np.ndarray) -> np.ndarray:
    """Distance into the dark half of each period, in periods."""
    wave: np.ndarray = 0.25 - np.abs((place % 1.0) - 0.5)
    return wave


def _checkered(columns: np.ndarray, rows: np.ndarray, soft: Soft) -> np.ndarray:
    left, top = soft(_wave(columns)), soft(_wave(rows))
    return left + top - 2 * left * top


def _bricked(columns: np.ndarray, rows: np.ndarray, soft: Soft) -> np.ndarray:
    joints = np.abs(((columns + 0.5 * (np.floor(rows) % 2)) % 1.0) - 0.5)
    courses = np.minimum(rows % 1.0, 1 - rows % 1.0)
    return np.maximum(soft(0.13 - joints), soft(0.13 - courses))


def _quartered(columns: np.ndarray, rows: np.ndarray, soft: Soft) -> np.ndarray:
    return soft(np.where(columns * rows > 0, 1, -1) * np.minimum(np.abs(columns), np.abs(rows)))


def _rayed(columns: np.ndarray, rows: np.ndarray, soft: Soft) -> np.ndarray:
    per_ray = 2 * np.pi / 8
    return soft(_wave(np.arctan2(rows, columns) / per_ray + 0.25) * per_ray * np.hypot(columns, rows))


FIELDS: dict[str, Callable[[np.ndarray, np.ndarray, Soft], np.ndarray]] = {
    "plain": lambda columns, rows, soft: np.zeros(columns.shape, np.float32),
    "striped": lambda columns, rows, soft: soft(_wave(rows)),
    "dotted": lambda columns, rows, soft: soft(0.3 - np.hypot((columns % 1.0) - 0.5, (rows % 1.0) - 0.5)),
    "checkered": _checkered,
    "zigzag": lambda columns, rows, soft: soft(_wave(rows + np.abs((columns % 2.0) - 1.0))),
    "grid": lambda columns, rows, soft: np.maximum(soft(_wave(columns) - 0.1), soft(_wave(rows) - 0.1)),
    "bullseye": lambda columns, rows, soft: soft(_wave(np.hypot(columns, rows))),
    "halved": lambda columns, rows, soft: soft(columns),
    "quartered": _quartered,
    "crossed": lambda columns, rows, soft: np.maximum(soft(0.28 - np.abs(columns)), soft(0.28 - np.abs(rows))),
    "rayed": _rayed,
    "bricked": _bricked,
}
"""Texture -> its dark tone from columns and rows in periods, and from what makes signed distances into soft edges."""


def texture(name: str, *, columns: np.ndarray, rows: np.ndarray, edge: float) -> np.ndarray:
    """Return how much of the dark tone a texture has at each place.

    Args:
        name: a key of FIELDS.
        columns: (height, width) float, distance from the thing's centre, in periods.
        rows: (height, width) float, the same downwards.
        edge: width of the soft edges, in periods (one pixel).

    Returns:
        dark: (height, width) float32, 0 to 1.
    """
    return FIELDS[name](columns, rows, lambda signed: np.clip(signed / edge + 0.5, 0, 1).astype(np.float32))


RGB = tuple[int, int, int]


@dataclass(frozen=True)
class _Canvas:
    """The size of a background, and what chance decides about it: horizon and phase 0 to 1, wobble (width) -1 to 1."""

    height: int
    width: int
    horizon: float
    wobble: np.ndarray
    phase: float
    rng: np.random.Generator

    def fill(self, top: RGB, bottom: RGB) -> np.ndarray:
        """Shade from one 8-bit colour at the top to another at the bottom."""
        ramp = np.linspace(0, 1, self.height, dtype=np.float32)[:, None, None]
        shades = np.array(top, dtype=np.float32) * (1 - ramp) + np.array(bottom, dtype=np.float32) * ramp
        return np.repeat(shades, self.width, axis=1) / 255

    def below(self, picture: np.ndarray, line: float | np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Put `lower` below a line of (width) or one row, in picture heights, with a soft edge."""
        rows = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5) / self.height
        share = np.clip((rows - np.broadcast_to(line, self.width)[None, :]) * self.height + 0.5, 0, 1)[..., None]
        return picture * (1 - share) + lower * share

    def bars(self, pixels: int, count: int, half: float) -> np.ndarray:
        """Draw `count` dark bars over this many pixels: (pixel) float, 0 to 1."""
        places = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels * count + self.phase
        return np.clip((np.abs((places % 1.0) - 0.5) - half) * pixels / count + 0.5, 0, 1)


def _beach(canvas: _Canvas) -> np.ndarray:
    sky, sea = canvas.fill((190, 205, 225), (205, 215, 228)), canvas.fill((95, 125, 135), (105, 138, 140))
    sand = canvas.fill((222, 206, 180), (214, 196, 172))
    picture = canvas.below(sky, canvas.horizon - 0.12, sea)
    return canvas.below(picture, canvas.horizon + 0.06 + 0.03 * canvas.wobble, sand)


def _snow(canvas: _Canvas) -> np.ndarray:
    sky, ground = canvas.fill((165, 175, 190), (190, 198, 210)), canvas.fill((248, 250, 252), (232, 238, 246))
    return canvas.below(sky, canvas.horizon + 0.05 * canvas.wobble, ground)


def _forest(canvas: _Canvas) -> np.ndarray:
    leaves, ground = canvas.fill((52, 72, 54), (44, 62, 46)), canvas.fill((64, 62, 44), (54, 52, 38))
    return canvas.below(leaves, 0.8, ground) * (1 - 0.55 * canvas.bars(canvas.width, 4, 0.36)[None, :, None])


def _floor(canvas: _Canvas) -> np.ndarray:
    seams = canvas.bars(canvas.height, 5, 0.44)[:, None, None]
    return canvas.fill((152, 126, 108), (140, 114, 96)) * (1 - 0.45 * seams)


def _desert(canvas: _Canvas) -> np.ndarray:
    sky, dunes = canvas.fill((228, 222, 205), (236, 226, 204)), canvas.fill((196, 170, 152), (178, 150, 134))
    return canvas.below(sky, canvas.horizon + 0.06 * canvas.wobble, dunes)


def _night(canvas: _Canvas) -> np.ndarray:
    sky, ground = canvas.fill((14, 16, 38), (26, 28, 54)), canvas.fill((16, 18, 22), (10, 12, 16))
    picture = canvas.below(sky, 0.78, ground)
    dot = max(1, round(min(canvas.height, canvas.width) / 64))
    for _ in range(6):
        row, column = int(canvas.rng.random() * 0.7 * canvas.height), int(canvas.rng.random() * canvas.width)
        picture[row : row + dot, column : column + dot] = 0.85
    return picture


def _meadow(canvas: _Canvas) -> np.ndarray:
    sky, grass = canvas.fill((196, 208, 226), (206, 216, 230)), canvas.fill((128, 146, 110), (112, 132, 96))
    return canvas.below(sky, canvas.horizon + 0.05 * canvas.wobble, grass)


def _water(canvas: _Canvas) -> np.ndarray:
    ripples = canvas.bars(canvas.height, 7, 0.4)[:, None, None]
    return canvas.fill((130, 146, 156), (104, 120, 132)) * (1 + 0.18 * ripples)


def _road(canvas: _Canvas) -> np.ndarray:
    verge, tar = canvas.fill((176, 170, 158), (170, 164, 152)), canvas.fill((72, 72, 76), (60, 60, 64))
    dashes = canvas.bars(canvas.width, 4, 0.3)[None, :, None]
    rows = (np.arange(canvas.height)[:, None, None] + 0.5) / canvas.height
    line = np.clip((0.02 - np.abs(rows - 0.72)) * canvas.height + 0.5, 0, 1)
    return canvas.below(verge, 0.44, tar) * (1 - line * dashes) + 0.86 * line * dashes


def _wall(canvas: _Canvas) -> np.ndarray:
    courses = canvas.bars(canvas.height, 8, 0.42)[:, None, None]
    return canvas.fill((150, 122, 112), (144, 116, 106)) * (1 - courses) + 0.76 * courses


PAINTERS: dict[str, Callable[[_Canvas], np.ndarray]] = {
    "beach": _beach,
    "snow": _snow,
    "forest": _forest,
    "floor": _floor,
    "desert": _desert,
    "night": _night,
    "grey": lambda canvas: canvas.fill((128, 128, 128), (118, 118, 118)),
    "white": lambda canvas: canvas.fill((246, 246, 246), (238, 238, 238)),
    "meadow": _meadow,
    "water": _water,
    "road": _road,
    "wall": _wall,
}


def background(name: str, *, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Paint one background; all are muted (no channel is 45 steps of 255 away from another).

    Args:
        name: a key of BACKGROUNDS.
        height: pixels.
        width: pixels.
        rng: source of horizon, tone and detail.

    Returns:
        picture: (height, width, 3) float32, 0 to 1.
    """
    columns = (np.arange(width, dtype=np.float32) + 0.5) / width
    wobble = np.sin(columns * (3 + 3 * rng.random()) + 6.3 * rng.random()).astype(np.float32)
    horizon = 0.35 + 0.2 * rng.random()
    tone = np.float32(1 + 0.08 * (rng.random() - 0.5))
    canvas = _Canvas(height, width, horizon, wobble, rng.random(), rng)
    return np.clip(PAINTERS[name](canvas) * tone, 0, 1).astype(np.float32)
