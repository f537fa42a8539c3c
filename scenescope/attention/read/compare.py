"""Two records side by side: what a LoRA, a training or another seed changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from .heatmap import Heatmaps
from .normalise import SHARE_UNIT, ScaledMaps

FLOOR = 0.01
"""Part of the uniform share that is added on both sides of a ratio, so that nothing over nothing is 1."""


@dataclass(frozen=True)
class Comparison:
    """Two runs' maps of the same words, on one grid.

    Args:
        first: maps before.
        second: maps after, on the first one's grid.
        difference: (image height width word) float32, second minus first, in shares of attention.
        doublings: (image height width word) float32, log2 of the ratio second to first.
    """

    first: Heatmaps
    second: Heatmaps
    difference: Tensor
    doublings: Tensor


def compare(first: Heatmaps, second: Heatmaps) -> Comparison:
    """Subtract and divide two runs' maps.

    Args:
        first: maps before.
        second: maps after; of any grid, resampled to the first one's.

    Raises:
        InputError: the words differ, or the numbers of pictures.
    """
    if first.words != second.words or len(first.values) != len(second.values):
        got = f"{', '.join(first.words)} in {len(first.values)} pictures against "
        got += f"{', '.join(second.words)} in {len(second.values)}"
        raise InputError(
            f"Compare maps: the runs show {got}; expected the same words and as many pictures. "
            "Record both runs with the same words and batch."
        )
    second = second.on(first.grid)
    floors = FLOOR * torch.maximum(first.uniform, second.uniform)
    doublings = torch.log2((second.values + floors) / (first.values + floors))
    return Comparison(first, second, second.values - first.values, doublings)


def mean_change(comparison: Comparison) -> Tensor:
    """How much each word's map changed: the mean of the absolute difference, (image word) float32 share."""
    return comparison.difference.abs().mean(dim=(1, 2))


def difference_scaled(comparison: Comparison) -> ScaledMaps:
    """The absolute difference on one scale, for a mask of what changed."""
    values = comparison.difference.abs()
    most = values.amax()
    top = torch.where(most > 0, most, 1.0).expand(values.shape[0], values.shape[-1])
    return ScaledMaps(values, top, SHARE_UNIT, "runs", comparison.first.words)
