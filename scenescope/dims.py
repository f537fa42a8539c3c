"""The words for dimensions, and the grid that a run of tokens stands for.

| word    | meaning                                                          |
|---------|------------------------------------------------------------------|
| batch   | rows of one model call: images x conditioning entries            |
| image   | pictures of one sampling run                                     |
| head    | attention heads                                                  |
| query   | positions of a feature map, row by row: height x width of a grid |
| token   | keys of cross-attention: the text's columns                      |
| key     | keys of any attention                                            |
| channel | features of one position                                         |
| height, width | always in this order                                       |
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .errors import InputError


class Grid(NamedTuple):
    """A feature map's extent.

    Args:
        height: rows.
        width: columns.

    >>> Grid(64, 48).cells
    3072
    >>> Grid(33, 45).coarser(2)
    Grid(height=17, width=23)
    >>> str(Grid(8, 12))
    '8x12'
    """

    height: int
    width: int

    @property
    def cells(self) -> int:
        """Positions of the grid: the number of queries."""
        return self.height * self.width

    def coarser(self, times: int) -> Grid:
        """The grid after strided convolutions that divide by `times`, rounding up as the U-Net does."""
        return Grid(-(-self.height // times), -(-self.width // times))

    def scaled(self, factor: float, *, least: int) -> Grid:
        """The grid, this many times as large, each side rounded and at least this."""
        return Grid(max(least, round(self.height * factor)), max(least, round(self.width * factor)))

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def grid_of(text: str) -> Grid:
    """Read a grid written as `height x width`, or as one number for a square.

    Raises:
        InputError: the text is not a grid.

    >>> grid_of("16x24")
    Grid(height=16, width=24)
    >>> grid_of(" 32 ")
    Grid(height=32, width=32)
    """
    parts = text.lower().replace("×", "x").split("x")
    numbers = all(re.fullmatch(r"\s*0*[1-9]\d{0,8}\s*", part) for part in parts)
    if not 1 <= len(parts) <= 2 or not numbers:
        raise InputError(f"Grid: {text[:40]!r} is not a size. Write height x width or one number, for example 16x16.")
    height, width = int(parts[0]), int(parts[-1])
    return Grid(height, width)


def bytes_text(count: int) -> str:
    """Write a number of bytes as people read it, in units of 1000.

    >>> bytes_text(4_149_376)
    '4.1 MB'
    >>> bytes_text(312)
    '312 B'
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < (1000 if unit == "B" else 999.95):  # what would be rounded up to 1000.0 takes the larger unit
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, in the plural where it is not 1.

    >>> counted(1, "mask"), counted(3, "mask")
    ('1 mask', '3 masks')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def indexed(number: int, noun: str) -> str:
    """Write how many there are, and their numbers, which start at 0.

    >>> indexed(1, "picture"), indexed(3, "step")
    ('1 picture (0)', '3 steps (0 to 2)')
    """
    last = "" if number == 1 else f" to {number - 1}"
    return f"{counted(number, noun)} (0{last})"
