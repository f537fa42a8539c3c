"""What part of a recording is looked at, and on which grid: one view, the same words everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from ..dims import Grid, grid_of
from ..errors import RecordingError, SelectionError
from .placement import Placement
from .recording import Address, AttentionMap, Entry, Recording
from .selection import POSITIVE, Branch, choose_steps
from .sites import choose_blocks

RESOLUTIONS = ("latent", "latent/2", "latent/4", "latent/8", "all")


@dataclass(frozen=True)
class Resolution:
    """The grid of a heatmap.

    Args:
        grid: the grid wanted.
        level: halvings of the latent; only the layers of that grid are read, so that nothing is resampled. None reads
            the layers of every grid and resamples them.
    """

    grid: Grid
    level: int | None = None


@dataclass(frozen=True)
class View:
    """Which maps become one heatmap.

    Args:
        resolution: `latent`, `latent/2`, `latent/4`, `latent/8` read the layers of that grid; `all` reads every one.
        size: the grid to resample to for `all`: `latent`, `latent/2`, ..., or `height x width`.
        blocks: `all`, places or block names, as `choose_blocks` reads them.
        heads: `mean`, or numbers and ranges `0, 3-5`.
        steps: sampler steps, as `choose_steps` reads them.
        branch: `positive`, `negative`, or another guider's name for it.
        entry: conditioning entry of the branch, from 0.
        evaluation: model evaluation inside a step, from 0; None takes all that were recorded.
        image: picture of the batch, from 0; None takes each.
    """

    resolution: str = "latent/4"
    size: str = "latent"
    blocks: str = "all"
    heads: str = "mean"
    steps: str = "all"
    branch: Branch = POSITIVE
    entry: int = 0
    evaluation: int | None = None
    image: int | None = None


def choose_resolution(resolution: str, size: str, latent: Grid) -> Resolution:
    """Read a resolution written by a person.

    Args:
        resolution: `latent`, `latent/2`, ... or `all`.
        size: the grid for `all`.
        latent: the latent's grid.

    Raises:
        SelectionError: the resolution is none of these.
        InputError: the size is no grid.

    >>> choose_resolution("latent/4", "", Grid(64, 96))
    Resolution(grid=Grid(height=16, width=24), level=2)
    >>> choose_resolution("all", "32x48", Grid(64, 96))
    Resolution(grid=Grid(height=32, width=48), level=None)
    """
    if resolution.strip().lower() == "all":
        level = _halvings(size)
        return Resolution(grid_of(size) if level is None else latent.coarser(2**level))
    level = _halvings(resolution)
    if level is None:
        raise SelectionError(
            f"Resolution: it is {resolution!r}; expected one of {', '.join(RESOLUTIONS)}. Choose one of them."
        )
    return Resolution(latent.coarser(2**level), level)


def _halvings(text: str) -> int | None:
    match = re.fullmatch(r"latent(?:\s*/\s*(1|2|4|8|16|32))?", text.strip().lower())
    return None if match is None else int(match.group(1) or 1).bit_length() - 1


def choose_heads(text: str, total: int) -> tuple[int, ...] | None:
    """Read a choice of heads written by a person; None is their mean over all.

    Args:
        text: `mean`, `all`, or numbers and ranges `0, 3-5`.
        total: heads of the layer.

    Raises:
        SelectionError: a part is not understood, or the layer has no such head.

    >>> choose_heads("0, 3-5", 8)
    (0, 3, 4, 5)
    """
    if text.strip().lower() in ("", "mean", "all"):
        return None
    chosen: set[int] = set()
    for part in re.split(r"[,;\n]", text):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        heads = range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1) if match else range(0)
        if not heads or heads[-1] >= total:
            raise SelectionError(
                f"Heads: {part.strip()!r} is not a head of this layer; expected mean, or numbers and ranges from 0 to "
                f"{total - 1}. Correct the heads."
            )
        chosen |= set(heads)
    return tuple(sorted(chosen))


def placement_of(recording: Recording, view: View) -> Placement:
    """Where the maps of the viewed entry lie in the picture."""
    entry = recording.entry(view.branch, view.entry)
    return Placement(recording.latent, entry.area if entry else None)


def viewed_entry(recording: Recording, view: View) -> Entry:
    """The conditioning entry that a view names.

    Raises:
        SelectionError: the run had no such entry.
    """
    entry = recording.entry(view.branch, view.entry)
    if entry is None:
        known = ", ".join(f"{item.branch} {item.index}" for item in recording.entries) or "none"
        raise SelectionError(
            f"Attention maps: the entry is {view.branch} {view.entry}; expected one of this run's: {known}. "
            "Choose another branch or entry, or record that branch."
        )
    return entry


def level_of(recording: Recording) -> dict[int, int]:
    """Halvings of the latent by place of the block in forward order."""
    return {site.order: site.level for site in recording.sites}


def viewed_maps(recording: Recording, view: View) -> tuple[AttentionMap, ...]:
    """The cross-attention maps that a view names, in order of their addresses.

    Raises:
        RecordingError: no cross-attention was recorded.
        SelectionError: blocks, steps, entry, evaluation or resolution name nothing that was recorded.
    """
    recorded = [item for item in recording.maps if item.address.kind == "cross"]
    if not recorded:
        raise RecordingError(
            "Attention maps: the recording holds no cross-attention; expected some. "
            "Let Record Attention record cross-attention, and sample again."
        )
    entry, levels = viewed_entry(recording, view), level_of(recording)
    maps = [item for item in recorded if (item.address.branch, item.address.entry) == (entry.branch, entry.index)]
    blocks = choose_blocks(view.blocks, [site for site in recording.sites if site.kind == "cross"])
    maps = _narrow(maps, "blocks", view.blocks, blocks, lambda address: address.block)
    maps = _narrow(maps, "steps", view.steps, choose_steps(view.steps, recording.steps), lambda address: address.step)
    if view.evaluation is not None:
        maps = _narrow(maps, "evaluation", view.evaluation, {view.evaluation}, lambda address: address.evaluation)
    level = choose_resolution(view.resolution, view.size, recording.latent).level
    if level is not None:
        maps = _narrow(maps, "resolution", view.resolution, {level_name(level)}, lambda a: level_name(levels[a.order]))
    return tuple(sorted(maps, key=lambda item: item.address))


def level_name(level: int) -> str:
    """`latent`, `latent/2`, ...: the grid after so many halvings."""
    return "latent" if level == 0 else f"latent/{2**level}"


def _narrow(
    maps: list[AttentionMap],
    what: str,
    asked: object,
    wanted: Container[object],
    part: Callable[[Address], object],
) -> list[AttentionMap]:
    kept = [item for item in maps if part(item.address) in wanted]
    if not kept:
        there = ", ".join(str(word) for word in dict.fromkeys(part(item.address) for item in maps)) or "nothing"
        raise SelectionError(
            f"Attention maps: {what} is {asked!r}, of which nothing was recorded; expected some of {there}. "
            f"Choose other {what}, or record more."
        )
    return kept
