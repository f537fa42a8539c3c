"""Pictures with their names under them."""

from __future__ import annotations

import torch
from pack.scenescope.drawing.lettering import PAPER
from pack.scenescope.drawing.named import named


def test_pictures_stay_and_names_come_below_in_turn():
    """Oracle: the pictures above, and the same names below the pictures that have them; 26 is twice 13 letters."""
    pictures = torch.rand(4, 32, 96, 3)
    found = named(pictures, ["cat", "dog"])
    assert found.shape == (4, 32 + 26, 96, 3)
    assert torch.equal(found[:, :32], pictures)
    below = found[:, 32:]
    assert torch.equal(below[0], below[2])
    assert torch.equal(below[1], below[3])
    assert not torch.equal(below[0], below[1])
    assert torch.equal(below[0, 0, 0], torch.tensor(PAPER) / 255)


def test_without_names_pictures_are_as_they_were():
    """Oracle: the pictures."""
    pictures = torch.rand(2, 8, 8, 3)
    assert named(pictures, ()) is pictures
