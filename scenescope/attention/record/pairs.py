"""Queries and keys that layers showed: of one entry, or waiting to be read together with others of their size.

A GPU finishes a few large jobs before it could be handed many small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dims import Grid
from .layers import AttentionLayer
from .recording import Entry
from .scores import OuterBias
from .selection import Branch

WAITING_BYTES = 64 * 2**20
"""Queries and keys that may wait; cross-attention of both prompts has 48 MiB at 512x512 in half precision."""


Added = Tensor | OuterBias | None
"""The log-odds (1|image 1|head query token) that acts add to an entry's logits, or of self-attention their factors."""
Bias = Callable[[int], Added]
"""The same for the entry at a place of a batch."""


@dataclass(frozen=True)
class Pair:
    """Queries (row query head*channel) and keys (row key head*channel), and what acts add to their logits."""

    query: Tensor
    key: Tensor
    bias: Added


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
        biases: what acts add for each of them.
    """

    layer: AttentionLayer
    query: Tensor
    key: Tensor
    grid: Grid
    entries: tuple[Entry, ...]
    biases: tuple[Added, ...]

    def pair(self, index: int, images: int) -> Pair:
        """Cut out the rows of the entry at this place; each cut takes a GPU's host time."""
        rows = slice(index * images, (index + 1) * images)
        return Pair(self.query[rows], self.key[rows], self.biases[index])

    def parts(self, images: int, keeps: Callable[[Branch], bool]) -> list[Seen]:
        """What is kept of it, whole where it can be; the prompts of each part have the same number of tokens."""
        kept = [index for index, entry in enumerate(self.entries) if keeps(entry.branch)]
        if len(kept) == len(self.entries) and (self.layer.kind == "self" or len(self._tokens) == 1):
            return [self]
        cut = [(self.pair(index, images), self.entries[index]) for index in kept]
        return [
            replace(self, query=pair.query, key=pair.key, entries=(entry,), biases=(pair.bias,)) for pair, entry in cut
        ]

    @property
    def size(self) -> tuple[object, ...]:
        """What is the same in everything that can be read together."""
        shapes = self.query.shape[1:], self.key.shape[1:]
        return self.layer.kind, self.layer.heads, self.grid, self._tokens, shapes, self.query.dtype, self.query.device

    @property
    def _tokens(self) -> frozenset[int]:
        return frozenset(entry.tokens for entry in self.entries)


class Waiting:
    """What layers of one evaluation showed and nobody has read yet."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._bytes = 0
        self._lock = Lock()  # several GPUs may answer parts of one evaluation at the same time

    def add(self, parts: Sequence[Seen], held: int) -> bool:
        """Let parts of a batch wait, which keep this many bytes; returns whether enough is waiting to be read."""
        with self._lock:
            self._seen += parts
            self._bytes += held
            return self._bytes >= WAITING_BYTES

    def take(self) -> list[list[Seen]]:
        """Take what waits, in groups of one size."""
        with self._lock:
            waiting, self._seen, self._bytes = self._seen, [], 0
        return by_size(waiting)


def by_size(waiting: Sequence[Seen]) -> list[list[Seen]]:
    """Layers in groups that can be read together."""
    groups: dict[tuple[object, ...], list[Seen]] = {}
    for seen in waiting:
        groups.setdefault(seen.size, []).append(seen)
    return list(groups.values())


def gains(query: Tensor) -> bool:
    """Whether a device gains from few large jobs: handing a GPU a job takes longer than the job itself."""
    return query.device.type != "cpu"


def joined(group: Sequence[Seen], images: int) -> Pair:
    """All queries and keys of a group (row query|key head*channel), in its order, with what is added to each row."""
    query, key = [seen.query for seen in group], [seen.key for seen in group]
    bias = _all_added([added for seen in group for added in seen.biases], images)
    return Pair(torch.cat(query), torch.cat(key), bias) if len(group) > 1 else Pair(query[0], key[0], bias)


def _all_added(biases: Sequence[Added], images: int) -> Added:
    """What is added to each row (row ...); to those of an entry without a bias 0, which changes nothing."""
    factors = [added if isinstance(added, OuterBias) else None for added in biases]
    if any(factors):
        queries = [None if added is None else added.query for added in factors]
        keys = [None if added is None else added.key for added in factors]
        return OuterBias(_rows(queries, images), _rows(keys, images))
    tensors = [added if isinstance(added, Tensor) else None for added in biases]
    return None if all(added is None for added in tensors) else _rows(tensors, images)


def _rows(parts: Sequence[Tensor | None], images: int) -> Tensor:
    """One after the other, each for all images of its entry; factors of fewer ranks are filled up with 0."""
    there = [part for part in parts if part is not None]
    shape = [images, *(max(sizes) for sizes in zip(*(part.shape[1:] for part in there), strict=True))]
    rows: list[Tensor] = []
    nothing = there[0].new_zeros(()) if len(there) < len(parts) else there[0]
    for part in parts:
        own = nothing if part is None else part
        if own.ndim and own.shape[-1] < shape[-1]:
            own = F.pad(own, (0, shape[-1] - own.shape[-1]))
        rows.append(own.expand(shape))
    return torch.cat(rows)
