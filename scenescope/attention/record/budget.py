"""What a selection will hold, in bytes, before anything is sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...dims import Grid, bytes_text
from ...errors import BudgetError
from .choices import StepChoice, choose_blocks, choose_steps
from .layers import AttentionLayer
from .recording import Entry
from .selection import POSITIVE, Selection

ASSUMED_EVALUATIONS = 2  # of a step, where all are kept: what second-order samplers make


@dataclass(frozen=True)
class RunSpec:
    """Everything about a coming run that decides how much it will keep.

    Args:
        layers: all attention layers of the model.
        latent: the latent's grid.
        images: pictures of the batch.
        sigmas: the schedule, steps + 1 values.
        entries: the conditioning entries.
        seed: of the starting noise, where it is known.
        own_steps: whether the sampler may make other steps than the schedule's, so that only the end tells how many.
        controlled: whether a ControlNet or similar is used in it.
        sampler: its name, where it is known.
        weights: names the model's weights, of which it reads some; None where that cannot be told.
    """

    layers: tuple[AttentionLayer, ...]
    latent: Grid
    images: int
    sigmas: tuple[float, ...]
    entries: tuple[Entry, ...]
    seed: int | None = None
    own_steps: bool = False
    controlled: bool = False
    sampler: str | None = None
    weights: Callable[[], str] | None = None

    @property
    def steps(self) -> int:
        """Sampler steps of the schedule."""
        return max(1, len(self.sigmas) - 1)


@dataclass(frozen=True)
class MemoryPlan:
    """The bytes that a run will hold.

    Args:
        total: all of them.
        per_step: of one sampler step.
        steps: steps that are kept.
        parts: bytes of a step by what they are for (`cross`, `self`, `queries`).
        query_steps: steps of which queries and keys are kept.
    """

    total: int
    per_step: int
    steps: int
    parts: tuple[tuple[str, int], ...]
    query_steps: int

    def __str__(self) -> str:
        detail = ", ".join(f"{name} {bytes_text(count)}" for name, count in self.parts if count)
        if dict(self.parts)["queries"] and self.query_steps < self.steps:
            detail += f" in the first {self.query_steps}"
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"{bytes_text(self.total)} for {steps} ({bytes_text(self.per_step)} a step: {detail})"


def plan_run(run: RunSpec, selection: Selection) -> MemoryPlan:
    """Compute what a run will hold with this selection; by its schedule, even if the sampler chooses its own steps.

    Raises:
        SelectionError: a block or step is named that is not there.

    >>> layer = AttentionLayer(0, "input 1", "down", "cross", 0, 8, 40)
    >>> run = RunSpec((layer,), Grid(64, 64), 1, (1.0, 0.0), (Entry("positive", 0, 77),))
    >>> plan_run(run, Selection()).total == 4096 * 77 * 2
    True
    """
    blocks = choose_blocks(selection.blocks, run.layers)
    steps = len(planned_steps(run, selection)) or 1
    evaluations = ASSUMED_EVALUATIONS if selection.evaluations == "all" else 1
    numbers, queries = {"cross": 0, "self": 0}, 0
    for entry in run.entries:
        if not selection.keeps(entry.branch):
            continue
        extent = entry.extent(run.latent)
        for layer in (layer for layer in run.layers if layer.block in blocks):
            if layer.kind in selection.kinds:
                numbers[layer.kind] += run.images * _map_numbers(layer, extent, entry.tokens, selection)
            if selection.keeps_queries(layer.kind):
                queries += run.images * _query_bytes(layer, extent, entry.tokens, selection)
    parts = {name: count * evaluations * selection.item_bytes for name, count in numbers.items()}
    query_steps = len(selection.query_steps(run.steps))
    total = sum(parts.values()) * steps + queries * evaluations * query_steps
    parts["queries"] = queries * evaluations
    return MemoryPlan(total, sum(parts.values()), steps, tuple(parts.items()), query_steps)


def _query_bytes(layer: AttentionLayer, latent: Grid, tokens: int, selection: Selection) -> int:
    cells = layer.grid(latent).cells
    rows, scale = cells + (tokens if layer.kind == "cross" else cells), 4 if selection.query_dtype == torch.int8 else 0
    return rows * (layer.heads * layer.head_width * selection.query_dtype.itemsize + scale)


def planned_steps(run: RunSpec, selection: Selection) -> frozenset[int]:
    """The steps of the schedule that are chosen; with a sampler's own steps there may be none of them.

    Raises:
        SelectionError: the choice is not understood, or no step of a run that follows its schedule.
    """
    if run.own_steps:
        return StepChoice.read(selection.steps).of(run.steps)
    return choose_steps(selection.steps, run.steps)


def _map_numbers(layer: AttentionLayer, latent: Grid, tokens: int, selection: Selection) -> int:
    heads = layer.heads if selection.heads == "each" else 1
    grid = layer.grid(latent)
    if layer.kind == "cross":
        return heads * grid.cells * tokens
    reduced = self_grid(grid, latent, selection)
    return heads * (1 if selection.self_region is not None else reduced.cells) * reduced.cells


def self_grid(grid: Grid, latent: Grid, selection: Selection) -> Grid:
    """The grid that self-attention is kept at: the one asked for, or the layer's own where that is coarser."""
    wanted = latent.coarser(selection.self_times)
    return Grid(min(grid.height, wanted.height), min(grid.width, wanted.width))


def check_budget(run: RunSpec, selection: Selection) -> MemoryPlan:
    """Plan a run, and refuse it if it would not fit its budget.

    Raises:
        BudgetError: it does not fit; the message names a selection that does.
    """
    plan = plan_run(run, selection)
    if plan.total <= selection.budget:
        return plan
    message = f"Record Attention: this selection needs {plan}, more than the budget of {bytes_text(selection.budget)}. "
    for smaller, words in _smaller(run, selection):
        fitting = plan_run(run, smaller)
        if fitting.total <= selection.budget:
            raise BudgetError(f"{message}Choose {words}, which needs {bytes_text(fitting.total)}, or raise the budget.")
    raise BudgetError(f"{message}Even the last step alone needs more: raise the budget, or make a smaller picture.")


def _smaller(run: RunSpec, selection: Selection) -> Iterator[tuple[Selection, str]]:
    """Selections that keep less and less, each with the words that tell the user how to choose it."""
    words: dict[str, str] = {}
    for name, value, text in _savings(run, selection):
        words[name] = text  # replaces an earlier saving of the same setting, and adds to those of others
        selection = replace(selection, **{name: value})
        yield selection, " and ".join(words.values())


def _savings(run: RunSpec, selection: Selection) -> Iterator[tuple[str, Any, str]]:
    """The setting, its smaller value, and the words for it: the names that the nodes' widgets have."""
    if selection.keep_self_queries:
        yield "keep_self_queries", False, "keep_self_queries `off`"
    if selection.keep_queries:
        yield "query_precision", "int8", "queries_as `int8`"
        yield "queries_until", 0.4, "queries_until `0.4`"
        yield "keep_queries", False, "keep_queries `off`"
    if selection.evaluations == "all":
        yield "evaluations", "first", "evaluations `first`"
    if selection.item_bytes > torch.finfo(torch.float16).bits // 8:
        yield "precision", torch.float16, "precision `half`"
    if selection.heads == "each":
        yield "heads", "mean", "heads `mean`"
    if "self" in selection.kinds:
        for times in (2, 4, 8):
            if times > selection.self_times:
                yield "self_times", times, f"self_resolution `latent / {times}`"
    if len(selection.branches) > 1:
        yield "branches", (POSITIVE,), "branch `positive`"
    yield from _fewer_blocks_and_steps(run, selection)


def _fewer_blocks_and_steps(run: RunSpec, selection: Selection) -> Iterator[tuple[str, Any, str]]:
    chosen = choose_blocks(selection.blocks, run.layers)
    for level in (1, 2):
        names = list(dict.fromkeys(s.block for s in run.layers if s.level >= level and s.block in chosen))
        if names and len(names) < len(chosen):
            yield "blocks", ", ".join(names), f"blocks `{', '.join(names)}`"
    steps = planned_steps(run, selection) or frozenset({0})
    for every in (2, 4, 8):
        kept = sorted(steps)[::every]
        if len(kept) < len(steps):
            yield "steps", ",".join(map(str, kept)), f"record_steps `{','.join(map(str, kept))}`"
    yield "steps", str(max(steps)), f"record_steps `{max(steps)}`"
