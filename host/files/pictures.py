"""Pictures of which it is known that they are PNG: opened as nothing else, and not larger than can be paid for."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image

from ...scenescope.errors import FileError

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises for spoilt PNGs
MOST_PIXELS = 36_000_000
"""A camera's 6000x6000; each pixel of a painting costs about 40 bytes while it is read."""


def opened_png(path: Path) -> Image.Image:
    """Read a PNG whole.

    The content decides what a file is, not its name: other formats are refused, because some of them are programs
    (Pillow runs Ghostscript for EPS). A picture's size is looked at before its pixels are.

    Raises:
        FileError: it is missing, no PNG, broken, or larger than `MOST_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is the lower one
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise FileError(
                        f"Picture: {path.name} has {picture.width}x{picture.height} pixels, more than the "
                        f"{MOST_PIXELS} that can be read. Make it smaller."
                    )
                picture.load()
                return picture
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise FileError(f"Picture: {path.name} is not a sound PNG ({error}). Save it as a PNG again.") from error
