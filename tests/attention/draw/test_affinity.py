"""Self-attention as pictures and masks."""

from __future__ import annotations

import json

import pytest
import torch
from pack.scenescope.attention.draw.affinity import draw_components, draw_seen
from pack.scenescope.attention.draw.render import Style
from pack.scenescope.attention.read.affinity import components, seen_from
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError

GRID = Grid(3, 4)
STYLE = Style(Grid(24, 32), enlarging="cells")


def attention(images: int = 2) -> dict[Grid, torch.Tensor]:
    """Random self-attention of one grid, each row sums to 1."""
    made = torch.rand(images, GRID.cells, GRID.cells, generator=torch.Generator().manual_seed(5))
    return {GRID: made / made.sum(dim=-1, keepdim=True)}


def test_masks_are_the_maps_as_shares_of_the_largest_with_maps_outside_and_pictures_inside():
    """Oracle: the maps themselves, cell by cell, for two masks and two pictures."""
    where, maps = torch.rand(2, *GRID), attention()
    figure = draw_seen(maps, where, "auto", STYLE)
    seen = seen_from(maps[GRID], GRID, where)
    expected = (seen / seen.max()).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(figure.masks[:, ::8, ::8], expected)
    assert json.loads(figure.report)["largest share"] == pytest.approx(float(seen.max()))
    assert json.loads(figure.report)["maps"] == ["from mask 1", "from mask 2"]


def test_a_point_is_named_by_its_cell():
    """Oracle: by hand: three quarters of four columns, and the last of three rows."""
    figure = draw_seen(attention(1), (0.75, 1.0), "auto", STYLE)
    assert json.loads(figure.report)["maps"] == ["from row 2, column 3"]
    assert figure.images.min() < figure.images.max()


def test_components_are_drawn_around_the_middle():
    """Oracle: the components: nothing is 0.5, the largest of each map is 0 or 1, and the sign is kept."""
    maps = attention(1)
    figure = draw_components(maps, 3, "auto", STYLE)
    found = components(maps[GRID], GRID, 3).values[0]
    largest = found.abs().amax(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(figure.masks[:, ::8, ::8], 0.5 + found / largest / 2)


def test_no_mask_is_told():
    """Oracle: the sentence."""
    with pytest.raises(InputError, match="no mask is connected"):
        draw_seen(attention(), None, "auto", STYLE)
