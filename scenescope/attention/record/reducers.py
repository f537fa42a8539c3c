"""What is kept of a map: fewer heads, fewer queries, fewer keys; fed a few queries at a time."""

from __future__ import annotations

from typing import Protocol

import torch
from einops import rearrange, reduce
from torch import Tensor

from ...dims import Grid
from ...errors import InputError
from ...resample import Span, axis_weights, resize, resize_sums
from .selection import Heads


def reduce_heads(maps: Tensor, heads: Heads) -> Tensor:
    """Keep every head, or their mean.

    Args:
        maps: (batch head query key) float.
        heads: `mean` or `each`.

    Returns:
        (batch head query key), one head for `mean`.

    >>> reduce_heads(torch.tensor([[[[1.0]], [[3.0]]]]), "mean").tolist()
    [[[[2.0]]]]
    """
    return reduce(maps, "batch head query key -> batch 1 query key", "mean") if heads == "mean" else maps


class SelfReducer(Protocol):
    """Streams a self-attention map: `add` its rows in any order, then read `result` once."""

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""

    def result(self) -> Tensor:
        """The reduced map (batch head query key) float32."""


class Whole:
    """Keeps every query and key, in the type wanted, so that no float32 copy of the whole is ever held.

    Args:
        queries: rows that will come.
        precision: type to keep.
    """

    def __init__(self, queries: int, precision: torch.dtype) -> None:
        self._queries, self._precision = queries, precision
        self._kept: Tensor | None = None

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""
        if self._kept is None:
            batch, head, _, key = maps.shape
            self._kept = maps.new_empty((batch, head, self._queries, key), dtype=self._precision)
        self._kept[:, :, rows] = maps.to(self._precision)

    def result(self) -> Tensor:
        """The map (batch head query key) in the type wanted."""
        return _given(self._kept)


class Pooled:
    """Reduces a map towards a coarser grid: means over the queries of a cell, sums over the keys of a cell.

    Rows go on summing to 1, so the result is the self-attention of the coarser picture.

    Args:
        source: grid of the layer.
        target: grid wanted.

    >>> pooled = Pooled(Grid(2, 2), Grid(1, 1))
    >>> pooled.add(slice(0, 4), torch.full((1, 1, 4, 4), 0.25))
    >>> pooled.result().tolist()
    [[[[1.0]]]]
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        self._source, self._target = source, target
        height, width = source
        self._rows = axis_weights(height, target.height, Span(0, height, height))[0].float()  # (height' height)
        self._columns = axis_weights(width, target.width, Span(0, width, width))[0].float()  # (width' width)
        self._sum: Tensor | None = None

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""
        height, width = self._source
        grid = rearrange(maps, "batch head query (height width) -> batch head query height width", height=height)
        keys = resize_sums(grid, self._target).flatten(-2)  # (batch head query key')
        cells = torch.arange(rows.start, rows.stop)
        down = self._rows[:, cells // width].to(maps)  # (height' query)
        across = self._columns[:, cells % width].to(maps)  # (width' query)
        weights = (down[:, None] * across[None]).flatten(0, 1)  # (query' query)
        part = weights @ keys  # (batch head query' key')
        self._sum = part if self._sum is None else self._sum + part

    def result(self) -> Tensor:
        """The pooled map (batch head query' key') float32."""
        return _given(self._sum)


class RegionMean:
    """Reduces a map to one row: where the queries of a region look, on average.

    Args:
        region: (height width) float, weights 0..1 of the picture's positions, of any size.
        source: grid of the layer.
        target: grid wanted for the keys.

    Raises:
        InputError: the region is empty.
    """

    def __init__(self, region: Tensor, source: Grid, target: Grid) -> None:
        weights = resize(region.float(), source).flatten()
        if float(weights.sum()) <= 0:
            raise InputError(
                "Self-attention region: the region is empty; expected a mask with some white. Paint where to look from."
            )
        self._weights, self._source, self._target = weights / weights.sum(), source, target
        self._sum: Tensor | None = None

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""
        part = self._weights[rows].to(maps) @ maps  # (batch head key)
        self._sum = part if self._sum is None else self._sum + part

    def result(self) -> Tensor:
        """The mean map (batch head 1 key) float32."""
        grid = _given(self._sum).unflatten(-1, tuple(self._source))
        return resize_sums(grid, self._target).flatten(-2).unsqueeze(2)


def _given(kept: Tensor | None) -> Tensor:
    if kept is None:
        raise InputError(
            "Self-attention reducer: it was given no rows; expected at least one. Add maps before reading."
        )
    return kept
