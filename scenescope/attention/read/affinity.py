"""What belongs together: self-attention from a point or a mask, and its leading components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ...dims import Grid
from ...errors import InputError
from ...resample import resize
from ..record.choices import CLEAR_CELLS

GridChoice = Literal["auto", "finest", "coarsest"]
GRID_CHOICES: tuple[GridChoice, ...] = get_args(GridChoice)


@dataclass(frozen=True)
class Components:
    """Leading components of self-attention.

    Args:
        values: (image component height width) float32, signed: places of like value look at like places.
        shares: (image component) float32, how much of all difference between the places each explains, 0..1.
    """

    values: Tensor
    shares: Tensor


def choose_grid(attention: Mapping[Grid, Tensor], choice: GridChoice) -> Grid:
    """Pick one of the grids that were recorded.

    Args:
        attention: what `self_attention` returned.
        choice: `auto` is the grid nearest to 16x16 cells.
    """
    if choice == "auto":
        return min(attention, key=lambda grid: (abs(math.log2(grid.cells / CLEAR_CELLS)), -grid.cells))
    return (max if choice == "finest" else min)(attention, key=lambda grid: grid.cells)


def point_mask(x: float, y: float, grid: Grid) -> Tensor:
    """The cell that a point of the picture lies in, (1 height width) 0 or 1; x from the left, y from the top, 0..1."""
    mask = torch.zeros(1, *grid)
    mask[0, min(int(y * grid.height), grid.height - 1), min(int(x * grid.width), grid.width - 1)] = 1
    return mask


def seen_from(maps: Tensor, grid: Grid, masks: Tensor) -> Tensor:
    """Average the self-attention of the places of a mask.

    Args:
        maps: (image query key) float, each row sums to 1.
        grid: of the queries and of the keys.
        masks: (mask height width) 0..1, of any size.

    Returns:
        (image mask height width) float32 shares of attention; each map sums to 1.

    Raises:
        InputError: a mask is empty.
    """
    weights = resize(masks.float(), grid).flatten(1)  # (mask query)
    total = weights.sum(dim=1, keepdim=True)
    if not bool((total > 0).all()):
        raise InputError(
            "Self-Attention Map: a mask is empty, so there is nowhere to look from. Paint where to look from, or "
            "choose point."
        )
    return ((weights / total) @ maps.float()).unflatten(-1, tuple(grid))


def components(maps: Tensor, grid: Grid, count: int) -> Components:
    """Find the patterns by which the places of a picture differ most in what they look at.

    Source: principal components of the rows of the self-attention matrix; prompt-to-prompt's `show_self_attention_comp`
    draws the same decomposition without taking the mean row away.

    Args:
        maps: (image query key) float, each row sums to 1.
        grid: of the queries.
        count: components wanted, from 1; at most one fewer than there are cells.

    Raises:
        InputError: more components than there can be are wanted.
    """
    if not 1 <= count < grid.cells:
        raise InputError(
            f"Self-Attention Map: {count} components of a grid of {grid} are wanted; it has 1 to {grid.cells - 1}. "
            "Choose fewer, or a finer grid."
        )
    rows = maps.double()
    centred = rows - rows.mean(dim=1, keepdim=True)
    variances, directions = torch.linalg.eigh(centred @ centred.transpose(1, 2))  # from small to large
    variances = variances.clamp(min=0).flip(-1)
    scores = directions.flip(-1)[..., :count] * variances[:, None, :count].sqrt()  # (image query component)
    largest = scores.gather(1, scores.abs().argmax(dim=1, keepdim=True))
    scores = scores * torch.where(largest < 0, -1.0, 1.0)
    total = variances.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    values = scores.transpose(1, 2).unflatten(-1, tuple(grid))
    return Components(values.float(), (variances[:, :count] / total).float())
