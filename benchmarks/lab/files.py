"""Files that are written whole or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from pack.scenescope.files.atomic import write_whole
from PIL import Image


def write(file: Path, text: str) -> None:
    """Write a text."""
    write_whole(lambda out: out.write(text.encode()), file, "Bench")


def write_picture(file: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Args:
        file: its name.
        picture: (height width 3) float, 0 to 1.
    """
    write_whole(partial(Image.fromarray(np.uint8(picture.clip(0, 1) * 255)).save, format="PNG"), file, "Bench")
