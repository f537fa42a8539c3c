"""Between grids by area."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.dims import Grid
from pack.scenescope.resample import Span, axis_weights, resize

cells = st.integers(1, 24)
grids = st.builds(Grid, st.integers(1, 12), st.integers(1, 12))


def picture(grid: Grid, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Two random maps of one head."""
    return torch.rand(2, 1, *grid, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=30)
@given(source=cells, target=cells)
def test_the_weights_are_those_of_intervals(source: int, target: int):
    """Oracle: intervals of exact fractions; a coarser cell is the mean of what it covers."""
    source, target = max(source, target), min(source, target)
    weights, covered = axis_weights(source, target, Span(0, source, source))
    for row in range(target):
        for column in range(source):
            low = max(Fraction(row, target), Fraction(column, source))
            high = min(Fraction(row + 1, target), Fraction(column + 1, source))
            assert abs(float(weights[row, column]) - float(max(high - low, 0) * target)) < 1e-12
    assert covered.tolist() == [1.0] * target


def _finer(one: Grid, other: Grid) -> Grid:
    return Grid(max(one.height, other.height), max(one.width, other.width))


def _coarser(one: Grid, other: Grid) -> Grid:
    return Grid(min(one.height, other.height), min(one.width, other.width))


def test_three_rows_become_two_and_two_columns_one():
    """Oracle: by hand; the middle row is shared."""
    maps = torch.tensor([[1.0, 3.0], [2.0, 6.0], [5.0, 7.0]])
    assert resize(maps, Grid(2, 1)).flatten().tolist() == pytest.approx([8 / 3, 16 / 3])


@settings(deadline=None, max_examples=30)
@given(source=grids, target=grids)
def test_the_mean_keeps_means(source: Grid, target: Grid):
    """Oracle: invariants, for any grid and any coarser one."""
    source, target = _finer(source, target), _coarser(source, target)
    maps = picture(source)
    assert resize(maps, target).shape == (2, 1, *target)
    assert torch.allclose(resize(maps, target).mean(dim=(-2, -1)), maps.mean(dim=(-2, -1)))


def test_height_and_width_are_not_confused():
    """Oracle: a picture that changes along its height alone."""
    maps = torch.tensor([[1.0] * 5, [2.0] * 5, [3.0] * 5, [4.0] * 5])
    assert torch.allclose(resize(maps, Grid(2, 3)), torch.tensor([[1.5] * 3, [3.5] * 3]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_type_is_kept(dtype: torch.dtype):
    """Oracle: the same in double precision, to the type's rounding."""
    maps = picture(Grid(6, 9), dtype)
    made = resize(maps, Grid(4, 3))
    assert made.dtype == dtype
    assert torch.allclose(made.double(), resize(maps.double(), Grid(4, 3)), atol=2 * torch.finfo(dtype).eps)


def test_the_same_grid_is_passed_on_as_it_is():
    """Oracle: identity."""
    maps = picture(Grid(4, 6))
    assert resize(maps, Grid(4, 6)) is maps


def test_weights_made_while_sampling_serve_training_too():
    """Oracle: the gradient by hand; the host samples in inference mode, and the weights are remembered."""
    axis_weights.cache_clear()
    with torch.inference_mode():
        resize(torch.rand(2, 4, 6), Grid(3, 4))
    maps = torch.rand(2, 4, 6, dtype=torch.float64, requires_grad=True)  # the weights' own type: no copy is made
    (4 * resize(maps, Grid(3, 4))).sum().backward()
    assert torch.allclose(maps.grad, torch.full((2, 4, 6), 2.0, dtype=torch.float64))
