"""How a run went: its losses and IoUs step by step, kept in a file, summarised as numbers, and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...files.dataclass_file import read_value, write_value
from ...files.dataclass_json import MisfitError
from ..settings import Settings
from .trainer import StepReport

FORMAT = "scenescope-curves 1"
LOSSES = ("masked", "attention", "prior")
RECENT = 25
"""Drawings of a concept, or steps, over which a figure is averaged: one step says little, its noise level is random."""


@dataclass(frozen=True)
class History:
    """What each step measured.

    Args:
        handles: of the concepts.
        steps: (point) float64, the steps that were reported, in ascending order; whole numbers, in the type that files
            of ours hold.
        losses: (point 3) float32, masked, attention and prior before they are weighted; not a number for none.
        ious: (point concept) float32, intersection over union of map and mask; not a number where not drawn.
        maps: (concept height width) float32 0..1, the last seen of each; not a number where never.
    """

    handles: tuple[str, ...]
    steps: Tensor
    losses: Tensor
    ious: Tensor = field(metadata={"key": "fits"})  # files of every version name it so
    maps: Tensor

    def __post_init__(self) -> None:
        points, concepts = len(self.steps), len(self.handles)
        agree = self.losses.shape == (points, 3) and self.ious.shape == (points, concepts) and self.steps.ndim == 1
        if not agree or self.maps.ndim != 3 or len(self.maps) != concepts:
            raise MisfitError("the curves have other numbers of steps or concepts than the file says")

    def __len__(self) -> int:
        return len(self.steps)


def no_history(handles: Sequence[str], grid: tuple[int, int]) -> History:
    """A history without a step.

    >>> len(no_history(["<a>"], (2, 3)))
    0
    """
    count = len(handles)
    maps = torch.full((count, *grid), math.nan)
    return History(tuple(handles), torch.zeros(0, dtype=torch.float64), torch.zeros(0, 3), torch.zeros(0, count), maps)


def upto(history: History, step: int) -> History:
    """The history up to a step, without later ones that were taken but not saved before a run was killed."""
    keep = history.steps <= step
    return History(history.handles, history.steps[keep], history.losses[keep], history.ious[keep], history.maps)


def followed(history: History, report: StepReport) -> History:
    """The history with one more step; this step and later ones that it already had are replaced."""
    before = history.steps < report.step
    measured = report.measured
    prior = math.nan if measured.prior is None else measured.prior
    losses = torch.tensor([[measured.masked, measured.attention, prior]])
    ious = torch.tensor([[measured.ious.get(handle, math.nan) for handle in history.handles]])
    maps = history.maps.clone()
    for index, handle in enumerate(history.handles):
        if handle in measured.maps:
            maps[index] = measured.maps[handle]
    return History(
        history.handles,
        torch.cat([history.steps[before], torch.tensor([report.step], dtype=torch.float64)]),
        torch.cat([history.losses[before], losses]),
        torch.cat([history.ious[before], ious]),
        maps,
    )


def totals(history: History, settings: Settings) -> list[float]:
    """The weighted loss of each step."""
    weights = torch.tensor([1.0, settings.attention_weight, settings.prior_weight])
    return (history.losses.nan_to_num(0.0) * weights).sum(dim=1).tolist()


def recent_ious(history: History, *, first: bool = False) -> dict[str, float | None]:
    """Each concept's mean IoU over the last, or the first, times that it was drawn; None where it never was."""
    found: dict[str, float | None] = {}
    for index, handle in enumerate(history.handles):
        drawn = history.ious[:, index][history.ious[:, index].isfinite()]
        part = drawn[:RECENT] if first else drawn[-RECENT:]
        found[handle] = float(part.mean()) if len(part) else None
    return found


def smoothed(values: Tensor, over: int = RECENT) -> Tensor:
    """A running mean over the last finite values: (point) float32; not a number before the first.

    >>> smoothed(torch.tensor([1.0, float("nan"), 3.0, 5.0]), over=2).tolist()
    [1.0, 1.0, 2.0, 4.0]
    """
    known = values.isfinite()
    sums = torch.cat([torch.zeros(1), values[known].cumsum(0)])
    count = known.cumsum(0)
    least = (count - over).clamp(min=0)
    return (sums[count] - sums[least]) / (count - least)


def summary(history: History, points: int = 100) -> Mapping[str, object]:
    """The curves as plain numbers, for a screen.

    Args:
        history: of the run so far.
        points: most places of each curve; more are thinned out after they are smoothed.

    Returns:
        `steps`, lists `masked`, `attention` and `prior` as long, None for none; `ious`, the same by handle; `raw`,
        all of these of the single steps; `iou` and `iou_first`, a number or None by handle.
    """
    count = len(history)
    picks = torch.linspace(0, count - 1, min(points, count)).round().long() if count else torch.zeros(0).long()

    def plain(values: Tensor) -> list[float | None]:
        return [round(value, 6) if math.isfinite(value) else None for value in values[picks].tolist()]

    def curves(seen: Callable[[Tensor], Tensor]) -> dict[str, object]:
        return {
            **{name: plain(seen(history.losses[:, index])) for index, name in enumerate(LOSSES)},
            "ious": {handle: plain(seen(history.ious[:, index])) for index, handle in enumerate(history.handles)},
        }

    return {
        "steps": history.steps[picks].long().tolist(),
        **curves(smoothed),
        "raw": curves(lambda values: values),
        "iou": recent_ious(history),
        "iou_first": recent_ious(history, first=True),
    }


def save_history(history: History, path: Path) -> None:
    """Write a history to one file, completely or not at all.

    Raises:
        FileError: it cannot be written.
    """
    write_value(history, path, FORMAT, "Train Concepts: the curves")


def load_history(path: Path) -> History:
    """Read a history.

    Raises:
        FileError: the file is damaged, hostile, foreign, or of another format.
    """
    return read_value(History, path, FORMAT, f"Train Concepts: {path.name}")
