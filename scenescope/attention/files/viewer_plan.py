"""What a viewer's file holds: which columns, grids, steps, heads and pictures, so that it stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...dims import Grid
from ..record.layers import AttentionLayer
from ..record.recording import Entry, Recording
from ..words.tokens import Token, TokenKind

MEAN = -1
CELLS, CELLS_SMALL = 1024, 256  # the most cells of a kept grid: 32x32, and 16x16 where even that is too much
_MERGED: tuple[TokenKind, ...] = ("start", "end", "padding")

Frame = tuple[int, int]  # sampler step and head; -1 is the mean


@dataclass(frozen=True)
class Column:
    """One map of a prompt: a token, or all columns of a kind without words.

    Args:
        kind: what it is.
        text: as it was typed; the name of an embedding or a learned token; empty for start, end and padding.
        word: number of the word it belongs to, None outside words.
        columns: the columns of attention that are averaged into it.
        weight: the prompt's weight.
        vector: for an embedding of several vectors, which one.
        vectors: how many the embedding has.
    """

    kind: TokenKind
    text: str
    word: int | None
    columns: tuple[int, ...]
    weight: float = 1.0
    vector: int = 0
    vectors: int = 1


@dataclass(frozen=True)
class BlockPlan:
    """A block.

    Args:
        layer: its cross-attention.
        recorded: the layer's own grid for this picture.
        grid: the grid that is kept.
        others: grids that some of its maps were made on instead, because a patch changed the size of the features.
    """

    layer: AttentionLayer
    recorded: Grid
    grid: Grid
    others: tuple[Grid, ...] = ()


@dataclass(frozen=True)
class EntryPlan:
    """What is kept of one conditioning entry.

    Args:
        entry: whose attention.
        keys: columns of attention that were recorded.
        columns: the maps of each frame and block.
        blocks: in forward order.
        frames: steps and heads; the first is the mean of both.
    """

    entry: Entry
    keys: int
    columns: tuple[Column, ...]
    blocks: tuple[BlockPlan, ...]
    frames: tuple[Frame, ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Cells before each block."""
        return tuple(sum(block.grid.cells for block in self.blocks[:at]) for at in range(len(self.blocks)))

    @cached_property
    def cells(self) -> int:
        """Cells of all blocks."""
        return sum(block.grid.cells for block in self.blocks)

    @cached_property
    def size(self) -> int:
        """Bytes of one picture's planes."""
        return self.cells * len(self.columns) * len(self.frames)

    def has_head(self, head: int) -> bool:
        """Whether single heads up to this one are kept."""
        return (MEAN, head) in self.frames


@dataclass(frozen=True)
class ViewPlan:
    """What is kept of a recording, and what is not."""

    entries: tuple[EntryPlan, ...]
    images: int
    left_out: tuple[dict[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes of all planes."""
        return self.images * sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class _Choice:
    """How much is kept."""

    each: int = 1  # every n-th step
    heads: bool = True  # single heads at every step, not only as means over the steps
    cells: int = CELLS
    images: int | None = None


def plan_view(recording: Recording, limit: int) -> ViewPlan:
    """Choose what fits: first single heads become means over the steps, then steps are left out, then grids shrink.

    Args:
        recording: what a run left, with cross-attention.
        limit: bytes that the planes may take.

    Returns:
        A plan within the limit; one step, the coarse grids and one picture are kept whatever their size.
    """
    steps = len({item.address.step for item in recording.maps if item.address.kind == "cross"})
    each = [every for every in (1, 2, 3, 4, 5, 8, 10, 16, 20, 25, 50, 100) if every < steps] + [steps]
    choices = [
        _Choice(),
        *(_Choice(every, False) for every in each),
        *(_Choice(steps, False, CELLS_SMALL, images) for images in (*range(recording.images, 1, -1), 1)),
    ]
    plans = (_plan(recording, choice, steps) for choice in choices)
    return next((plan for plan in plans if plan.size <= limit), _plan(recording, choices[-1], steps))


def _plan(recording: Recording, choice: _Choice, steps: int) -> ViewPlan:
    images = choice.images or recording.images
    entries = tuple(plan for entry in recording.entries if (plan := _plan_entry(recording, entry, choice)) is not None)
    kept = max(len({frame[0] for frame in plan.frames} - {MEAN}) for plan in entries)
    left_out: list[dict[str, Any]] = []
    if kept < steps:
        left_out.append({"what": "steps", "kept": kept, "of": steps})
    if not choice.heads and any(head > MEAN for plan in entries for _, head in plan.frames):
        left_out.append({"what": "heads at single steps"})
    if choice.cells < CELLS:
        left_out.append({"what": "cells", "kept": choice.cells})
    if images < recording.images:
        left_out.append({"what": "images", "kept": images, "of": recording.images})
    return ViewPlan(entries, images, tuple(left_out))


def _plan_entry(recording: Recording, entry: Entry, choice: _Choice) -> EntryPlan | None:
    maps = [
        item for item in recording.maps
        if item.address.kind == "cross" and (item.address.branch, item.address.entry) == (entry.branch, entry.index)
    ]  # fmt: skip
    if not maps:
        return None
    layers = {layer.order: layer for layer in recording.layers}
    extent = entry.extent(recording.latent)
    grids: dict[int, set[Grid]] = {}
    for item in maps:
        grids.setdefault(item.address.order, set()).add(item.query_grid)
    blocks = tuple(_plan_block(layers[order], grids[order], extent, choice.cells) for order in sorted(grids))
    steps = sorted({item.address.step for item in maps})
    heads = max(item.maps.shape[1] for item in maps)
    single = range(heads) if heads > 1 else range(0)
    chosen = _thinned(steps, choice.each)
    frames = [(MEAN, MEAN), *((step, MEAN) for step in chosen), *((MEAN, head) for head in single)]
    if choice.heads:
        frames += [(step, head) for step in chosen for head in single]
    keys = maps[0].maps.shape[-1]
    return EntryPlan(entry, keys, columns_of(entry, keys), blocks, tuple(frames))


def _plan_block(layer: AttentionLayer, made: set[Grid], extent: Grid, cells: int) -> BlockPlan:
    own = layer.grid(extent)
    return BlockPlan(layer, own, kept_grid(own, cells), tuple(sorted(made - {own})))


def _thinned(steps: Sequence[int], each: int) -> list[int]:
    """Every n-th step, and always the last one.

    >>> _thinned(range(5), 2), _thinned(range(6), 4)
    ([0, 2, 4], [0, 4, 5])
    """
    return sorted({*steps[::each], steps[-1]}) if each < len(steps) else [steps[-1]]


def kept_grid(grid: Grid, cells: int) -> Grid:
    """Halve a grid until it has at most this many cells.

    >>> kept_grid(Grid(64, 64), 1024)
    Grid(height=32, width=32)
    """
    while grid.cells > cells and max(grid) > 1:
        grid = grid.coarser(2)
    return grid


def columns_of(entry: Entry, keys: int) -> tuple[Column, ...]:
    """The maps of an entry: each token for itself; start, end and padding once each, over all chunks.

    Args:
        entry: with its words, or without.
        keys: columns of attention.
    """
    if entry.table is None:
        return tuple(Column("unknown", "", None, (column,)) for column in range(keys))
    tokens = [token for token in entry.table.tokens if token.column < keys]
    merged: dict[TokenKind, Column] = {
        kind: Column(kind, "", None, tuple(token.column for token in tokens if token.kind == kind)) for kind in _MERGED
    }
    alone = [_alone(token) for token in tokens if token.kind not in _MERGED]
    columns = (merged["start"], *alone, merged["end"], merged["padding"])
    return tuple(column for column in columns if column.columns)


def _alone(token: Token) -> Column:
    return Column(token.kind, token.text, token.word, (token.column,), token.weight, token.vector, token.vectors)
