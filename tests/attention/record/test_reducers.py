"""What is kept of a map, fed a few rows at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.record.reducers import Pooled, RegionMean, Unreduced, reduce_heads
from pack.scenescope.attention.record.scores import attention_in_chunks, attention_scores
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError

HEADS, WIDTH = 2, 4
SOURCE = Grid(4, 6)
grids = st.builds(Grid, st.integers(1, 6), st.integers(1, 6))


def self_maps(grid: Grid = SOURCE, images: int = 2) -> torch.Tensor:
    """Self-attention maps (image head query key) of a random picture, far from uniform."""
    generator = torch.Generator().manual_seed(grid.cells)
    query, key = (2 * torch.randn(images, grid.cells, HEADS * WIDTH, generator=generator) for _ in range(2))
    return attention_scores(query, key, HEADS)


def feed(reducer: object, maps: torch.Tensor, rows: int = 5) -> torch.Tensor:
    """Give a reducer its rows a few at a time, the last ones first."""
    for start in reversed(range(0, maps.shape[2], rows)):
        part = slice(start, min(start + rows, maps.shape[2]))
        reducer.add(part, maps[:, :, part])
    return reducer.result()


def cell_weights(source: Grid, target: Grid) -> torch.Tensor:
    """How much of each source cell lies in each target cell (target source), by counting fine cells one by one."""
    made = torch.zeros(target.cells, source.cells, dtype=torch.float64)
    rows, columns = source.height * target.height, source.width * target.width
    for row in range(rows):
        for column in range(columns):
            into = (row // source.height) * target.width + column // source.width
            out_of = (row // target.height) * source.width + column // target.width
            made[into, out_of] += 1
    return made / (target.height * target.width)


def test_heads_are_averaged_or_kept():
    """Oracle: by hand."""
    maps = torch.tensor([[[[0.2, 0.8]], [[0.6, 0.4]]]])
    assert torch.allclose(reduce_heads(maps, "mean"), torch.tensor([[[[0.4, 0.6]]]]))
    assert reduce_heads(maps, "each") is maps


@pytest.mark.parametrize("precision", [torch.float16, torch.float32])
def test_whole_keeps_everything_in_the_type_wanted(precision: torch.dtype):
    """Oracle: the map itself, rounded."""
    maps = self_maps()
    kept = feed(Unreduced(SOURCE.cells, precision), maps)
    assert kept.dtype == precision
    assert torch.equal(kept, maps.to(precision))


@settings(deadline=None, max_examples=40)
@given(source=grids, target=grids, rows=st.integers(1, 40))
def test_pooling_in_chunks_equals_the_full_matrix_product(source: Grid, target: Grid, rows: int):
    """Oracle: float64: means over query cells, sums over key cells, from weights counted cell by cell."""
    target = Grid(min(source.height, target.height), min(source.width, target.width))
    maps = self_maps(source)
    pooled = feed(Pooled(source, target), maps, rows)
    sums = cell_weights(source, target)
    means = sums / sums.sum(dim=1, keepdim=True)
    assert torch.allclose(pooled.double(), means @ maps.double() @ sums.T, atol=1e-5)
    assert torch.allclose(pooled.sum(dim=-1), torch.ones(1), atol=1e-5)


def test_pooling_never_holds_the_map_whole():
    """Oracle: counted: the most numbers that any chunk and the result have, against the map's."""
    grid, target = Grid(12, 16), Grid(6, 8)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, grid.cells, HEADS * WIDTH, generator=generator) for _ in range(2))
    pooled, largest = Pooled(grid, target), 0
    for rows, maps in attention_in_chunks(query, key, HEADS, chunk_bytes=16 * 1024):
        largest = max(largest, maps.numel() * 4)
        pooled.add(rows, maps)
    assert largest <= 16 * 1024 < HEADS * grid.cells**2 * 4
    whole = feed(Pooled(grid, target), attention_scores(query, key, HEADS), rows=grid.cells)
    assert torch.allclose(pooled.result(), whole, atol=1e-6)


def test_a_region_of_one_cell_is_that_cells_row():
    """Oracle: the row itself, summed into the coarser grid by hand."""
    maps, region = self_maps(), torch.zeros(4, 6)
    region[2, 3] = 1
    kept = feed(RegionMean(region, SOURCE, Grid(2, 3)), maps)
    row = maps[:, :, 2 * 6 + 3].unflatten(-1, (2, 2, 3, 2)).sum(dim=(-3, -1)).flatten(-2)
    assert kept.shape == (2, HEADS, 1, 6)
    assert torch.allclose(kept[:, :, 0], row, atol=1e-6)


def test_a_region_is_averaged_by_its_weights_at_any_size():
    """Oracle: float64 loops; a region of the picture's size, half of one cell and all of the next."""
    maps, region = self_maps(), torch.zeros(32, 48)
    region[0:8, 4:16] = 1
    kept = feed(RegionMean(region, SOURCE, SOURCE), maps)
    truth = (0.5 * maps[:, :, 0].double() + maps[:, :, 1].double()) / 1.5
    assert torch.allclose(kept[:, :, 0].double(), truth, atol=1e-6)
    assert torch.allclose(kept.sum(dim=-1), torch.ones(1), atol=1e-5)


def test_an_empty_region_is_refused():
    """Oracle: the message."""
    with pytest.raises(InputError, match="the mask is empty. Paint white"):
        RegionMean(torch.zeros(8, 8), SOURCE, SOURCE)


@pytest.mark.parametrize(
    "reducer", [Unreduced(4, torch.float16), Pooled(SOURCE, SOURCE), RegionMean(torch.ones(4, 6), SOURCE, SOURCE)]
)
def test_a_reducer_that_was_given_nothing_says_so(reducer: object):
    """Oracle: the message."""
    with pytest.raises(InputError, match="nothing was added yet"):
        reducer.result()
