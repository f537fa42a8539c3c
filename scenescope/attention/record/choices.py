"""What a user asks for, in words: blocks, steps, heads and grids."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ...cost import MOST_CELLS
from ...dims import Grid, grid_of, indexed
from ...errors import InputError, SelectionError
from .layers import AttentionLayer


def choose_blocks(text: str, layers: Iterable[AttentionLayer]) -> frozenset[str]:
    """Read a choice of blocks written by a person.

    Args:
        text: `all`, places (`down`, `mid`, `middle`, `up`) and block names (`input 1`, `in4`, `output 9`), separated by
            commas, plus signs or new lines.
        layers: the layers that the model has.

    Returns:
        The names of the chosen blocks.

    Raises:
        SelectionError: a name is not among the model's blocks, or none is named; the message lists those that are.

    >>> layer = AttentionLayer(0, "input 1", "down", "cross", 0, 8, 40)
    >>> sorted(choose_blocks("down", [layer]))
    ['input 1']
    """
    layers = tuple(layers)
    known = list(dict.fromkeys(layer.block for layer in layers))
    chosen: set[str] = set()
    for part in re.split(r"[,;+\n]", text.strip().lower() or "all"):
        word = part.strip()
        if not word:
            continue
        matching = _blocks_called(word, layers)
        if not matching:
            raise SelectionError(
                f"Blocks: {word[:40]!r} is not a block of this model. Write all, down, mid, up, or some of "
                f"{', '.join(known)}."
            )
        chosen |= matching
    if not chosen:
        raise SelectionError(
            f"Blocks: {text[:40]!r} names no block. Write all, down, mid, up, or some of {', '.join(known)}."
        )
    return frozenset(chosen)


def _blocks_called(word: str, layers: tuple[AttentionLayer, ...]) -> set[str]:
    if word == "all":
        return {layer.block for layer in layers}
    if word in ("down", "up", "mid", "middle"):
        place = "middle" if word == "mid" else word
        return {layer.block for layer in layers if layer.place == place}
    match = re.fullmatch(r"(in|input|mid|middle|out|output)[\s_]*(\d+(?:\.\d+)?)", word)
    if match is None:
        return set()
    section = {"in": "input", "mid": "middle", "out": "output"}.get(match.group(1), match.group(1))
    return {layer.block for layer in layers if layer.block == f"{section} {match.group(2)}"}


@dataclass(frozen=True)
class StepChoice:
    """Sampler steps as a person wrote them, for a run whose number of steps may be known only when it has ended.

    Args:
        text: as it was written.
        ranges: (first, one past the last or None, stride), counted from the first step.
        from_end: steps counted from the end, 1 for the last.

    >>> choice = StepChoice.read("0-2, last")
    >>> choice.has(2), choice.has(19), sorted(choice.of(20))
    (True, False, [0, 1, 2, 19])
    """

    text: str
    ranges: tuple[tuple[int, int | None, int], ...] = ()
    from_end: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str) -> StepChoice:
        """Read what `choose_steps` describes.

        Raises:
            SelectionError: a part is not understood.
        """
        ranges: list[tuple[int, int | None, int]] = []
        from_end: list[int] = []
        for part in re.split(r"[,;\n]", text.strip().lower() or "all"):
            word = part.strip()
            if back := _from_end(word):
                from_end.append(back)
            elif word:
                ranges.append(_range_of(word))
        return cls(text, tuple(ranges), tuple(from_end))

    def has(self, step: int) -> bool:
        """Whether a step is chosen however many there will be."""
        return any(
            first <= step and (stop is None or step < stop) and (step - first) % stride == 0
            for first, stop, stride in self.ranges
        )

    def of(self, total: int) -> frozenset[int]:
        """The chosen steps of a run of this many; none if the choice lies outside it."""
        ends = {total - back for back in self.from_end}
        return frozenset(step for step in range(total) if self.has(step) or step in ends)


def choose_steps(text: str, total: int) -> frozenset[int]:
    """Read a choice of sampler steps written by a person; the first step is 0, the last one is also -1.

    Args:
        text: `all`, `first`, `last`, numbers, ranges `2-5`, `every 4`, separated by commas.
        total: steps of the run.

    Raises:
        SelectionError: a part is not understood, or nothing of it lies in the run.

    >>> sorted(choose_steps("0-2, last", 20))
    [0, 1, 2, 19]
    >>> sorted(choose_steps("every 8", 20))
    [0, 8, 16]
    """
    chosen = StepChoice.read(text).of(total)
    if not chosen:
        raise SelectionError(
            f"Steps: {text[:40]!r} matches no step of this run, which has {indexed(total, 'step')}. Choose some of "
            "them."
        )
    return chosen


def _from_end(word: str) -> int:
    """Which step from the end is meant, 1 for the last; 0 where it is counted from the first."""
    if word == "last":
        return 1
    return int(word[1:]) if re.fullmatch(r"-\d{1,99}", word) else 0


def _range_of(word: str) -> tuple[int, int | None, int]:
    if word in ("all", "first"):
        return (0, None, 1) if word == "all" else (0, 1, 1)
    if match := re.fullmatch(r"every\s+([1-9]\d{0,98})", word):
        return 0, None, int(match.group(1))
    if match := re.fullmatch(r"-?(\d{1,99})", word):
        return int(match.group(1)), int(match.group(1)) + 1, 1
    if match := re.fullmatch(r"(\d{1,99})\s*(?:-|to|\.\.)\s*(\d{1,99})", word):
        return int(match.group(1)), int(match.group(2)) + 1, 1
    raise SelectionError(
        f"Steps: {word[:40]!r} is not a choice of steps. Write all, first, last, a number, a range such as 2-5, or "
        "every 4."
    )


RESOLUTIONS = ("auto", "latent", "latent/2", "latent/4", "latent/8", "all")


CLEAR_CELLS = 16 * 16
"""Words are told apart best on a grid of about this many cells: `latent/4` at 512x512."""


class Resolution(NamedTuple):
    """The grid of a heatmap.

    Args:
        grid: the grid wanted.
        level: halvings of the latent; only the layers of that grid are read, so that nothing is resampled. None reads
            the layers of every grid and resamples them.
    """

    grid: Grid
    level: int | None = None


def choose_resolution(resolution: str, size: str, latent: Grid, levels: Iterable[int] = range(4)) -> Resolution:
    """Read a resolution written by a person.

    Args:
        resolution: `auto`, `latent`, `latent/2`, ... or `all`; auto is the grid nearest to 16x16 cells.
        size: the grid for `all`.
        latent: the latent's grid.
        levels: halvings of the latent to choose from for `auto`.

    Raises:
        SelectionError: the resolution is none of these.
        InputError: the size is not a grid, or one of more cells than are worth drawing.

    >>> choose_resolution("latent/4", "", Grid(64, 96))
    Resolution(grid=Grid(height=16, width=24), level=2)
    >>> choose_resolution("all", "32x48", Grid(64, 96))
    Resolution(grid=Grid(height=32, width=48), level=None)
    >>> choose_resolution("auto", "", Grid(16, 16))
    Resolution(grid=Grid(height=16, width=16), level=0)
    """
    if resolution.strip().lower() == "auto":
        level = min(sorted(levels), key=lambda level: abs(math.log2(latent.coarser(2**level).cells / CLEAR_CELLS)))
        return Resolution(latent.coarser(2**level), level)
    if resolution.strip().lower() == "all":
        coarser = _halvings(size)
        return Resolution(_affordable(grid_of(size), latent) if coarser is None else latent.coarser(2**coarser))
    halvings = _halvings(resolution)
    if halvings is None:
        raise SelectionError(f"Resolution: {resolution!r} is not a resolution. Choose {', '.join(RESOLUTIONS)}.")
    return Resolution(latent.coarser(2**halvings), halvings)


def _affordable(grid: Grid, latent: Grid) -> Grid:
    """Refuse a grid on which maps would take minutes and gigabytes and show no more than on a coarser one."""
    most = max(MOST_CELLS, latent.cells)
    if grid.cells > most:
        raise InputError(
            f"Heatmap: the size is {grid}, {grid.cells:,} cells; {most:,} is the most that can be drawn. The finest "
            f"layers have {latent}: choose latent, or a smaller size."
        )
    return grid


def _halvings(text: str) -> int | None:
    match = re.fullmatch(r"latent(?:\s*/\s*(1|2|4|8|16|32))?", text.strip().lower())
    return None if match is None else int(match.group(1) or 1).bit_length() - 1


def choose_heads(text: str, total: int) -> tuple[int, ...] | None:
    """Read a choice of heads written by a person; None is their mean over all.

    Args:
        text: `mean`, `all`, or numbers and ranges `0, 3-5`.
        total: heads of the layer.

    Raises:
        SelectionError: a part is not understood, or the layer has no such head.

    >>> choose_heads("0, 3-5", 8)
    (0, 3, 4, 5)
    """
    if text.strip().lower() in ("", "mean", "all"):
        return None
    chosen: set[int] = set()
    for part in re.split(r"[,;\n]", text):
        match = re.fullmatch(r"\s*(\d{1,99})\s*(?:-\s*(\d{1,99})\s*)?", part)
        heads = range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1) if match else range(0)
        if not heads or heads[-1] >= total:
            raise SelectionError(
                f"Heads: {part.strip()[:40]!r} is not a head of this layer. Write mean, or numbers and ranges from 0 "
                f"to {total - 1}."
            )
        chosen |= set(heads)
    return tuple(sorted(chosen))
