"""Whether a recording is consistent: checked once, on loading, so that no reader has to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ...dims import Grid
from ...files.dataclass_json import demand
from ..record.block_shapes import BlockShape
from ..record.layers import AttentionLayer, Kind
from ..record.recording import Address, AttentionMap, Entry, Projection, Recording
from ..record.selection import Selection

_SIDE = 2**16
_COUNT = 2**20  # tokens, pictures, evaluations, orders
_SIZE = 2**31
_HALVINGS = 16
_BLOCKS = 512  # each is a row of a table and a box of a drawing; SDXL has 70
_NAME = 200  # characters; names are drawn in pictures
_NAMED_AGAIN = 64
"""How often the tensors of a description may be named, on average: a run's keys are those of every step."""

_Layers = Mapping[tuple[int, Kind], AttentionLayer]
_Entries = Mapping[tuple[str, int], Entry]


def check_recording(recording: Recording) -> None:
    """Refuse a recording in which one part contradicts another, or a number is one that no run has.

    Raises:
        MisfitError: the message says where.
    """
    demand(1 <= recording.images <= _COUNT, "images", "at least 1")
    demand(_is_grid(recording.latent), "latent", "a possible grid")
    demand(all(map(math.isfinite, recording.sigmas)), "sigmas", "finite numbers")
    demand(all(count >= 0 for count in recording.skipped.values()), "skipped", "counts")
    _check_selection(recording.selection)
    layers, entries = _layers(recording.layers), _entries(recording)
    demand(_rise([item.address for item in recording.maps]), "maps", "each address once, in order")
    for item in recording.maps:
        _check_address(item.address, recording, layers, entries)
        _check_map(item, recording.images, layers, entries)
    for at, projection in recording.projections.items():
        _check_address(at, recording, layers, entries)
        _check_projection(at, projection, recording.images, layers, entries)
    _check_shapes(recording.shapes)
    _check_repeats(recording)


def _check_selection(selection: Selection) -> None:
    region, share = selection.self_region, selection.queries_until
    demand(selection.budget >= 0 and 1 <= selection.self_times <= _SIDE, "selection", "possible numbers")
    demand(0 <= share <= 1, "queries_until", "a share of the run")
    fits = region is None or (region.ndim == 2 and max(region.shape) <= _SIDE and region.is_floating_point())
    demand(fits, "self_region", "height and width, floats")
    demand(all(map(_is_name, selection.branches)), "branches", "names")


def _layers(layers: Sequence[AttentionLayer]) -> _Layers:
    known = {(layer.order, layer.kind): layer for layer in layers}
    blocks = {layer.order: (layer.block, layer.place, layer.level) for layer in layers}
    demand(len(known) == len(layers), "layers", "each once")
    demand(len({name for name, *_ in blocks.values()}) == len(blocks), "layers", "a name for each block")
    for layer in layers:
        demand(blocks[layer.order] == (layer.block, layer.place, layer.level), "layer", "its block's name and level")
        demand(0 <= layer.order < _COUNT and 0 <= layer.level <= _HALVINGS, "layer", "possible numbers")
        demand(1 <= layer.heads <= _SIDE and 1 <= layer.head_width <= _SIDE, "layer", "possible numbers")
        demand(_is_name(layer.block), "layer.block", "a name")
    return known


def _entries(recording: Recording) -> _Entries:
    known = {(entry.branch, entry.index): entry for entry in recording.entries}
    demand(len(known) == len(recording.entries), "entries", "each once")
    for entry in recording.entries:
        demand(0 < entry.tokens <= _COUNT, "entry.tokens", f"1 to {_COUNT}")
        demand(0 <= entry.index < _COUNT and _is_name(entry.branch), "entry", "a branch and a place in it")
        demand(math.isfinite(entry.strength), "entry.strength", "a finite number")
        if entry.area is not None:
            demand(_is_inside(entry.area, recording.latent), "entry.area", "a part of the latent")
        if entry.table is not None:
            _check_table(entry)
    return known


def _check_table(entry: Entry) -> None:
    tokens = entry.table.tokens if entry.table is not None else ()
    demand(len(tokens) == entry.tokens, "table", "a token for each column")
    for at, token in enumerate(tokens):
        numbers = (token.chunk, token.position, token.vector, token.word or 0)
        demand(token.column == at, "table", "columns in order")
        demand(all(0 <= number < _COUNT for number in numbers), "token", "possible numbers")
        demand(token.vector < token.vectors <= _COUNT and math.isfinite(token.weight), "token", "possible numbers")


def _check_address(at: Address, recording: Recording, layers: _Layers, entries: _Entries) -> None:
    layer = layers.get((at.order, at.kind))
    demand(layer is not None and layer.block == at.block, "address", "one of the layers")
    demand((at.branch, at.entry) in entries, "address", "one of the entries")
    demand(0 <= at.step < recording.steps and 0 <= at.evaluation < _COUNT, "address", "a step of the run")


def _check_map(item: AttentionMap, images: int, layers: _Layers, entries: _Entries) -> None:
    at, shape = item.address, tuple(item.maps.shape)
    demand(item.maps.ndim == 4 and item.maps.is_floating_point(), "maps", "image, head, query and key, floats")
    demand(shape[0] == images, "maps", "a map for each picture")
    heads = layers[at.order, at.kind].heads
    demand(item.heads == heads and shape[1] in (1, heads), "heads", "the layer's heads or 1")
    demand(_is_grid(item.query_grid) and shape[2] == item.query_grid.cells, "query_grid", "the map's queries")
    demand((item.key_grid is None) == (at.kind == "cross"), "key_grid", "a grid for self-attention alone")
    keys = entries[at.branch, at.entry].tokens
    if item.key_grid is not None:
        demand(_is_grid(item.key_grid), "key_grid", "a possible grid")
        keys = item.key_grid.cells
    demand(shape[3] == keys, "maps", "the entry's tokens, or the key grid's cells, as keys")


def _check_projection(at: Address, item: Projection, images: int, layers: _Layers, entries: _Entries) -> None:
    demand(item.query.ndim == item.key.ndim == 3, "projection", "image, query or token, and channel")
    demand(item.query.shape[0] == item.key.shape[0] == images, "projection", "one for each picture")
    demand(item.query.shape[2] == item.key.shape[2], "projection", "one width for query and key")
    heads = layers[at.order, at.kind].heads
    demand(item.heads == heads and item.query.shape[2] % heads == 0, "projection.heads", "the layer's heads")
    demand(_is_grid(item.query_grid) and item.query.shape[1] == item.query_grid.cells, "query_grid", "its queries")
    keys = entries[at.branch, at.entry].tokens if at.kind == "cross" else item.query_grid.cells
    demand(item.key.shape[1] == keys, "projection", "the entry's tokens, or the grid's cells, as keys")
    _check_scale(item.query, item.query_scale)
    _check_scale(item.key, item.key_scale)


def _check_scale(values: Tensor, scale: Tensor | None) -> None:
    demand((scale is not None) == (values.dtype == torch.int8), "projection", "a scale for int8 alone")
    fits = scale is None or (scale.is_floating_point() and scale.shape == (*values.shape[:2], 1))
    demand(fits, "projection", "a scale a row")


def _check_shapes(rows: Sequence[BlockShape]) -> None:
    demand(len(rows) <= _BLOCKS and _rise([row.order for row in rows]), "shapes", "each block once, in order")
    for row in rows:
        sizes = [*row.features_in, *row.features_out]
        for layer in row.attention:
            sizes += [*layer.query, *layer.key, layer.heads, layer.head_width]
            widths = {layer.query[2], layer.key[2], layer.heads * layer.head_width}
            demand(len(widths) == 1 and layer.query[0] == layer.key[0], "shapes", "one batch and one width")
        demand(all(0 < size < _SIZE for size in sizes), "shapes", "possible sizes")
        demand(0 <= row.order < _COUNT and 0 <= row.level <= _HALVINGS, "shapes", "possible numbers")
        once = len({layer.kind for layer in row.attention}) == len(row.attention)
        demand(_is_name(row.block) and once and len(row.attention) > 0, "shapes", "a name, and each kind once")
        demand(isinstance(getattr(torch, row.dtype, None), torch.dtype), "shapes.dtype", "a type of numbers")


def _check_repeats(recording: Recording) -> None:
    """A short description that names one large tensor very often would keep every reader busy for a long time."""
    named = [item.maps for item in recording.maps]
    for projection in recording.projections.values():
        named += projection.tensors
    held = {id(tensor): tensor.nbytes for tensor in named}
    most = _NAMED_AGAIN * max(1_000_000, sum(held.values()))
    demand(sum(tensor.nbytes for tensor in named) <= most, "tensors", "fewer uses of the same tensors")


def _rise(values: Sequence[int] | Sequence[Address]) -> bool:
    return all(one < other for one, other in pairwise(values))  # type: ignore[operator]


def _is_grid(grid: Iterable[int]) -> bool:
    return all(0 < side <= _SIDE for side in grid)


def _is_inside(area: tuple[int, int, int, int], latent: Grid) -> bool:
    height, width, top, left = area
    starts = min(height, width) > 0 and min(top, left) >= 0
    return starts and top + height <= latent.height and left + width <= latent.width


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _NAME and text.isprintable()
