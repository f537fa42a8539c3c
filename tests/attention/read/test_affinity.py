"""What belongs together: self-attention from a place, and its components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pack.scenescope.attention.read.affinity import choose_grid, components, point_mask, seen_from
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError

GRID = Grid(3, 4)


def rows(seed: int, images: int = 2, grid: Grid = GRID) -> torch.Tensor:
    """Random self-attention (image query key) float32, each row sums to 1."""
    made = torch.rand(images, grid.cells, grid.cells, generator=torch.Generator().manual_seed(seed))
    return made / made.sum(dim=-1, keepdim=True)


def test_a_mask_sees_the_mean_of_what_its_places_see():
    """Oracle: the sum written out in float64, place by place, weighted by the mask."""
    maps, mask = rows(1), torch.rand(2, *GRID)
    found = seen_from(maps, GRID, mask)
    for image in range(2):
        for which in range(2):
            weights = mask[which].double().flatten()
            expected = sum(float(weight) * maps[image, at].double() for at, weight in enumerate(weights))
            expected = expected / float(weights.sum())
            torch.testing.assert_close(found[image, which].double().flatten(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.sum(dim=(-2, -1)), torch.ones(2, 2))


@pytest.mark.parametrize(("x", "y", "cell"), [(0, 0, 0), (0.49, 0.5, 5), (0.5, 0.5, 6), (1, 1, 11)])
def test_a_point_sees_what_its_cell_sees(x, y, cell):
    """Oracle: by hand, for a grid of 3 rows and 4 columns: the row of the cell that the point lies in."""
    maps = rows(2)
    found = seen_from(maps, GRID, point_mask(x, y, GRID))
    torch.testing.assert_close(found[:, 0].flatten(1), maps[:, cell])


def test_an_empty_mask_is_refused():
    """Oracle: the sentence."""
    with pytest.raises(InputError, match="a mask is empty"):
        seen_from(rows(1), GRID, torch.zeros(1, *GRID))


def test_components_are_those_of_the_rows():
    """Oracle: numpy's singular values of the centred rows in float64, but for the sign."""
    maps = rows(3)
    found = components(maps, GRID, 4)
    for image in range(2):
        matrix = maps[image].double().numpy()
        left, strengths, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
        np.testing.assert_allclose(found.shares[image], (strengths**2 / (strengths**2).sum())[:4], rtol=1e-5)
        for at in range(4):
            expected, got = left[:, at] * strengths[at], found.values[image, at].flatten().numpy()
            np.testing.assert_allclose(got, expected * np.sign(expected[np.abs(expected).argmax()]), atol=1e-6)


def test_two_halves_that_look_at_themselves_are_one_component():
    """Oracle: by hand: one half has the value of the other with the other sign, and nothing else differs."""
    side = torch.arange(GRID.cells) % GRID.width < 2
    maps = (side[:, None] == side[None]).float()[None] / 6
    found = components(maps, GRID, 2)
    torch.testing.assert_close(found.shares, torch.tensor([[1.0, 0.0]]), atol=1e-6, rtol=0)
    first = found.values[0, 0]
    torch.testing.assert_close(first[:, :2], -first[:, 2:])
    assert first.abs().min() > 0.1


def test_as_many_components_as_cells_are_refused():
    """Oracle: the sentence; centred rows of twelve cells have eleven."""
    with pytest.raises(InputError, match="it has 1 to 11"):
        components(rows(1), GRID, 12)


def test_the_grid_nearest_to_sixteen_is_chosen_by_itself():
    """Oracle: by hand."""
    attention = dict.fromkeys((Grid(64, 64), Grid(16, 24), Grid(8, 8)), torch.empty(0))
    assert choose_grid(attention, "auto") == Grid(16, 24)
    assert choose_grid(attention, "finest") == Grid(64, 64)
    assert choose_grid(attention, "coarsest") == Grid(8, 8)
