"""A base model's name, whatever the host has done to its weights."""

from __future__ import annotations

import torch
from pack.scenescope.training.weights.digest import base_digest, enter_tensor
from torch import nn


def named(weight: torch.Tensor) -> str:
    """The name of one weight."""
    digest = base_digest()
    enter_tensor(digest, weight)
    return digest.hexdigest()


def test_a_weight_that_was_moved_outside_of_inference_mode_has_its_name():
    """Oracle: the name before the move; torch 2.11 refuses any view of such a parameter."""
    with torch.inference_mode():
        layer = nn.Linear(3, 2).requires_grad_(False)
        name = named(layer.weight)
    layer.to(torch.float64)
    assert named(layer.weight) == name
