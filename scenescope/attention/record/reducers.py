"""What is kept of a map: fewer heads, fewer queries, fewer keys; fed a few queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange, reduce
from torch import Tensor

from ...dims import Grid
from ...errors import InputError
from ...resample import Span, axis_weights, resize
from .budget import RunSpec, self_grid
from .layers import AttentionLayer, Kind
from .pairs import Pair, Seen, joined
from .recording import Entry, Projection
from .scores import OuterBias, attention_in_chunks, fold_repeats, repeated
from .selection import Heads, Selection


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


class Constants:
    """Weights for the reducers, made once and kept on the device, because each upload would wait for it."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}

    def like(self, maps: Tensor, name: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The weights of this name, of the maps' type and on their device."""
        at = (name, maps.device, maps.dtype)
        if at not in self._kept:
            self._kept[at] = make().to(maps)
        return self._kept[at]


class SelfReducer(Protocol):
    """Streams a self-attention map: `add` its rows in any order, then read `result` once."""

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""

    def result(self) -> Tensor:
        """The reduced map (batch head query key) float32."""


class Unreduced:
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
            batch, head, count, key = maps.shape
            if count == self._queries:  # all at once
                self._kept = maps.to(self._precision)
                return
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
        constants: of a whole run, so that its layers share their weights.

    >>> pooled = Pooled(Grid(2, 2), Grid(1, 1))
    >>> pooled.add(slice(0, 4), torch.full((1, 1, 4, 4), 0.25))
    >>> pooled.result().tolist()
    [[[[1.0]]]]
    """

    def __init__(self, source: Grid, target: Grid, constants: Constants | None = None) -> None:
        self._source, self._target = source, target
        self._constants = constants or Constants()
        self._sum: Tensor | None = None

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""
        keys = _key_sums(maps, self._source, self._target, self._constants)  # (batch head query key')
        down = self._constants.like(maps, ("down", self._source, self._target), self._down)[:, rows]
        across = self._constants.like(maps, ("across", self._source, self._target), self._across)[:, rows]
        weights = (down[:, None] * across[None]).flatten(0, 1)  # (query' query)
        part = weights @ keys  # (batch head query' key')
        self._sum = part if self._sum is None else self._sum + part

    def result(self) -> Tensor:
        """The pooled map (batch head query' key') float32."""
        return _given(self._sum)

    def _down(self) -> Tensor:
        """How much of each query's row counts for each row of the target: (height' query)."""
        cells = torch.arange(self._source.cells)
        return _means(self._source.height, self._target.height).float()[:, cells // self._source.width]

    def _across(self) -> Tensor:
        """The same for columns: (width' query)."""
        cells = torch.arange(self._source.cells)
        return _means(self._source.width, self._target.width).float()[:, cells % self._source.width]


class RegionMean:
    """Reduces a map to one row: where the queries of a region look, on average.

    Args:
        region: (height width) float, weights 0..1 of the picture's positions, of any size.
        source: grid of the layer.
        target: grid wanted for the keys.
        constants: of a whole run; None for this layer alone.
        name: the region's, among the constants.

    Raises:
        InputError: the region is empty.
    """

    def __init__(
        self, region: Tensor, source: Grid, target: Grid, constants: Constants | None = None, name: Hashable = None
    ) -> None:
        weights = resize(region.float(), source).flatten()
        if float(weights.sum()) <= 0:
            raise InputError("Self-attention region: the mask is empty. Paint white where to look from.")
        self._weights, self._source, self._target = weights / weights.sum(), source, target
        self._constants, self._name = constants or Constants(), ("region", name, source)
        self._sum: Tensor | None = None

    def add(self, rows: slice, maps: Tensor) -> None:
        """Take the maps (batch head query key) of some queries."""
        weights = self._constants.like(maps, self._name, lambda: self._weights)
        part = weights[rows] @ maps  # (batch head key)
        self._sum = part if self._sum is None else self._sum + part

    def result(self) -> Tensor:
        """The mean map (batch head 1 key) float32."""
        return _key_sums(_given(self._sum), self._source, self._target, self._constants).unsqueeze(2)


@dataclass(frozen=True)
class Looked:
    """What is kept of rows that were read together.

    Args:
        maps: (row head query key), as they are kept; None where none are.
        kept: their queries and keys; None where none are kept.
    """

    maps: Tensor | None
    kept: Projection | None


class MapMaker:
    """Makes the maps that a run keeps of its layers' queries and keys.

    Args:
        run: the run's size.
        selection: what is kept.
        chunk_bytes: the most that one piece of an attention map may take while it is computed.
    """

    def __init__(self, run: RunSpec, selection: Selection, chunk_bytes: int) -> None:
        self._latent, self._images, self._selection, self._chunk_bytes = run.latent, run.images, selection, chunk_bytes
        self._constants = Constants()

    def of_cross(self, pair: Pair, layer: AttentionLayer, entry: Entry) -> Tensor:
        """Maps (row head query token), without the host's repeats of a prompt."""
        whole = Unreduced(pair.query.shape[1], self._selection.precision)
        repeats = pair.key.shape[1] // entry.tokens
        bias = repeated(pair.bias, repeats) if isinstance(pair.bias, Tensor) else pair.bias
        for rows, maps in self._chunks(pair, layer, bias):
            whole.add(rows, reduce_heads(fold_repeats(maps, entry.tokens), self._selection.heads))
        return whole.result()

    def of_self(self, pair: Pair, layer: AttentionLayer, grid: Grid, entry: Entry) -> Tensor:
        """Maps (row head query key) on the grid they are kept on; one query where they are of a region."""
        region, target = self.region(entry), self.target(grid, entry)
        reducer: SelfReducer
        if region is not None:
            reducer = RegionMean(region, grid, target, self._constants, entry.area)
        elif target == grid:
            reducer = Unreduced(pair.query.shape[1], self._selection.precision)
        else:
            reducer = Pooled(grid, target, self._constants)
        for rows, maps in self._chunks(pair, layer, pair.bias):
            reducer.add(rows, reduce_heads(maps, self._selection.heads))
        return reducer.result().to(dtype=self._selection.precision)

    def of_group(self, group: Sequence[Seen], *, queries: bool) -> Looked | None:
        """What is kept of layers of one size, made at once; None where each has to be looked at alone.

        Args:
            group: the layers.
            queries: whether their queries and keys are kept too.
        """
        try:
            return self._looked(joined(group, self._images), group[0], group[0].entries[0], queries)
        except Exception:  # noqa: BLE001 - no room for all, say: alone, each shows an error that is its own
            return None

    def of_entry(self, seen: Seen, index: int, *, queries: bool) -> Looked:
        """What is kept of the entry at a place of a layer's batch."""
        return self._looked(seen.pair(index, self._images), seen, seen.entries[index], queries)

    def is_large(self, seen: Seen) -> bool:
        """Whether a map is too large to be made together with others: more than an eighth of a piece."""
        row_bytes = seen.layer.heads * seen.key.shape[1] * torch.finfo(torch.float32).bits // 8
        return seen.query.shape[0] * seen.query.shape[1] * row_bytes * 8 > self._chunk_bytes

    def grids(self, kind: Kind, grid: Grid, entry: Entry) -> tuple[Grid, Grid | None]:
        """The grids that queries and keys of a kept map have; cross-attention's keys have none."""
        if kind == "cross":
            return grid, None
        target = self.target(grid, entry)
        return (target if self._selection.self_region is None else Grid(1, 1)), target

    def target(self, grid: Grid, entry: Entry) -> Grid:
        """The grid that a layer's self-attention is kept on."""
        return self_grid(grid, entry.extent(self._latent), self._selection)

    def region(self, entry: Entry) -> Tensor | None:
        """The region to look from (height width), cropped to the entry's area; None for every place."""
        region = self._selection.self_region
        if region is None or entry.area is None:
            return region
        height, width, top, left = entry.area
        return resize(region.float(), self._latent)[top : top + height, left : left + width]

    def _looked(self, pair: Pair, seen: Seen, entry: Entry, queries: bool) -> Looked:
        layer, grid, maps, kept = seen.layer, seen.grid, None, None
        if layer.kind == "cross":
            maps = self.of_cross(pair, layer, entry)
        elif "self" in self._selection.kinds:
            maps = self.of_self(pair, layer, grid, entry)
        if queries:
            keys = entry.tokens if layer.kind == "cross" else None  # the host's repeats say nothing new
            whole = Projection(pair.query, pair.key[:, :keys], layer.heads, grid)
            kept = whole.kept_as(self._selection.query_dtype)
        return Looked(maps, kept)

    def _chunks(
        self, pair: Pair, layer: AttentionLayer, bias: Tensor | OuterBias | None
    ) -> Iterator[tuple[slice, Tensor]]:
        return attention_in_chunks(pair.query, pair.key, layer.heads, bias=bias, chunk_bytes=self._chunk_bytes)


def _key_sums(maps: Tensor, source: Grid, target: Grid, constants: Constants) -> Tensor:
    """Sum shares (... key) over the cells of a coarser grid: (... key')."""
    if source == target:
        return maps
    rows = constants.like(maps, ("rows", source, target), lambda: _means(source.height, target.height))
    columns = constants.like(maps, ("columns", source, target), lambda: _means(source.width, target.width))
    grid = rearrange(maps, "... (height width) -> ... height width", height=source.height)
    return (rows @ grid @ columns.mT * (source.cells / target.cells)).flatten(-2)


def _means(source: int, target: int) -> Tensor:
    """The mean over what each cell of a coarser axis covers: (target source) float64."""
    return axis_weights(source, target, Span(0, source, source))[0]


def _given(kept: Tensor | None) -> Tensor:
    if kept is None:
        raise InputError("Self-attention reducer: nothing was added yet. Add maps before reading.")
    return kept
