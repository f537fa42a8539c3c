"""The live region of a word: where the previous evaluation looked for it, as a mask that gates other prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dims import Grid
from ...errors import InputError, WordError
from ...host_copies import to_host
from ...resample import resize
from ..read.live import CELLS
from ..record.budget import RunSpec
from ..record.evaluation import reasons_text
from ..record.layers import AttentionLayer
from ..record.pairs import Seen, by_size, joined
from ..record.recording import Entry
from ..record.scores import attention_in_chunks, fold_repeats, repeated
from ..record.selection import POSITIVE
from ..words.find import find_words
from .acts import Act, BiasOf, ModelCall, steps_between
from .steer import columns_in

KEPT_RUNS = 8


class RegionTrack:
    """Where one word's region was at each step of recent runs, and where it is in the current run."""

    def __init__(self) -> None:
        self.now: Tensor | None = None
        """(image height width) float32 0..1 on the latent's grid, where the run computes; None before there is one."""
        self.steps: dict[int, Tensor] = {}
        """By step of the last run, on the CPU after it: what `margins_of` gives, 0 or more in the region."""
        self._runs: list[tuple[Tensor, dict[int, Tensor]]] = []  # latents that runs ended with, the oldest first

    def restart(self) -> None:
        """A new run begins."""
        self.now, self.steps = None, {}

    def keep(self, output: Tensor) -> None:
        """The run has ended with this latent, by which its regions are found again."""
        self._runs = [*self._runs[1 - KEPT_RUNS :], (output.detach().cpu().clone(), self.steps)]

    def of(self, latent: Tensor) -> RegionTrack:
        """The regions of the run that made a latent; of the last run where none is known to have."""
        found = RegionTrack()
        same = (kept for kept in reversed(self._runs) if kept[0].shape == latent.shape)
        found.steps = next((steps for output, steps in same if output.to(latent).equal(latent)), self.steps)
        return found

    def mask(self, step: int = -1) -> Tensor:
        """(image height width) float32 0 or 1: the region at a step of the last run; -1 is the last one.

        Raises:
            InputError: there is no region, or none at this step.
        """
        return cut_out(self.margins(step))

    def margins(self, step: int = -1) -> Tensor:
        """(image height width) float32: the same before it was cut, for finer grids; see `margins_of`.

        Raises:
            InputError: as above.
        """
        if not self.steps:
            raise InputError(
                "Word Region: there is no region yet. Let a sampler use the MODEL of Word Region, and connect its "
                "LATENT, so that this node waits for it. If it is connected, ComfyUI reused the sampler's cached "
                "result: change the seed."
            )
        if step >= 0 and step not in self.steps:
            raise InputError(
                f"Word Region: step {step} has no region. Choose {min(self.steps)} to {max(self.steps)}, or -1 for the "
                "last."
            )
        return self.steps[max(self.steps) if step < 0 else step]


def margins_of(shares: Tensor, rivals: Tensor | None, cut: float, grow: int) -> Tensor:
    """By how much each cell of a word's map exceeds what makes it part of the region.

    They are linear between cells, so the region's edge can be finer than the map if it is cut after enlarging.

    Args:
        shares: (image height width) float, attention that the word gets.
        rivals: (word image height width) float, that other words get; each is taken as part of its own maximum.
        cut: share of the map's maximum from which on a cell belongs to the region.
        grow: cells by which it is widened, or narrowed where below 0.

    Returns:
        (image height width) float32: 0 or more inside.
    """
    own = _of_maximum(shares.float())
    margins = own - cut
    if rivals is not None:
        margins = torch.minimum(margins, own - _of_maximum(rivals.float()).amax(dim=0))
    wide = margins[:, None]
    reach = 2 * abs(grow) + 1
    if grow > 0:
        wide = F.max_pool2d(wide, reach, stride=1, padding=grow)
    elif grow < 0:
        wide = -F.max_pool2d(-wide, reach, stride=1, padding=-grow)
    return wide[:, 0]


def region_of(shares: Tensor, rivals: Tensor | None, cut: float, grow: int) -> Tensor:
    """Cut a region out of a word's map; the arguments of `margins_of`.

    Returns:
        (image height width) float32, 0 or 1.

    >>> region_of(torch.tensor([[[0.1, 0.5, 1.0, 0.2]]]), None, 0.4, 0).tolist()
    [[[0.0, 1.0, 1.0, 0.0]]]
    """
    return cut_out(margins_of(shares, rivals, cut, grow))


def cut_out(margins: Tensor) -> Tensor:
    """The region of margins of any shape, float32 0 or 1."""
    return (margins >= 0).float()


def _of_maximum(maps: Tensor) -> Tensor:
    return maps / maps.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


@dataclass(frozen=True, eq=False)
class WordRegion:
    """Words of the positive prompt whose region is followed.

    Args:
        words: as `find_words` reads them; their maps are averaged.
        track: where the region is kept.
        rivals: words that the region's words have to beat, each by itself; empty for none.
        cut: share of the map's maximum from which on a cell belongs to the region.
        grow: cells of the map's grid by which it is widened.
        start: share of the steps before there is a region.
        freeze: share of the steps after which it no longer moves.
    """

    words: str
    track: RegionTrack
    rivals: str = ""
    cut: float = 0.4
    grow: int = 0
    start: float = 0.05
    freeze: float = 1.0
    who: ClassVar[str] = "Word Region"

    def begin(self, run: RunSpec) -> RegionAct:
        """Find the words in one run.

        Raises:
            WordError: they are not in the positive prompt, or its words are not known.
        """
        return RegionAct(self, run)


class RegionAct(Act):
    """One region in one run.

    Source: measured on the demo model: the map of the evaluation before, up blocks of one grid, cut at a part of its
    maximum, is better than Otsu's cut and than running means. The grid is the one nearest to 16x16 cells, where words
    are told apart best.
    """

    def __init__(self, spec: WordRegion, run: RunSpec) -> None:
        self._spec, self._run = spec, run
        self._entry, self._own, self._rivals = _columns_of(spec, run)
        cross = [layer for layer in run.layers if layer.kind == "cross"]
        distance = {layer: abs(math.log2(layer.grid(run.latent).cells / CELLS)) for layer in cross}
        nearest = [layer for layer in cross if distance[layer] == min(distance.values())]
        self._layers = {layer.order for layer in nearest if layer.place == "up"} or {layer.order for layer in nearest}
        self._steps = steps_between(spec.start, 1.0, run.steps)
        self._moving = steps_between(spec.start, spec.freeze, run.steps)
        self._means: Tensor | None = None
        self._margins: Tensor | None = None
        self._waiting: list[Seen] = []  # layers of one evaluation that nobody has looked at yet
        self._sums: list[Tensor] = []
        self._step = 0
        spec.track.restart()

    def watches(self, layer: AttentionLayer, call: ModelCall) -> bool:
        """The chosen layers, in the sampler's own passes."""
        mine = any((entry.branch, entry.index) == self._entry for entry in call.entries)
        return mine and call.first_pass and layer.kind == "cross" and layer.order in self._layers

    def see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid, call: ModelCall, bias: BiasOf) -> None:
        """Let a layer wait for the others, and read all of them once the last one is there."""
        if call.step != self._step:  # a region that gates nothing isn't notified when an evaluation begins
            self.settle()
        position = next(at for at, e in enumerate(call.entries) if (e.branch, e.index) == self._entry)
        if query.shape[:2] != (call.images * len(call.entries), grid.cells):
            return
        rows = call.rows(position)
        seen = Seen(layer, query[rows], key[rows], grid, (call.entries[position],), (bias(position),))
        self._waiting.append(seen)
        self._step = call.step
        if len(self._waiting) == len(self._layers):
            self._look()

    def settle(self, device: torch.device | None = None) -> Tensor | None:
        """An evaluation is over, or the next one begins: bring the region up to date, and give it.

        Args:
            device: where it is wanted; None for where the layers were computed.
        """
        track = self._spec.track
        self._look()
        if self._sums:
            values = self._sums[0] if len(self._sums) == 1 else torch.stack(self._sums).sum(dim=0)
            self._sums = []
            if self._step in self._moving or (self._step in self._steps and track.now is None):
                rivals = values[1:] if len(values) > 1 else None
                margins = margins_of(values[0], rivals, self._spec.cut, self._spec.grow)
                self._margins = margins if device is None else margins.to(device)
                track.now = cut_out(self._margins)
            if self._margins is not None:
                track.steps[self._step] = self._margins
        return track.now

    def _look(self) -> None:
        """Add up the words' shares of what waits, of all layers of one size at once: a GPU is handed few jobs."""
        waiting, self._waiting = self._waiting, []
        for group in by_size(waiting):
            layer, entry, images = group[0].layer, group[0].entries[0], len(group[0].query)
            pair = joined(group, images)
            if self._means is None or self._means.device != pair.query.device:  # uploaded once: no step waits
                self._means = _means_of([self._own, *self._rivals], entry.tokens).to(pair.query.device)
            bias = pair.bias
            if isinstance(bias, Tensor):
                bias = repeated(bias, pair.key.shape[1] // entry.tokens)
            parts = []
            for _, maps in attention_in_chunks(pair.query, pair.key, layer.heads, bias=bias):
                shares = fold_repeats(maps, entry.tokens) @ self._means  # (layer*image head query word)
                parts.append(shares.mean(dim=1).unflatten(0, (-1, images)).sum(dim=0))  # (image query word)
            added = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            maps = added.movedim(-1, 0).unflatten(-1, tuple(group[0].grid))  # (word image height width)
            self._sums.append(_placed(maps, entry, self._run.latent))

    def finish(self, skipped: Mapping[str, int]) -> str:
        """How large the region was."""
        self.settle()
        track = self._spec.track
        track.steps = dict(zip(track.steps, to_host(list(track.steps.values())), strict=True))
        track.now = None
        words = self._spec.words.strip()
        if not track.steps:
            return f"{words}: there was no region. Lower `start`, or sample more steps."
        first, last = min(track.steps), max(track.steps)
        sizes = [float(track.mask(step).mean()) for step in (first, last)]
        lines = [f"{words}: {sizes[0]:.0%} of the picture at step {first}, {sizes[1]:.0%} at step {last}"]
        return "\n".join([*lines, *([f"not gated: {reasons_text(skipped)}"] if skipped else [])])

    def done(self, output: Tensor) -> None:
        """Keep the regions with what they belong to."""
        self._spec.track.keep(output)

    def abandon(self) -> None:
        """Nothing of an interrupted run is kept, on the device or elsewhere."""
        self._waiting, self._sums = [], []
        self._spec.track.restart()


def _means_of(groups: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """(token word) float32: what makes the mean of each group's columns of a row of shares."""
    means = torch.zeros(tokens, len(groups))
    for index, columns in enumerate(groups):
        means[list(columns), index] = 1 / len(columns)
    return means


def _placed(maps: Tensor, entry: Entry, latent: Grid) -> Tensor:
    """Maps of an entry on the latent's grid; 0 outside its area."""
    if entry.area is None:
        return resize(maps, latent)
    height, width, top, left = entry.area
    whole = maps.new_zeros((*maps.shape[:-2], *latent))
    whole[..., top : top + height, left : left + width] = resize(maps, Grid(height, width))
    return whole


Columns = tuple[tuple[str, int], tuple[int, ...], tuple[tuple[int, ...], ...]]


def _columns_of(spec: WordRegion, run: RunSpec) -> Columns:
    """The entry that has the words, their columns, and those of each rival."""
    tables = {(e.branch, e.index): e.table for e in run.entries if e.branch == POSITIVE and e.table is not None}
    if not tables:
        raise WordError(
            "Word Region: the positive conditioning doesn't carry its words. Put Trace Words between the CLIP and CLIP "
            "Text Encode."
        )
    if not spec.words.strip():
        raise WordError("Word Region: no words were given. Write words of the base prompt.")
    looked = {at: columns_in(table, spec.words) for at, table in tables.items()}
    for at, columns in looked.items():
        if not isinstance(columns, WordError):
            rivals = find_words(tables[at], spec.rivals) if spec.rivals.strip() else ()
            return at, columns, tuple(match.columns for match in rivals)
    raise next(error for error in looked.values() if isinstance(error, WordError))
