"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image


def write(file: Path, text: str) -> None:
    """Write a text."""
    aside = file.with_suffix(".partial")
    aside.write_text(text, "utf-8")
    os.replace(aside, file)


def write_picture(file: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Args:
        file: its name.
        picture: (height width 3) float, 0 to 1.
    """
    aside = file.with_suffix(".partial")
    Image.fromarray(np.uint8(picture.clip(0, 1) * 255)).save(aside, format="PNG")
    os.replace(aside, file)
