"""Pictures in rows and columns, labelled with what distinguishes them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from ..dims import Grid
from ..errors import InputError
from .lettering import FAINT, INK, PAPER, fitting, folded, font
from .pixels import tile_size, to_image, to_tensor

_BESIDE = 0.75  # of a picture's width, for the words at the left


def labelled_grid(pictures: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Tensor:
    """Draw pictures on one sheet: a row for each prompt, a column for each seed.

    Args:
        pictures: (row*column height width 3) float, 0..1; columns inside. Their longer side is held between 192 and
            512 pixels.
        rows: words at the left of each row; folded where they are long.
        columns: words above each column.

    Returns:
        (1 height width 3) float32, 0..1.

    Raises:
        InputError: there are not rows times columns pictures.
    """
    if len(pictures) != len(rows) * len(columns) or not len(pictures):
        raise InputError(
            f"Labelled grid: {len(pictures)} pictures don't fill {len(rows)} rows of {len(columns)}. Give one picture "
            "for each place."
        )
    size = tile_size(Grid(*pictures.shape[1:3]))
    letters = max(13, min(size) // 18)
    gap, beside = letters, round(max(_BESIDE * size.width, 8 * letters))
    left, top = beside + 2 * gap, 2 * gap + letters // 2
    sheet = Image.new("RGB", (left + len(columns) * (size.width + gap), top + len(rows) * (size.height + gap)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, text in enumerate(columns):
        middle = left + place * (size.width + gap) + size.width // 2
        cut = fitting(text, size.width, letters)
        draw.text((middle, top // 2), cut, fill=FAINT, font=font(letters, cut), anchor="mm")
    for place, text in enumerate(rows):
        lines = "\n".join(folded(text, beside, letters, max(1, size.height // round(1.4 * letters))))
        middle, face = top + place * (size.height + gap) + size.height // 2, font(letters, lines)
        draw.multiline_text((gap, middle), lines, fill=INK, font=face, anchor="lm", spacing=letters // 3)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, len(columns))
        tile = to_image(picture).resize((size.width, size.height), Image.Resampling.BICUBIC)
        sheet.paste(tile, (left + column * (size.width + gap), top + row * (size.height + gap)))
    return to_tensor(sheet)
