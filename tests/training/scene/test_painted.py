"""Paintings of many colours: what reading them costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.scenescope.cost import MOST_CONCEPTS
from pack.scenescope.errors import InputError
from pack.scenescope.training.scene.painted import colours_of, masks_by_colour
from torch.utils._python_dispatch import TorchDispatchMode


class Counted(TorchDispatchMode):
    """Counts what torch is asked to do, and the largest tensor that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it, and count."""
        made = func(*args, **(kwargs or {}))
        self.calls += 1
        self.largest = max(self.largest, made.numel() if isinstance(made, torch.Tensor) else 0)
        return made


def blocks(side: int) -> torch.Tensor:
    """A painting (height width 3) of blocks of three by three pixels, each of a random colour."""
    colours = torch.rand(side, side, 3, generator=torch.Generator().manual_seed(0))
    return colours.repeat_interleave(3, 0).repeat_interleave(3, 1)


def test_the_work_grows_with_the_number_of_colours_and_not_with_its_square():
    """Oracle: calls by hand, some twenty for each of 576 colours; comparing each with each took 400,000."""
    with Counted() as counted:
        strays = colours_of(blocks(24))[1]
    assert len(strays) > 300
    assert counted.calls < 30 * 24 * 24


def test_a_photo_as_a_painting_is_compared_a_part_at_a_time():
    """Oracle: by hand: 260,000 colours against 14 that are listed would be 3.6 million distances at once."""
    photo = torch.rand(512, 512, 3, generator=torch.Generator().manual_seed(1))
    photo[:72, :72] = torch.tensor([1.0, 0, 0])
    photo[72:84, :480] = torch.linspace(0, 1, 40).repeat_interleave(12)[:, None] * torch.tensor([0.0, 1, 1])
    with Counted() as counted:
        colours, _ = masks_by_colour(photo)
    assert colours == ((255, 0, 0),)
    assert counted.largest <= 2_000_000


def test_more_colours_than_a_scene_can_have_things_are_refused_before_their_masks_are_made():
    """Oracle: the sentence, and the numbers by hand: 81 squares 48 steps apart and more, on 1.2 % each."""
    steps = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8])
    cube = torch.cartesian_prod(steps, steps, steps)[:81].reshape(9, 9, 3)
    painted = cube.repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert len(colours_of(painted, ground=None)[0]) == 81 > MOST_CONCEPTS
    with pytest.raises(InputError, match="has 81 colours, and a scene has at most 64 things"):
        masks_by_colour(painted, ground=None)
