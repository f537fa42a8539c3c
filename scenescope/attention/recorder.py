"""Records one sampling run: queries and keys come in, a `Recording` comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType

from torch import Tensor

from ..dims import Grid
from ..errors import RecordingError
from .clock import StepClock
from .plan import RunShape, check_budget, self_grid
from .recording import Address, AttentionMap, Entry, Projection, Recording
from .reducers import Pooled, RegionMean, SelfReducer, Whole, reduce_heads
from .resample import area_mean
from .scores import attention_in_chunks, fold_repeats
from .selection import Branch, Selection, choose_steps
from .shapes import BlockShape
from .sites import Site, choose_blocks


@dataclass(frozen=True)
class Chunk:
    """The rows of one conditioning entry in a batched model call.

    Args:
        branch: `positive`, `negative`, or another guider's name for it.
        entry: its place among the branch's entries.
        tokens: columns of its prompt before the host repeats them.
    """

    branch: Branch
    entry: int
    tokens: int


class Recorder:
    """Turns what the observers see into maps with addresses.

    For every model evaluation call `evaluate`, then `observe` for each site, and `step_done` when the sampler reports a
    step; `finish` gives the recording. What is kept is detached, on the CPU, and counted.

    Args:
        run: the run's size, entries and sites.
        selection: what to keep.

    Raises:
        BudgetError: the selection would not fit its budget.
        SelectionError: it names a block or step that is not there.
    """

    def __init__(self, run: RunShape, selection: Selection) -> None:
        self.plan = check_budget(run, selection)
        self._run, self._selection = run, selection
        self._clock = StepClock(run.sigmas)
        self._steps = choose_steps(selection.steps, run.steps)
        self._blocks = choose_blocks(selection.blocks, run.sites)
        self._ticket = -1
        self._open: dict[int, list[tuple[Site, Chunk, AttentionMap | Projection]]] = {}
        self._maps: list[AttentionMap] = []
        self._projections: dict[Address, Projection] = {}
        self._skipped: Counter[str] = Counter()
        self._shapes: tuple[BlockShape, ...] = ()
        self._held = 0
        self._lock = Lock()  # several GPUs may answer parts of one evaluation at the same time

    @property
    def bytes_held(self) -> int:
        """Bytes of what is kept so far."""
        return self._held

    def evaluate(self, sigma: float) -> None:
        """A new model evaluation begins."""
        self._ticket = self._clock.evaluate(sigma)

    def wants(self) -> bool:
        """Whether the evaluation under way may belong to a chosen step."""
        return bool(self._clock.possible_steps() & self._steps)

    def wants_site(self, site: Site) -> bool:
        """Whether this site is chosen."""
        return site.kind in self._selection.kinds and site.block in self._blocks

    def step_done(self, step: int) -> None:
        """The sampler reports a step."""
        self._clock.step_done(step)
        self._settle()

    def skip(self, reason: str) -> None:
        """Count something that could not be recorded."""
        with self._lock:
            self._skipped[reason] += 1

    def note_shapes(self, rows: tuple[BlockShape, ...]) -> None:
        """Keep the shape log of the first call."""
        self._shapes = self._shapes or rows

    @property
    def has_shapes(self) -> bool:
        """Whether the shape log is known."""
        return bool(self._shapes)

    def observe(self, site: Site, query: Tensor, key: Tensor, grid: Grid, chunks: Sequence[Chunk]) -> None:
        """Record one site of the evaluation under way.

        Args:
            site: the layer.
            query: (batch query head*channel), batch = chunk x image.
            key: (batch key head*channel).
            grid: the queries' grid.
            chunks: the batch's entries, in order.
        """
        images = query.shape[0] // max(1, len(chunks))
        if query.shape[0] != images * len(chunks) or images != self._run.images or key.shape[0] != query.shape[0]:
            self.skip(f"{site.name}: another patch changed the batch (rows are {query.shape[0]} and {key.shape[0]})")
            return
        for index, chunk in enumerate(chunks):
            if not self._selection.keeps(chunk.branch):
                continue
            if site.kind == "cross" and key.shape[1] % chunk.tokens:
                self.skip(f"{site.name}: another patch gave {key.shape[1]} keys for a prompt of {chunk.tokens} tokens")
                continue
            rows = slice(index * images, (index + 1) * images)
            self._record(site, query[rows].detach(), key[rows].detach(), grid, chunk)

    def finish(self, about: Mapping[str, str | int | float]) -> Recording:
        """Close the run.

        Args:
            about: what else is known of it: seed, sampler, cfg, model.

        Raises:
            RecordingError: nothing was recorded; the message says why.
        """
        self._clock.finish()
        self._settle()
        if not self._maps:
            raise RecordingError(
                "Record Attention: nothing was recorded; expected at least one map. "
                + (
                    f"Reasons: {reasons_text(self._skipped)}."
                    if self._skipped
                    else "The chosen steps were never reached."
                )
            )
        return Recording(
            maps=tuple(sorted(self._maps, key=lambda item: item.address)),
            projections=MappingProxyType(self._projections),
            sites=tuple(site for site in self._run.sites if self.wants_site(site)),
            entries=self._run.entries,
            latent=self._run.latent,
            images=self._run.images,
            sigmas=self._run.sigmas,
            selection=self._selection,
            shapes=self._shapes,
            skipped=MappingProxyType(dict(self._skipped)),
            about=MappingProxyType(dict(about)),
        )

    def _record(self, site: Site, query: Tensor, key: Tensor, grid: Grid, chunk: Chunk) -> None:
        if self._held > self._selection.budget:  # more evaluations a step than the plan assumed
            self.skip(f"{site.name}: the memory budget was reached")
            return
        kept: list[AttentionMap | Projection] = []
        open_address = Address(-1, -1, chunk.branch, chunk.entry, site.order, site.block, site.kind)
        if site.kind == "cross":
            maps, grids = self._cross(query, key, site, chunk.tokens), (grid, None)
            if self._selection.keep_queries:
                precision = self._selection.precision
                own = key[:, : chunk.tokens]
                kept.append(Projection(_own(query, precision), _own(own, precision), site.heads, grid))
        else:
            maps, grids = self._self(query, key, site, grid, chunk)
        kept.append(AttentionMap(open_address, maps, site.heads, *grids))
        with self._lock:
            self._open.setdefault(self._ticket, []).extend((site, chunk, item) for item in kept)

    def _cross(self, query: Tensor, key: Tensor, site: Site, tokens: int) -> Tensor:
        whole = Whole(query.shape[1], self._selection.precision)
        for rows, maps in attention_in_chunks(query, key, site.heads):
            whole.add(rows, reduce_heads(fold_repeats(maps, tokens), self._selection.heads))
        return whole.result()

    def _self(
        self, query: Tensor, key: Tensor, site: Site, grid: Grid, chunk: Chunk
    ) -> tuple[Tensor, tuple[Grid, Grid]]:
        entry = next(item for item in self._run.entries if (item.branch, item.index) == (chunk.branch, chunk.entry))
        latent = Grid(*entry.area[:2]) if entry.area else self._run.latent
        target, region = self_grid(grid, latent, self._selection), self._region(entry)
        reducer: SelfReducer
        if region is not None:
            reducer = RegionMean(region, grid, target)
        elif target == grid:
            reducer = Whole(query.shape[1], self._selection.precision)
        else:
            reducer = Pooled(grid, target)
        for rows, maps in attention_in_chunks(query, key, site.heads):
            reducer.add(rows, reduce_heads(maps, self._selection.heads))
        kept = reducer.result().to(device="cpu", dtype=self._selection.precision)
        return kept, (Grid(1, 1) if region is not None else target, target)

    def _region(self, entry: Entry) -> Tensor | None:
        """The region to look from, cropped to the entry's area."""
        region = self._selection.self_region
        if region is None or entry.area is None:
            return region
        height, width, top, left = entry.area
        return area_mean(region.float(), self._run.latent)[top : top + height, left : left + width]

    def _settle(self) -> None:
        """Move what now has a step to the CPU, and drop what turned out not to be wanted."""
        for ticket in [ticket for ticket in self._open if self._clock.label(ticket) is not None]:
            step, evaluation = self._clock.label(ticket) or (0, 0)
            for site, chunk, item in self._open.pop(ticket):
                if step in self._steps and (evaluation == 0 or self._selection.evaluations == "all"):
                    at = Address(step, evaluation, chunk.branch, chunk.entry, site.order, site.block, site.kind)
                    self._keep(at, item)

    def _keep(self, at: Address, item: AttentionMap | Projection) -> None:
        if isinstance(item, AttentionMap):
            maps = item.maps.cpu()
            self._maps.append(AttentionMap(at, maps, item.heads, item.query_grid, item.key_grid))
            self._held += maps.numel() * maps.element_size()
        else:
            query, key = item.query.cpu(), item.key.cpu()
            self._projections[at] = Projection(query, key, item.heads, item.query_grid)
            self._held += (query.numel() + key.numel()) * query.element_size()


def reasons_text(skipped: Mapping[str, int]) -> str:
    """Write reasons and their counts for a person.

    >>> reasons_text({"guidance pass": 20})
    'guidance pass (20 times)'
    """
    return "; ".join(f"{reason} ({count} times)" for reason, count in skipped.items())


def _own(tensor: Tensor, precision: object) -> Tensor:
    """A copy with storage of its own: the model may reuse the memory."""
    return tensor.to(dtype=precision, copy=True).contiguous()  # type: ignore[call-overload]
