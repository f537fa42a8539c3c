"""A place for what is missing; the found things are held in theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..read.heatmap import heatmaps
from ..read.view import View, level_name, viewed_entry
from ..record.recording import Recording
from ..words.find import WordMatch, asking_for
from ..words.tokens import TokenTable
from .things import Thing

CUT = 0.6
"""The share of a noun's maximum from which a thing is there. On the demo model's finest grid, up blocks: IoU 0.80."""
LARGEST = 0.44
"""The longest side of a missing thing's place, in shorter sides of the picture: 7 of 16 cells of the demo model."""
FINEST = 32
"""Cells of the latent's shorter side above which the finest grid is left for the next one, as it is noisy in SD1.5."""


@dataclass(frozen=True)
class Placed:
    """One thing and its place.

    Args:
        words: what finds the thing and nothing else in the prompt, as `find_words` reads it.
        mask: (height width) float32 0 or 1 on the latent's grid.
        missing: whether it was missing, and the place is a free one.
    """

    words: str
    mask: Tensor
    missing: bool


def repair(recording: Recording, things: Sequence[Thing], missing: Sequence[bool], view: View) -> tuple[Placed, ...]:
    """Place each thing that is missing into free space, and hold the others where their nouns look.

    Source: measured on the demo model: lifting a missing thing's words brings it back about as often, and loses five
    times as many of the others.

    Args:
        recording: what a run left.
        things: of its prompt.
        missing: for each of them whether it is.
        view: whose branch, entry and picture.

    Returns:
        A place for each thing, in their order; none where nothing is missing.
    """
    if not any(missing):
        return ()
    table = viewed_entry(recording, view).table or TokenTable("", ())
    regions, lost = _regions(recording, things, missing, view), torch.tensor(missing)
    taken = regions[~lost].any(dim=0)
    placed = []
    for thing, region, gone in zip(things, regions, missing, strict=True):
        mask = free_square(_grown(taken), round(LARGEST * min(recording.latent))) if gone else region
        taken = taken | mask
        placed.append(Placed(asking_for(table, thing.words), mask.float(), gone))
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


def _regions(recording: Recording, things: Sequence[Thing], missing: Sequence[bool], view: View) -> Tensor:
    """(thing height width) bool: where each noun gets attention, and no other gets more."""
    levels = sorted({layer.level for layer in recording.layers if layer.kind == "cross"})
    level = levels[min(int(min(recording.latent) > FINEST), len(levels) - 1)]
    arms = {layer.place for layer in recording.layers if layer.kind == "cross" and layer.level == level}
    words = [WordMatch(thing.noun.text, (thing.noun.columns,), words=(thing.noun,)) for thing in things]
    finest = replace(view, resolution=level_name(level), blocks="up" if "up" in arms else "all")
    values = heatmaps(recording, words, finest).on(recording.latent).values[0].movedim(-1, 0)  # (thing height width)
    shares = values / values.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    there = ~torch.tensor(missing)[:, None, None]
    rivals = torch.where(there, shares, 0.0).amax(dim=0)  # a missing thing takes no room from the others
    return (shares >= CUT) & (shares >= rivals)


def _grown(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
