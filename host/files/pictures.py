"""Picture files: PNGs, opened only as such and only up to an affordable size, and files that a camera rotated."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ...scenescope.cost import MOST_PIXELS
from ...scenescope.drawing.pixels import to_image
from ...scenescope.errors import FileError

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises for damaged PNGs
_TURNED_BY_BROWSERS = ("JPEG", "PNG", "WEBP")
_THUMB = (32, 32)


def opened_png(path: Path) -> Image.Image:
    """Read a PNG whole.

    The content decides what a file is, not its name: other formats are refused, because some of them are programs
    (Pillow runs Ghostscript for EPS). A picture's size is looked at before its pixels are.

    Raises:
        FileError: it is missing, no PNG, broken, or larger than `MOST_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise FileError(
                        f"Picture: {path.name} has {picture.width}x{picture.height} pixels, more than the "
                        f"{MOST_PIXELS} that can be read. Make it smaller."
                    )
                picture.load()
                return picture
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise FileError(f"Picture: {path.name} is not a valid PNG ({_why(error)}). Save it as a PNG again.") from error


def _why(error: Exception) -> str:
    """What Pillow says, without the server's folder, which it names if it doesn't know the format."""
    if isinstance(error, UnidentifiedImageError):
        return "it is another kind of file, or damaged"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def shown_turned(path: Path, loaded: Tensor) -> bool:
    """Whether browsers rotate a file as its camera recorded, while the loader that read it did not.

    Args:
        path: a picture's file; what cannot be read as one that browsers turn is not turned.
        loaded: (height width 3) float, 0..1.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_TURNED_BY_BROWSERS) as file:
                turned = file.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
                if not turned or file.width * file.height > MOST_PIXELS:
                    return False
                as_stored, as_shown = _thumb(file), _thumb(ImageOps.exif_transpose(file))
    except (*_BROKEN, Image.DecompressionBombError):
        return False
    own = _thumb(to_image(loaded))
    return bool(np.abs(own - as_stored).mean() < np.abs(own - as_shown).mean())


def _thumb(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize(_THUMB, Image.Resampling.BOX), dtype=np.float32)
