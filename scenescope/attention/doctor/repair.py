"""A place for what is missing, and the found things held in theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..read.heatmap import heatmaps
from ..read.view import View, level_name
from ..record.recording import Recording
from ..words.find import WordMatch
from .diagnosis import Diagnosis

CUT = 0.6
"""Of a noun's maximum: where a thing is. Measured on the demo model's finest grid, up blocks: IoU 0.80."""
LARGEST = 0.44
"""Side of the place for a missing thing, in shorter sides of the picture, at most: 7 of 16 cells of the demo model."""
FINEST = 32
"""Cells of the latent's shorter side above which the finest grid is left for the next one, as it is noisy in SD1.5."""


@dataclass(frozen=True)
class Placed:
    """One thing and its place.

    Args:
        words: the phrase, as `find_words` finds it.
        mask: (height width) float32 0 or 1 on the latent's grid.
        missing: whether it was missing, and the place is a free one.
    """

    words: str
    mask: Tensor
    missing: bool


def repair(recording: Recording, diagnosis: Diagnosis, view: View) -> tuple[Placed, ...]:
    """Place each thing that is doubted into free space, and hold the others where their nouns look.

    Source: measured on the demo model: lifting a missing thing's words brings it back about as often, and loses five
    times as many of the others.

    Args:
        recording: what was diagnosed.
        diagnosis: of it.
        view: whose branch, entry and picture.

    Returns:
        A place for each thing, in the prompt's order; none where nothing is missing.
    """
    if not any(item.missing for item in diagnosis.things):
        return ()
    regions = _regions(recording, diagnosis, view)
    taken = torch.zeros(recording.latent, dtype=torch.bool)
    for item, region in zip(diagnosis.things, regions, strict=True):
        taken |= region if not item.missing else False
    placed = []
    for item, region in zip(diagnosis.things, regions, strict=True):
        mask = free_square(_grown(taken), round(LARGEST * min(recording.latent))) if item.missing else region
        taken = taken | mask
        placed.append(Placed(item.thing.text, mask.float(), item.missing))
    return tuple(placed)


def free_square(taken: Tensor, largest: int) -> Tensor:
    """Find the largest square without taken cells, the one nearest to the middle among equals.

    Args:
        taken: (height width) bool.
        largest: cells of a side, at most.

    Returns:
        (height width) bool; a cell of it where all are taken: the middle one.

    >>> free_square(torch.tensor([[True, False, False], [True, False, False]]), 3).int().tolist()
    [[0, 1, 1], [0, 1, 1]]
    """
    height, width = taken.shape
    place = torch.zeros_like(taken)
    for side in range(min(largest, height, width), 0, -1):
        count = F.avg_pool2d(taken[None, None].float(), side, stride=1)[0, 0]
        rows, columns = (count == 0).nonzero(as_tuple=True)
        if len(rows):
            middle = (rows + side / 2 - height / 2) ** 2 + (columns + side / 2 - width / 2) ** 2
            row, column = int(rows[middle.argmin()]), int(columns[middle.argmin()])
            place[row : row + side, column : column + side] = True
            return place
    place[height // 2, width // 2] = True
    return place


def _regions(recording: Recording, diagnosis: Diagnosis, view: View) -> Tensor:
    """(thing height width) bool: where each noun is looked at, and no other more."""
    levels = sorted({layer.level for layer in recording.layers if layer.kind == "cross"})
    level = levels[min(int(min(recording.latent) > FINEST), len(levels) - 1)]
    arms = {layer.place for layer in recording.layers if layer.kind == "cross" and layer.level == level}
    words = [WordMatch(i.thing.noun.text, (i.thing.noun.columns,), words=(i.thing.noun,)) for i in diagnosis.things]
    finest = replace(view, resolution=level_name(level), blocks="up" if "up" in arms else "all")
    values = heatmaps(recording, words, finest).on(recording.latent).values[0].movedim(-1, 0)  # (thing height width)
    shares = values / values.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    there = torch.tensor([not item.missing for item in diagnosis.things])
    rivals = torch.where(there[:, None, None], shares, 0.0).amax(dim=0)  # a missing thing takes no room from the others
    return (shares >= CUT) & (shares >= rivals)


def _grown(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
