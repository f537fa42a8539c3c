"""The demo model's latent of a picture, in closed form: the picture eight times smaller, and where it is coloured."""

from __future__ import annotations

import numpy as np

CELL = 8
"""Pixels per latent cell, SD's factor."""
MATTE_FROM, MATTE_RANGE = 0.37, 0.08
"""Where |R-G| + |G-B| + |B-R| starts to count as a thing, and the width of that edge; backgrounds stay below 0.36."""
MIX = np.array([[1 / 3, 1 / 3, 1 / 3, 0], [1, -1, 0, 0], [0.5, 0.5, -1, 0], [0, 0, 0, 1]], dtype=np.float32)
"""Red, green, blue and matte -> lightness, red against green, yellow against blue, matte."""
MEAN = np.array([0.55, 0.03, 0.03, 0.15], dtype=np.float32)
DEVIATION = np.array([0.264, 0.173, 0.170, 0.318], dtype=np.float32)
"""Mean and deviation of the four mixtures over 150 drawn pictures: latents then have mean zero and variance one."""


def latent_of(picture: np.ndarray) -> np.ndarray:
    """Encode a picture as the demo model's encoder does.

    Args:
        picture: (height, width, 3) float32, 0 to 1, both sides multiples of 8.

    Returns:
        latent: (4, height / 8, width / 8) float32, about standard normal (SD's latent times its scale factor).

    >>> latent_of(np.full((16, 24, 3), 0.55, np.float32)).shape
    (4, 2, 3)
    """
    height, width, _ = picture.shape
    chroma = 2 * (picture.max(-1) - picture.min(-1))
    matte = np.clip((chroma - MATTE_FROM) / MATTE_RANGE, 0, 1)
    channels = np.concatenate([picture, matte[..., None]], axis=-1)
    small = channels.reshape(height // CELL, CELL, width // CELL, CELL, 4).mean(axis=(1, 3))
    return (((small @ MIX.T) - MEAN) / DEVIATION).transpose(2, 0, 1).astype(np.float32)
