"""Between grids: exact area weights, so that shares of attention are neither made nor lost."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..dims import Grid


@lru_cache(maxsize=256)
def area_overlap(source: int, target: int) -> Tensor:
    """How much of each source cell lies in each target cell, along one axis.

    Args:
        source: cells before.
        target: cells after; finer, coarser, or no multiple.

    Returns:
        (target source) float64 shares of a source cell, each column sums to 1. Treat as read-only.

    >>> area_overlap(3, 2).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    with torch.inference_mode(False):  # cached: a tensor born in inference mode could never be trained through
        starts = torch.arange(source, dtype=torch.float64)[None, :] * target
        cells = torch.arange(target, dtype=torch.float64)[:, None] * source
        low = torch.maximum(starts, cells)
        high = torch.minimum(starts + target, cells + source)
        return (high - low).clamp(min=0) / target  # (target source)


def area_mean(maps: Tensor, target: Grid) -> Tensor:
    """Resample maps by area: every target cell is the mean of what it covers.

    Args:
        maps: (... height width) float.
        target: the grid wanted.

    Returns:
        (... height width) of the target, same type; the mean over the picture is kept.

    >>> area_mean(torch.tensor([[0., 2.], [4., 6.]]), Grid(1, 2)).tolist()
    [[2.0, 4.0]]
    """
    if maps.shape[-2:] == target:
        return maps
    rows = _mean_weights(maps.shape[-2], target.height).to(maps)
    columns = _mean_weights(maps.shape[-1], target.width).to(maps)
    return torch.einsum("...hw,Hh,Ww->...HW", maps, rows, columns)


def area_sum(maps: Tensor, target: Grid) -> Tensor:
    """Resample shares by area: every target cell is the sum of what falls into it.

    Args:
        maps: (... height width) float.
        target: the grid wanted.

    Returns:
        (... height width) of the target, same type; the sum over the picture is kept.

    >>> area_sum(torch.tensor([[0., 2.], [4., 6.]]), Grid(1, 2)).tolist()
    [[4.0, 8.0]]
    """
    if maps.shape[-2:] == target:
        return maps
    rows = area_overlap(maps.shape[-2], target.height).to(maps)
    columns = area_overlap(maps.shape[-1], target.width).to(maps)
    return torch.einsum("...hw,Hh,Ww->...HW", maps, rows, columns)


def _mean_weights(source: int, target: int) -> Tensor:
    overlap = area_overlap(source, target)
    return overlap / overlap.sum(dim=1, keepdim=True)
