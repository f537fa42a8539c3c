"""What several things of a scene cover together: the maximum of their masks first, then a smaller grid."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.dims import Grid
from pack.scenescope.training.scene.scene import Concept, build_scene

CAT, DOG = Concept("<cat0>", "cat"), Concept("<dog0>", "dog")


def box(size: Grid, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A mask (height width) that is 1 in a rectangle."""
    mask = torch.zeros(tuple(size))
    mask[top : top + height, left : left + width] = 1
    return mask


def picture(size: Grid) -> torch.Tensor:
    """Random pixels (1 height width 3)."""
    return torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(0))


def test_things_that_share_a_cell_fill_it_together():
    """Oracle: by hand: the maximum first: two halves of a cell column are all of it, also with the background."""
    size = Grid(64, 64)
    left, right = box(size, 0, 0, 64, 20), box(size, 0, 20, 64, 20)
    scene = build_scene(picture(size), [left, right], [CAT, DOG], background=Concept("<room>"))
    assert scene.union_on(scene.latent, 0, (0, 1)).tolist() == [[1.0] * 5 + [0.0] * 3] * 8
    assert scene.union_on(scene.latent, 0, (1, 0), flipped=True).tolist() == [[0.0] * 3 + [1.0] * 5] * 8
    assert scene.union_on(scene.latent, 0, (0,)).tolist() == [[1.0, 1.0, 0.5] + [0.0] * 5] * 8
    narrow = build_scene(picture(size), [box(size, 0, 0, 64, 20)], [CAT], background=Concept("<room>"))
    assert narrow.union_on(narrow.latent, 0, (0, 1)).tolist() == [[1.0] * 8] * 8


@pytest.mark.parametrize("resolution", [40, 56, 100])
def test_things_and_background_have_no_seam_in_a_scaled_scene_either(resolution):
    """Oracle: an invariant: whole masks and their complement cover every cell, whatever size is trained at."""
    size = Grid(70, 90)
    masks = [box(size, 0, 0, 70, 31), box(size, 0, 31, 35, 22)]
    scene = build_scene(picture(size), masks, [CAT, DOG], resolution=resolution, background=Concept("<room>"))
    assert scene.size != size
    assert torch.allclose(scene.union_on(scene.latent, 0, (0, 1, 2)), torch.ones(tuple(scene.latent)), atol=1e-6)
    both = build_scene(picture(size), [masks[0].maximum(masks[1])], [CAT], resolution=resolution)
    assert torch.allclose(scene.union_on(scene.latent, 0, (0, 1)), both.masks_on(both.latent)[0, 0], atol=2e-3)
