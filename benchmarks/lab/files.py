"""Files: written completely or not at all; and whether one holds the demo model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from pack.scenescope.files.atomic import write_whole
from PIL import Image
from safetensors import safe_open


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


def is_demo_file(path: Path) -> bool:
    """Whether a file says that it holds the demo model."""
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, "pt") as file:
        return "scenescope_demo" in (file.metadata() or {})
