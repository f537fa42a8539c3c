"""What sizes and counts may cost: bounds that are checked before anything is computed."""

from __future__ import annotations

from .dims import Grid, bytes_text
from .errors import InputError

MOST_BYTES = 4 * 10**9
"""Bytes of the pictures and masks that one node gives, or of a scene's masks: what a 16 GB computer has left beside a
model. 20 steps of 10 words at 512x512 are 0.2 GB, 128 pictures of 1024x1024 are 1.6 GB."""

MOST_CELLS = 2**20
"""Cells of a grid that maps are resampled to: 1024x1024, which is 4 MB for each word and picture."""

MOST_PIXELS = 36_000_000
"""Pixels of a picture's file: a camera's 6000x6000. Each pixel of a painting costs about 40 bytes while it is read."""

MOST_CONCEPTS = 64
"""Things of one scene; the paper found six of one picture too many."""

MOST_PICTURES = 128
"""Rows times seeds of a template; all subsets of seven tokens are 127 rows. The paper sees four concepts as the most
that work."""

PICTURE, MASK = 12, 4
"""Bytes of a pixel of an IMAGE and of a MASK."""


def refuse_costly(what: str, count: int, size: Grid, each: int, advice: str) -> None:
    """Refuse pictures that take more memory than `MOST_BYTES` before the first of them is made.

    Args:
        what: the node and what it makes: `Token Heatmap: maps`.
        count: how many of them.
        size: pixels of one.
        each: bytes of a pixel.
        advice: what to lower, as a sentence.

    Raises:
        InputError: they take more.

    >>> refuse_costly("Test: maps", 10, Grid(512, 512), MASK, "")
    """
    needed = count * size.cells * each
    if needed > MOST_BYTES:
        raise InputError(
            f"{what} would take {bytes_text(needed)} ({count:,} of {size} pixels); {bytes_text(MOST_BYTES)} is the "
            f"most. {advice}"
        )
