"""From maps to masks: thresholds, refinement by self-attention, and how well a mask matches a known one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor

from ...dims import Grid, counted
from ...errors import InputError, RecordingError
from ...resample import resize
from ..record.recording import AttentionMap, Recording
from ..record.selection import POSITIVE, Branch
from .cautions import refining_caution
from .view import refuse_overflow

Cut = Literal["fraction", "otsu"]
CUTS: tuple[Cut, ...] = get_args(Cut)


def above_fraction(maps: Tensor, fraction: float) -> Tensor:
    """Keep what reaches a fraction of each map's own maximum.

    Args:
        maps: (batch height width) float, not negative.
        fraction: 0..1 of the maximum.

    Returns:
        (batch height width) float32, 0 or 1; all 0 for a map of nothing.

    Raises:
        InputError: the fraction lies outside 0..1.

    >>> above_fraction(torch.tensor([[[1.0, 2.0, 4.0]]]), 0.5).tolist()
    [[[0.0, 1.0, 1.0]]]
    """
    if not 0 <= fraction <= 1:
        raise InputError(
            f"Map to Mask: the threshold is {fraction}, but it has to be between 0 and 1, a share of the maximum. "
            "Correct it."
        )
    most = maps.amax(dim=(-2, -1), keepdim=True)
    return ((maps >= fraction * most) & (most > 0)).float()


def otsu(values: Tensor) -> float:
    """Find the threshold that splits values into two classes, each as uniform as possible.

    Source: Otsu 1979: the largest variance between the classes. Here over the sorted values themselves instead of a
    histogram, so that the result is exact.

    Args:
        values: (...) float.

    Returns:
        The middle between the two classes' neighbouring values; the value itself where all are equal, so that
        nothing lies above it.

    >>> otsu(torch.tensor([0.0, 1.0, 0.0, 9.0, 8.0]))
    4.5
    """
    ordered = values.double().flatten().sort().values
    count = torch.arange(1, len(ordered), dtype=torch.float64)
    below = ordered.cumsum(0)[:-1]
    mean_below, mean_above = below / count, (ordered.sum() - below) / (len(ordered) - count)
    between = count * (len(ordered) - count) * (mean_above - mean_below) ** 2
    between = torch.where(ordered[1:] > ordered[:-1], between, -1.0)  # equal values are not split
    if not len(between) or float(between.amax()) < 0:
        return float(ordered[0])
    split = int(between.argmax())
    return float((ordered[split] + ordered[split + 1]) / 2)


def above_otsu(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Keep what lies above each map's own Otsu threshold.

    Args:
        maps: (batch height width) float.

    Returns:
        masks: (batch height width) float32, 0 or 1; all 0 for a map of one value.
        thresholds: (batch) float32.
    """
    thresholds = torch.tensor([otsu(item) for item in maps])
    return (maps.double() > thresholds[:, None, None]).float(), thresholds


def self_attention(recording: Recording, branch: Branch = POSITIVE) -> dict[Grid, Tensor]:
    """Average the recorded self-attention over heads, layers and steps, grid by grid.

    Args:
        recording: what a run left, with self-attention.
        branch: whose; entries with an area are left out, since they see a part of the picture only.

    Returns:
        For each grid (image query key) float32, each row sums to 1.

    Raises:
        RecordingError: no self-attention over the whole picture was recorded, or the model's numbers overflowed.
    """
    whole = [item for item in recording.maps if _usable(recording, item, branch)]
    if not whole:
        raise RecordingError(
            "Self-attention: this recording has no self-attention of the whole picture. In Record Attention set "
            "attention to `cross and self`, leave self_region empty, and sample again."
        )
    sums: dict[Grid, Tensor] = {}
    for item in whole:
        for head in item.maps.unbind(dim=1):  # one head at a time: a float32 copy of all would outweigh the recording
            part = head.float() / item.maps.shape[1]
            sums[item.query_grid] = sums[item.query_grid].add_(part) if item.query_grid in sums else part
    for total in sums.values():
        refuse_overflow(total)
    tiny = torch.finfo(torch.float32).tiny
    return {grid: total / total.sum(dim=-1, keepdim=True).clamp(min=tiny) for grid, total in sums.items()}


def _usable(recording: Recording, item: AttentionMap, branch: Branch) -> bool:
    entry = recording.entry(item.address.branch, item.address.entry)
    whole = item.address.kind == "self" and item.query_grid == item.key_grid
    return whole and item.address.branch == branch and (entry is None or entry.area is None)


def refine(maps: Tensor, attention: Mapping[Grid, Tensor], times: int) -> Tensor:
    """Let every position take the mean of the map over the positions that it attends to.

    Source: self-attention refinement as in OVAM (Marcos-Manchon et al. 2024): map <- S map, with S row-stochastic. Here
    each grid's S is applied on that grid, and the results are averaged.

    Args:
        maps: (batch height width) float; map i belongs to picture i modulo the number of pictures.
        attention: what `self_attention` returned.
        times: how often.

    Returns:
        (batch height width) float32; never below the map's minimum nor above its maximum.

    Raises:
        InputError: the maps do not fit the pictures, or `times` is negative.
    """
    images = len(next(iter(attention.values())))
    if times < 0 or len(maps) % images:
        raise InputError(
            f"Refinement: {len(maps)} maps can't be refined {times} times by {images} recorded pictures. Connect maps "
            "and masks of the same run, and choose 0 times or more."
        )
    if not times:
        return maps.float()
    size, refined = Grid(*maps.shape[-2:]), torch.zeros(maps.shape, dtype=torch.float32)
    for grid, rows in attention.items():
        coarse = resize(maps.float(), grid)
        flat = rearrange(coarse, "(word image) height width -> image (height width) word", image=images)
        for _ in range(times):
            flat = rows @ flat  # (image query word)
        back = rearrange(flat, "image (height width) word -> (word image) height width", height=grid.height)
        refined += resize(back, size) / len(attention)
    return refined


def intersection_over_union(masks: Tensor, truth: Tensor) -> Tensor:
    """Say how well masks match known ones.

    Args:
        masks: (batch height width) float; 0.5 and above is inside.
        truth: (batch or 1, height width) float of any size; resized to the masks by area, 0.5 and above is inside.

    Returns:
        (batch) float32, 0..1; 1 where both are empty.

    Raises:
        InputError: the batches do not fit.

    >>> intersection_over_union(torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 1.0]]])).tolist()
    [0.3333333432674408]
    """
    if len(truth) == 0 or len(masks) % len(truth):
        raise InputError(
            f"IoU: {counted(len(masks), 'mask')} can't be compared with {counted(len(truth), 'truth mask')}. Connect "
            "one truth mask, or one for each mask."
        )
    known = resize(truth.float(), Grid(*masks.shape[-2:])) >= 0.5 - 1e-6
    known = known[torch.arange(len(masks)) % len(truth)]
    ours = masks >= 0.5
    both, either = (part.sum(dim=(-2, -1)).float() for part in (ours & known, ours | known))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


@dataclass(frozen=True)
class Masks:
    """Masks that were cut from maps.

    Args:
        masks: (batch height width) float32, 0 or 1.
        thresholds: (batch) float32, in the maps' numbers.
        ious: (batch) float32, intersection over union with the known masks; None where there are none.
        caution: a caution about how the maps were refined; empty for none.
    """

    masks: Tensor
    thresholds: Tensor
    ious: Tensor | None
    caution: str = ""

    @property
    def mean_iou(self) -> float:
        """The mean intersection over union; 0 where there is no known mask."""
        return 0.0 if self.ious is None else float(self.ious.mean())

    def describe(self) -> str:
        """Say how well the masks match; then, a line for each, where it was cut, how large it is, and its own IoU."""
        ious = [] if self.ious is None else [f"{iou:.3f}" for iou in self.ious.tolist()]
        lines = [f"IoU {self.mean_iou:.3f}, the mean of {', '.join(ious)}"] if len(ious) > 1 else []
        for index, (mask, threshold) in enumerate(zip(self.masks, self.thresholds.tolist(), strict=True)):
            iou = "" if self.ious is None else f", IoU {float(self.ious[index]):.3f}"
            lines.append(f"mask {index}: from {threshold:.3g} up, {float(mask.mean()):.1%} of the picture{iou}")
        lines += [self.caution] if self.caution else []
        return "\n".join(lines)


def cut_masks(maps: Tensor, cut: Cut, fraction: float, truth: Tensor | None = None, caution: str = "") -> Masks:
    """Cut masks from maps and say how well they match known ones.

    Args:
        maps: (batch height width) float.
        cut: `fraction` of each map's own maximum, or each map's own `otsu` threshold.
        fraction: 0..1, for the first.
        truth: (batch or 1, height width) known masks of any size.
        caution: cautions about the maps.

    Raises:
        InputError: the cut is neither of the two.
    """
    if cut not in CUTS:
        raise InputError(f"Map to Mask: {cut!r} is not a method. Choose {', '.join(CUTS)}.")
    if cut == "otsu":
        masks, thresholds = above_otsu(maps)
    else:
        masks, thresholds = above_fraction(maps, fraction), fraction * maps.amax(dim=(-2, -1)).float()
    return Masks(masks, thresholds, None if truth is None else intersection_over_union(masks, truth), caution)


def refine_by(recording: Recording | None, maps: Tensor, times: int) -> tuple[Tensor, str]:
    """Refine maps by a recording's self-attention, where that is asked for.

    Args:
        recording: what the run left, with self-attention; may be missing for 0 times.
        maps: (batch height width) float.
        times: how often; 0 leaves the maps as they are.

    Returns:
        The maps (batch height width) float32, and a caution about them, empty for none.

    Raises:
        InputError: there is no recording.
        RecordingError: it holds no self-attention.
    """
    if not times:
        return maps.float(), ""
    if recording is None:
        raise InputError(
            "Map to Mask: refining needs self-attention. Connect attention_maps of the same run, or set refine to 0."
        )
    attention = self_attention(recording)
    return refine(maps, attention, times), refining_caution(attention)
