"""Numbers of a prompt's maps: where a noun beats the others, how alike two maps are, what the start token takes."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny


def winning_mass(maps: Tensor) -> Tensor:
    """How much of each map's mass lies where it is larger than all the others.

    A thing that is drawn has a place where its noun gets the most attention; a noun that is beaten everywhere has none.

    Args:
        maps: (noun height width) float, not negative, each compared as a share of its own mass.

    Returns:
        (noun) float32 0..1; 1 for a noun alone, 0 for a map of nothing.

    >>> winning_mass(torch.tensor([[[3.0, 1.0]], [[1.0, 1.0]]])).tolist()
    [0.75, 0.5]
    """
    mass = _distributions(maps)
    if len(mass) < 2:
        return torch.ones(len(mass))
    best, first = mass.max(dim=0)
    second = mass.topk(2, dim=0).values[1]
    wins = torch.zeros_like(mass).scatter(0, first[None], (best > second)[None].to(mass.dtype))
    return (mass * wins).sum(dim=(-2, -1))


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """How alike maps are: 1 for the same pattern at any strength, 0 for maps that do not overlap.

    Args:
        one: (a height width) float, not negative.
        other: (b height width).

    Returns:
        (a b) float32 0..1.

    >>> cosines(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 0.0]], [[0.0, 1.0]]])).tolist()
    [[1.0, 0.0]]
    """
    flat = [maps.float().flatten(1) for maps in (one, other)]
    first, second = (maps / maps.norm(dim=1, keepdim=True).clamp(min=_TINY) for maps in flat)
    return (first @ second.T).clamp(0, 1)


def _distributions(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
