"""Records one sampling run: queries and keys come in, a `Recording` comes out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import MappingProxyType
from typing import SupportsFloat

from torch import Tensor

from ...dims import Grid, counted
from ...errors import InputError, RecordingError
from ...host_copies import HostCopies
from .block_shapes import BlockShape
from .budget import RunSpec, check_budget
from .choices import choose_blocks
from .clock import StepClock
from .evaluation import Coming, Evaluation, Sent, reasons_text
from .layers import AttentionLayer, Kind
from .pairs import Bias, Seen, Waiting, gains, unusual
from .recording import Address, AttentionMap, Entry, Projection, Recording
from .reducers import MapMaker
from .scores import CHUNK_BYTES
from .selection import Branch, Selection
from .steps import KeptSteps


class Recorder:
    """Turns what the observers see into maps with addresses.

    For every model evaluation call `evaluate`, then `observe` for each layer; call `step_done` when the sampler reports
    a step; `finish` gives the recording. What is kept is detached, on the CPU, and counted. From a GPU, a step's maps
    come in one copy, which is read a step later, when it has finished: the model never waits for it.

    Args:
        run: the run's size, entries and layers.
        selection: what to keep.
        chunk_bytes: the most that one piece of an attention map may take while it is computed.

    Raises:
        BudgetError: the selection would not fit its budget.
        InputError: the self-attention region is empty.
        SelectionError: it names a block or step that is not there.
    """

    def __init__(self, run: RunSpec, selection: Selection, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.plan = check_budget(run, selection)
        if selection.self_region is not None and not bool((selection.self_region > 0).any()):
            raise InputError("Self-attention region: the mask is empty. Paint white where to look from.")
        self._run, self._selection = run, selection
        self._clock = StepClock(run.sigmas)
        self._steps = KeptSteps(run, selection)
        self._blocks = choose_blocks(selection.blocks, run.layers)
        self._entries = {(entry.branch, entry.index): entry for entry in run.entries}
        self._ticket = -1
        self._open: dict[int, Evaluation] = {}  # by ticket: kept or dropped once the clock has settled its step
        self._coming: list[Evaluation] = []  # their step is known, and they are on their way
        self._maps: dict[Address, AttentionMap] = {}
        self._projections: dict[Address, Projection] = {}
        self._skipped: Counter[str] = Counter()
        self._skipped_at: dict[int, Counter[str]] = {}  # by step
        self._unreported: list[AttentionMap] = []
        self._waiting, self._copies, self._make = Waiting(), HostCopies(), MapMaker(run, selection, chunk_bytes)
        self._shapes: tuple[BlockShape, ...] = ()
        self._held = 0
        self._logged = False
        self._lock = Lock()  # several GPUs may answer parts of one evaluation at the same time

    @property
    def bytes_held(self) -> int:
        """Bytes of what is kept so far."""
        return self._held

    def evaluate(self, sigma: SupportsFloat) -> None:
        """A new model evaluation begins."""
        self._look()
        self._ticket = self._clock.evaluate(sigma)
        self._open[self._ticket] = Evaluation()

    def wants(self) -> bool:
        """Whether the current evaluation may belong to a chosen step."""
        return any(map(self._steps.may_have, self._clock.possible_steps()))

    def wants_layer(self, layer: AttentionLayer) -> bool:
        """Whether this layer is chosen."""
        kept = layer.kind in self._selection.kinds or self._selection.keeps_queries(layer.kind)
        return kept and layer.block in self._blocks

    def step_done(self, step: int) -> tuple[AttentionMap, ...]:
        """The sampler reports a step; gives the maps that have arrived by now: from a GPU those of the step before."""
        self._look()
        if not self._open and self._steps.may_have(step):
            self._skips_of(step)["a step without a model call (LazyCache or similar)"] += 1
        self._clock.step_done(step)
        self._settle()
        return self._report()

    def arrived(self) -> tuple[AttentionMap, ...]:
        """Wait for all maps whose step is known; gives those that `step_done` has not given."""
        self._take_in_all()
        return self._report()

    def skip(self, reason: str) -> None:
        """Count something that could not be recorded, unless its evaluation turns out to be of no interest."""
        with self._lock:
            now = self._open.get(self._ticket)
            (self._skipped if now is None else now.skipped)[reason] += 1

    def note_shapes(self, rows: tuple[BlockShape, ...]) -> None:
        """Keep the shape log of the first call."""
        self._shapes = self._shapes or rows

    @property
    def has_shapes(self) -> bool:
        """Whether the shape log is known."""
        return bool(self._shapes)

    def observe(
        self,
        layer: AttentionLayer,
        query: Tensor,
        key: Tensor,
        grid: Grid,
        entries: Sequence[Entry],
        bias: Bias | None = None,
    ) -> None:
        """Record one layer of the current evaluation; errors are counted, because recording must never harm a run.

        Args:
            layer: the layer.
            query: (batch query head*channel), batch = entry x image; nobody may write to it before the next evaluation.
            key: (batch key head*channel), the same.
            grid: the queries' grid.
            entries: the conditioning entries that share the batch, in order.
            bias: gives the log-odds (1|image 1|head query token) that an act adds for the entry at a place of the
                batch, so that a steered run shows its steered maps; None where nothing acts.
        """
        with self._counting_errors(layer):
            if found := unusual(layer, query, key, grid, entries, self._run.images):
                self.skip(f"{layer.name}: another patch {found}")
                return
            acts = bias if self._selection.steered else None
            query, key = (part.detach() if part.requires_grad else part for part in (query, key))
            biases = tuple(None if acts is None else acts(index) for index in range(len(entries)))
            seen = Seen(layer, query, key, grid, tuple(entries), biases)
            if gains(query) and self._can_be_joined(layer.kind, entries):
                self._take_batch(seen)
                return
            for index, entry in enumerate(entries):
                if self._selection.keeps(entry.branch):
                    self._record(seen, index)

    def finish(
        self,
        about: Mapping[str, str | int | float],
        contexts: Mapping[tuple[Branch, int], Tensor] = MappingProxyType({}),
    ) -> Recording:
        """Close the run.

        Args:
            about: what else is known about it: seed, sampler, cfg, model.
            contexts: the encoded prompts (1 token channel) by branch and entry, where queries were kept.

        Raises:
            RecordingError: nothing was recorded; the message says why.
        """
        self._look()
        self._clock.finish()
        self._settle()
        self._take_in_all()
        made, asked = self._steps.made(self._clock.made), self._clock.sigmas_asked()
        self._drop_unchosen(made)
        if not self._maps:
            why = (
                f"Reasons: {reasons_text(self._skipped)}. Remove what interferes, or choose other blocks."
                if self._skipped
                else f"The chosen steps or branches were never evaluated: the sampler made {counted(made, 'step')}. "
                "Choose others."
            )
            raise RecordingError(f"Record Attention: nothing was recorded. {why}")
        return Recording(
            maps=tuple(self._maps[at] for at in sorted(self._maps)),
            projections=MappingProxyType(self._projections),
            layers=tuple(layer for layer in self._run.layers if self.wants_layer(layer)),
            entries=tuple(self._entries.values()),
            latent=self._run.latent,
            images=self._run.images,
            sigmas=self._begun_at(made, asked),
            asked_at=tuple(tuple(asked[key] for key in sorted(asked) if key[0] == step) for step in range(made)),
            selection=self._selection,
            shapes=self._shapes,
            skipped=MappingProxyType(dict(self._skipped)),
            about=MappingProxyType(dict(about)),
            contexts=MappingProxyType(dict(contexts)),
        )

    def _record(self, seen: Seen, index: int, sent: Sent | None = None, place: int = 0) -> None:
        """Record the entry at this index of a layer's batch, which may have its place in what is sent off already."""
        layer, grid, entry = seen.layer, seen.grid, seen.entries[index]
        now = self._open[self._ticket]
        self._entries.setdefault((entry.branch, entry.index), entry)  # a guider may ask for more than was planned
        at = Address(-1, -1, entry.branch, entry.index, layer.order, layer.block, layer.kind)  # its step comes later
        if self._held > self._selection.budget:  # more evaluations a step than the plan assumed
            self.skip(f"{layer.name}: the memory budget was reached")
            return
        if at in now.maps or at in now.projections:
            self.skip(f"{layer.name}: the layer was called again in the same evaluation")
            return
        region = self._make.region(entry) if layer.kind == "self" and "self" in self._selection.kinds else None
        if region is not None and not bool((region > 0).any()):
            self.skip(f"{layer.name}: the region lies outside the area of {entry.branch} entry {entry.index}")
            return
        if sent is None:
            looked = self._make.of_entry(seen, index, queries=self._keeps_queries(layer.kind))
            sent = Sent.off(looked, self._copies, shares=1)
        if sent.maps:
            query_grid, key_grid = self._make.grids(layer.kind, grid, entry)
            build_map = partial(AttentionMap, heads=layer.heads, query_grid=query_grid, key_grid=key_grid)
            now.maps[at] = Coming(sent.maps, build_map, place, sent.shares)
        if sent.kept:
            build_pair = partial(Projection, heads=layer.heads, query_grid=grid)
            now.projections[at] = Coming(sent.kept, build_pair, place, sent.shares)

    @contextmanager
    def _counting_errors(self, layer: AttentionLayer) -> Iterator[None]:
        """Errors while recording a layer are counted, shown, and logged once."""
        try:
            yield
        except Exception as error:
            self.skip(f"{layer.name}: {type(error).__name__}: {error}")
            if not self._logged:
                logging.exception("SceneScope: %s could not be recorded", layer.name)
            self._logged = True

    def _can_be_joined(self, kind: Kind, entries: Sequence[Entry]) -> bool:
        """Whether the entries of a batch are recorded alike, within the budget."""
        alike = kind == "cross" or ("self" in self._selection.kinds and not any(entry.area for entry in entries))
        return alike and self._held <= self._selection.budget

    def _take_batch(self, seen: Seen) -> None:
        """Let a layer wait for others of its size; one whose map is large is read at once."""
        parts = seen.parts(self._run.images, self._selection.keeps)
        if seen.layer.kind == "self" and self._make.is_large(seen):
            self._look_at([[part] for part in parts])
        elif parts and self._waiting.add(parts, seen.query.nbytes + seen.key.nbytes):
            self._look()

    def _look(self) -> None:
        """Read what is waiting."""
        self._look_at(self._waiting.take())

    def _look_at(self, groups: Sequence[Sequence[Seen]]) -> None:
        for group in groups:
            with self._counting_errors(group[0].layer):
                self._look_at_group(group)

    def _look_at_group(self, group: Sequence[Seen]) -> None:
        looked = self._make.of_group(group, queries=self._keeps_queries(group[0].layer.kind))
        shares = sum(len(seen.entries) for seen in group)
        sent, first = None if looked is None else Sent.off(looked, self._copies, shares), 0
        for seen in group:
            with self._counting_errors(seen.layer):
                for index in range(len(seen.entries)):
                    self._record(seen, index, sent, first + index)
            first += len(seen.entries)

    def _keeps_queries(self, kind: Kind) -> bool:
        """Whether queries and keys of the current evaluation may be kept."""
        possible = self._clock.possible_steps()
        return self._selection.keeps_queries(kind) and any(map(self._steps.may_have_queries, possible))

    def _settle(self) -> None:
        """Send off what now has a step, drop what turned out not to be wanted, and take in what was sent before."""
        before, self._coming = self._coming, []
        for ticket in list(self._open):
            label = self._clock.label(ticket)
            if label is None:
                continue
            shown, (step, evaluation) = self._open.pop(ticket), label
            if not self._steps.may_have(step) or (evaluation > 0 and self._selection.evaluations == "first"):
                continue
            self._skips_of(step).update(shown.skipped)
            settled = shown.at(step, evaluation, queries=self._steps.may_have_queries(step))
            self._held += sum(item.nbytes for item in settled.items)
            self._coming.append(settled)
        self._copies.send()
        self._take_in(before)
        if all(item.at_hand for shown in self._coming for item in shown.items):  # on the CPU: nothing travels
            self._take_in_all()
        if oldest := max(0, self._steps.outdated(self._clock.made)):
            self._forget(lambda at: at.step < oldest and not self._steps.shows(at.step))

    def _take_in_all(self) -> None:
        coming, self._coming = self._coming, []
        self._take_in(coming)

    def _take_in(self, coming: Sequence[Evaluation]) -> None:
        """Keep what was sent off; waits for what has not arrived, for the newest first, since then all is there."""
        for shown in reversed(coming):
            maps = {at: item.get(address=at) for at, item in shown.maps.items()}
            self._maps |= maps
            shown_now = (item for at, item in maps.items() if self._steps.shows(at.step))
            self._unreported = [*shown_now, *self._unreported]
            self._projections |= {at: item.get() for at, item in shown.projections.items()}

    def _skips_of(self, step: int) -> Counter[str]:
        return self._skipped_at.setdefault(step, Counter())

    def _forget(self, unwanted: Callable[[Address], bool]) -> None:
        """Drop maps, queries and keys of steps that turned out not to be wanted."""
        for at in filter(unwanted, list(self._maps)):
            self._held -= self._maps.pop(at).maps.nbytes
        for at in filter(unwanted, list(self._projections)):
            self._held -= sum(tensor.nbytes for tensor in self._projections.pop(at).tensors)

    def _drop_unchosen(self, made: int) -> None:
        """Now that the number of steps is known, keep what was chosen of them."""
        chosen, with_queries = self._steps.of(made)
        self._forget(lambda at: at.step not in chosen)
        for at in [at for at in self._projections if at.step not in with_queries]:
            self._held -= sum(tensor.nbytes for tensor in self._projections.pop(at).tensors)
        for step in sorted(self._skipped_at.keys() & chosen):
            self._skipped.update(self._skipped_at[step])

    def _begun_at(self, made: int, asked: Mapping[tuple[int, int], float]) -> tuple[float, ...]:
        """Where each step began, and where the run ended."""
        schedule = self._run.sigmas
        return (*(asked.get((step, 0), schedule[min(step, len(schedule) - 1)]) for step in range(made)), schedule[-1])

    def _report(self) -> tuple[AttentionMap, ...]:
        news, self._unreported = tuple(self._unreported), []
        return news
