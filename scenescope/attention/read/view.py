"""Which part of a recording to read, and on which grid: one view, described alike everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from torch import Tensor

from ...dims import Grid
from ...errors import RecordingError, SelectionError
from ...resample import Placement
from ..record.choices import choose_blocks, choose_resolution, choose_steps
from ..record.evaluation import reasons_text
from ..record.recording import Address, AttentionMap, Entry, Recording
from ..record.selection import POSITIVE, Branch


@dataclass(frozen=True)
class View:
    """Which maps become one heatmap.

    Args:
        resolution: `latent`, `latent/2`, `latent/4`, `latent/8` read the layers of that grid, `auto` those of the grid
            nearest to 16x16 cells; `all` reads every one.
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


@dataclass(frozen=True)
class Viewed:
    """What a view shows of a recording: its words resolved once, for every reader.

    Args:
        recording: what a run left.
        view: as it was asked for.
        entry: the conditioning entry.
        maps: its cross-attention maps, in order of their addresses.
        grid: the grid of the heatmap.
        placement: where the entry's maps lie in the picture.
    """

    recording: Recording
    view: View
    entry: Entry
    maps: tuple[AttentionMap, ...]
    grid: Grid
    placement: Placement

    @property
    def steps(self) -> tuple[int, ...]:
        """The sampler steps that are read."""
        return tuple(dict.fromkeys(item.address.step for item in self.maps))

    def by_step(self) -> Iterator[Viewed]:
        """Each step on its own, on the same grid."""
        for _, maps in groupby(self.maps, key=lambda item: item.address.step):
            yield replace(self, maps=tuple(maps))

    def resampled(self) -> tuple[tuple[Grid, int], ...]:
        """How many maps were made on a grid that is not their layer's own: a patch had resized the features."""
        levels, extent = _levels(self.recording), self.placement.extent
        odd = Counter(
            item.query_grid for item in self.maps if item.query_grid != extent.coarser(2 ** levels[item.address.order])
        )
        return tuple(sorted(odd.items(), reverse=True))


def viewed_entry(recording: Recording, view: View) -> Entry:
    """The conditioning entry that a view names.

    Raises:
        SelectionError: the run had no such entry.
    """
    entry = recording.entry(view.branch, view.entry)
    if entry is None:
        known = ", ".join(f"{item.branch} {item.index}" for item in recording.entries) or "none"
        raise SelectionError(
            f"Heatmap: this run has no entry {view.branch} {view.entry}, only {known}. Choose another branch or entry, "
            "or record that branch."
        )
    return entry


def viewed(recording: Recording, view: View) -> Viewed:
    """Find what a view names: entry, blocks, steps, evaluation and grid. Heads and picture are axes of the maps.

    Raises:
        RecordingError: no cross-attention was recorded.
        SelectionError: blocks, steps, entry, evaluation or resolution name nothing that was recorded.
    """
    recorded = [item for item in recording.maps if item.address.kind == "cross"]
    if not recorded:
        raise RecordingError(
            "Heatmap: this recording has no cross-attention. Let Record Attention record cross-attention, and sample "
            "again."
        )
    entry, levels = viewed_entry(recording, view), _levels(recording)
    maps = [item for item in recorded if (item.address.branch, item.address.entry) == (entry.branch, entry.index)]
    if not maps:
        raise _nothing_of(entry, recording)
    blocks = choose_blocks(view.blocks, [layer for layer in recording.layers if layer.kind == "cross"])
    maps = _narrow(maps, "blocks", view.blocks, blocks, lambda address: address.block)
    maps = _narrow(maps, "steps", view.steps, choose_steps(view.steps, recording.steps), lambda address: address.step)
    if view.evaluation is not None:
        maps = _narrow(maps, "evaluation", view.evaluation, {view.evaluation}, lambda address: address.evaluation)
    there = {levels[item.address.order] for item in maps}
    grid, level = choose_resolution(view.resolution, view.size, recording.latent, there)
    if level is not None:
        maps = _narrow(maps, "resolution", view.resolution, {level_name(level)}, lambda a: level_name(levels[a.order]))
    in_order = tuple(sorted(maps, key=lambda item: item.address))
    return Viewed(recording, view, entry, in_order, grid, Placement(recording.latent, entry.area))


def _levels(recording: Recording) -> dict[int, int]:
    """Halvings of the latent by place of the block in forward order."""
    return {layer.order: layer.level for layer in recording.layers}


def level_name(level: int) -> str:
    """`latent`, `latent/2`, ...: the grid after this many halvings."""
    return "latent" if level == 0 else f"latent/{2**level}"


def refuse_overflow(values: Tensor) -> None:
    """Refuse maps of a model whose numbers overflowed.

    Raises:
        RecordingError: a value is not a number.
    """
    if not bool(values.isfinite().all()):
        raise RecordingError(
            "Attention maps: some values are not numbers (NaN): the model overflowed, as it can in half precision, and "
            "the picture is probably black. Start ComfyUI with --force-fp32, or use a model that doesn't overflow."
        )


def _nothing_of(entry: Entry, recording: Recording) -> RecordingError:
    """Say why a conditioning has no maps: the reasons that the run counted, or that its branch was not chosen."""
    if recording.skipped:
        why = f"Reasons: {reasons_text(recording.skipped)}. Remove what interferes, or look at another branch."
    else:
        why = "It was not chosen, or never evaluated: record that branch, or look at another one."
    return RecordingError(
        f"Attention maps: nothing was recorded of the {entry.branch} conditioning {entry.index}. {why}"
    )


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
            f"Attention maps: nothing was recorded for {what} {asked!r}, only for {there}. Choose other {what}, or "
            "record more."
        )
    return kept
