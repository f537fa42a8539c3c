"""Queries and keys that layers showed: of one entry, or waiting to be looked at together with others of their size.

A GPU does a few large jobs sooner than it is handed many small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor

from ...dims import Grid
from .layers import AttentionLayer
from .recording import Entry
from .scores import OuterBias
from .selection import Branch

WAITING_BYTES = 64 * 2**20
"""So much of queries and keys may wait: at 512x512 all of an evaluation of both prompts, 48 MiB in half precision."""


Bias = Callable[[int], Tensor | OuterBias | None]
"""The log-odds that an act adds for the entry at a place of a batch: (1|image 1|head query token)."""


@dataclass(frozen=True)
class Pair:
    """Queries (image query head*channel) and keys (image key head*channel), and what an act adds to their logits."""

    query: Tensor
    key: Tensor
    bias: Tensor | OuterBias | None


def unusual(
    layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid, entries: Sequence[Entry], images: int
) -> str | None:
    """What another patch did to a layer's batch that can't be recorded; None for what the host itself makes."""
    # More keys than these are another patch's, a multiple of them too: see `fold_repeats`.
    keys = math.lcm(*(entry.tokens for entry in entries)) if layer.kind == "cross" else grid.cells
    if not query.shape[0] == key.shape[0] == images * len(entries):
        return f"changed the batch (rows are {query.shape[0]} and {key.shape[0]})"
    if query.shape[1] != grid.cells:
        return f"gave {query.shape[1]} queries for a grid of {grid}"
    return None if key.shape[1] == keys else f"gave {key.shape[1]} keys instead of {keys}"


@dataclass(frozen=True)
class Seen:
    """What one layer showed.

    Args:
        layer: the layer.
        query: (row query head*channel), row = entry x image.
        key: (row key head*channel).
        grid: the queries' grid.
        entries: the conditioning entries of the rows, in order.
    """

    layer: AttentionLayer
    query: Tensor
    key: Tensor
    grid: Grid
    entries: tuple[Entry, ...]

    def pair(self, index: int, images: int, bias: Bias | None = None) -> Pair:
        """Cut out the rows of the entry at this place; each cut takes a GPU's host time."""
        rows = slice(index * images, (index + 1) * images)
        return Pair(self.query[rows], self.key[rows], None if bias is None else bias(index))

    def parts(self, images: int, keeps: Callable[[Branch], bool]) -> list[Seen]:
        """What is kept of it, whole where it can be; the prompts of each part have the same number of tokens."""
        kept = [index for index, entry in enumerate(self.entries) if keeps(entry.branch)]
        if len(kept) == len(self.entries) and (self.layer.kind == "self" or len(self._tokens) == 1):
            return [self]
        cut = [(self.pair(index, images), self.entries[index]) for index in kept]
        return [replace(self, query=pair.query, key=pair.key, entries=(entry,)) for pair, entry in cut]

    @property
    def size(self) -> tuple[object, ...]:
        """What is the same in all that can be looked at together."""
        shapes = self.query.shape[1:], self.key.shape[1:]
        return self.layer.heads, self._tokens, shapes, self.query.dtype, self.query.device

    @property
    def _tokens(self) -> frozenset[int]:
        return frozenset(entry.tokens for entry in self.entries)


class Waiting:
    """What layers of one evaluation showed and nobody has looked at yet."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._bytes = 0
        self._lock = Lock()  # several GPUs may answer parts of one evaluation at the same time

    def add(self, parts: Sequence[Seen], held: int) -> bool:
        """Let parts of a batch wait, which keep so many bytes; tells whether so much waits that it is time to look."""
        with self._lock:
            self._seen += parts
            self._bytes += held
            return self._bytes >= WAITING_BYTES

    def take(self) -> list[list[Seen]]:
        """Take what waits, in groups of one size."""
        with self._lock:
            waiting, self._seen, self._bytes = self._seen, [], 0
        groups: dict[tuple[object, ...], list[Seen]] = {}
        for seen in waiting:
            groups.setdefault(seen.size, []).append(seen)
        return list(groups.values())


def gains(query: Tensor) -> bool:
    """Whether a device gains by few large jobs: handing a GPU a job takes the host longer than the maths takes it."""
    return query.device.type != "cpu"


def joined(group: Sequence[Seen]) -> Pair:
    """All queries and keys of a group (row query|key head*channel), in its order."""
    query, key = [seen.query for seen in group], [seen.key for seen in group]
    return Pair(torch.cat(query), torch.cat(key), None) if len(group) > 1 else Pair(query[0], key[0], None)
