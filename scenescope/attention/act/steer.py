"""Words lifted, lowered or placed: log-odds added to their columns of cross-attention, and what that did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...dims import Grid
from ...errors import InputError, SelectionError, WordError
from ...host_copies import to_host
from ..read.live import CELLS
from ..record.budget import RunSpec
from ..record.choices import choose_blocks, choose_heads
from ..record.evaluation import reasons_text
from ..record.layers import AttentionLayer
from ..record.recording import Entry
from ..record.reducers import Constants
from ..record.scores import OuterBias, attention_in_chunks, repeated
from ..words.find import find_words
from ..words.tokens import TokenTable
from .acts import Act, BiasOf, Effect, LayerWrite, ModelCall, steps_between
from .place import Place, on_layer

STRONGEST = 12.0
"""At -12 a word has e^-12 of its odds: it is off. Half precision holds many times that."""

Branches = Literal["positive", "negative", "both"]


@dataclass(frozen=True, eq=False)
class Steering:
    """Words, and by how much and where their odds of being looked at change.

    Args:
        words: words and phrases of the prompt, as `find_words` reads them; all of them are steered alike.
        strength: log-odds added inside the place, or everywhere where there is none; 0 does nothing.
        outside: log-odds added outside the place.
        place: where; None for everywhere.
        start: share of the steps before the first one that is steered, 0..1.
        end: share of the steps up to the last one that is steered, 0..1.
        branch: whose prompt; `both` takes those of guiders with more than two as well.
        blocks: as `choose_blocks` reads them.
        heads: `all`, or numbers as `choose_heads` reads them.
        entry: conditioning entry of the branch, from 0; -1 for every one that has the words.
        who: the node's name, for messages.
        together: log-odds by which cells on one side of the place look at each other in self-attention, and by which
            cells on different sides do not; 0 does nothing, as does a steering without a place.
    """

    words: str
    strength: float
    outside: float = 0.0
    place: Place | None = None
    start: float = 0.0
    end: float = 1.0
    branch: Branches = "positive"
    blocks: str = "all"
    heads: str = "all"
    entry: int = -1
    who: str = "Steer Words"
    together: float = 0.0

    def begin(self, run: RunSpec) -> SteeringAct:
        """Find the words and the place in one run.

        Raises:
            WordError: the words are not in the prompt, or the prompt's words are not known.
            InputError: the place is empty, a strength too large, or the branch is not evaluated.
            SelectionError: blocks or heads name what is not there.
        """
        for odds in (self.strength, self.outside, self.together):
            if not abs(odds) <= STRONGEST:
                raise InputError(
                    f"{self.who}: the strength is {odds:g}, but log-odds have to be between -{STRONGEST:g} and "
                    f"{STRONGEST:g}. Choose a number closer to 0: at -{STRONGEST:g} a word is already off."
                )
        return SteeringAct(self, run, self._columns(run))

    def _columns(self, run: RunSpec) -> dict[tuple[str, int], tuple[int, ...]]:
        """The words' columns in each entry that has them."""
        mine = [item for item in run.entries if self.branch in (item.branch, "both")]
        if not mine:
            raise InputError(
                f"{self.who}: the {self.branch} prompt is not evaluated in this run. At cfg 1 the negative prompt is "
                "left out: choose another branch, or raise cfg."
            )
        entries = [item for item in mine if self.entry in (-1, item.index)]
        if not entries:
            known = ", ".join(f"{item.branch} {item.index}" for item in mine)
            raise InputError(
                f"{self.who}: entry is {self.entry}, but this run has {known}. Choose one of these, or -1 for each "
                "that has the words."
            )
        tables = {(item.branch, item.index): item.table for item in entries if item.table is not None}
        if not tables:
            raise WordError(
                f"{self.who}: the {self.branch} conditioning doesn't carry its words. Put Trace Words between the CLIP "
                "and CLIP Text Encode."
            )
        if not self.words.strip():
            raise WordError(f"{self.who}: no words were given. Write words of the prompt.")
        looked = {at: columns_in(table, self.words) for at, table in tables.items()}
        found = {at: columns for at, columns in looked.items() if not isinstance(columns, WordError)}
        if not found:
            raise next(error for error in looked.values() if isinstance(error, WordError))
        return found


def columns_in(table: TokenTable, words: str) -> tuple[int, ...] | WordError:
    """The columns of all these words, in ascending order, or why there are none."""
    try:
        return tuple(sorted({column for match in find_words(table, words) for column in match.columns}))
    except WordError as error:  # another entry of the branch may have the words
        return error


class _WordsBias:
    """The log-odds of one steering on any layer."""

    def __init__(
        self, steering: Steering, run: RunSpec, columns: Mapping[tuple[str, int], tuple[int, ...]], total_heads: int
    ) -> None:
        self._steering, self._columns = steering, columns
        self._heads = choose_heads(steering.heads, total_heads)
        self._total = total_heads
        self.covered = (
            None if steering.place is None else steering.place.on_latent(run.latent, run.images, steering.who)
        )

    def inside(self, grid: Grid, entry: Entry) -> Tensor:
        """(1|image query) float32 0..1: the place on a layer, all of it without one."""
        if self.covered is None:
            return torch.ones(1, grid.cells)
        return on_layer(self.covered, grid, entry)

    def on(self, grid: Grid, entry: Entry) -> Tensor | None:
        """(1|image 1|head query token) float32, None for an entry without the words."""
        columns = self._columns.get((entry.branch, entry.index))
        if columns is None:
            return None
        inside = self.inside(grid, entry)
        strength = inside * self._steering.strength + (1 - inside) * self._steering.outside  # (1|image query)
        heads = 1 if self._heads is None else self._total
        bias = torch.zeros(inside.shape[0], heads, grid.cells, entry.tokens)
        own = slice(None) if self._heads is None else list(self._heads)
        for column in columns:
            bias[:, own, :, column] = strength[:, None]
        return bias

    def factors(self, grid: Grid, entry: Entry) -> OuterBias | None:
        """The sides of the place, 1 inside and -1 outside: their product is 1 where both cells are on one side."""
        if (entry.branch, entry.index) not in self._columns:
            return None
        root, sign = math.sqrt(abs(self._steering.together)), math.copysign(1.0, self._steering.together)
        side = (2 * self.inside(grid, entry) - 1)[..., None] * root  # (1|image query 1)
        return OuterBias(side * sign, side)


class SteeringAct(Act):
    """One steering at work in one run.

    Args:
        steering: what was asked for.
        run: the run.
        columns: the words' columns by (branch, index) of the entries that have them.
    """

    def __init__(self, steering: Steering, run: RunSpec, columns: Mapping[tuple[str, int], tuple[int, ...]]) -> None:
        cross = [layer for layer in run.layers if layer.kind == "cross"]
        heads = {layer.heads for layer in cross}
        if len(heads) > 1 and choose_heads(steering.heads, min(heads)) is not None:
            raise SelectionError(
                f"{steering.who}: heads is {steering.heads!r}, but this model's layers have {sorted(heads)} heads, so "
                "single heads can't be named. Set heads to all."
            )
        self._steering, self._run, self._columns = steering, run, columns
        self._blocks = choose_blocks(steering.blocks, cross)
        self._steps = steps_between(steering.start, steering.end, run.steps)
        self._bias = _WordsBias(steering, run, columns, max(heads))
        self._write = LayerWrite(bias=self._bias) if steering.strength or steering.outside else None
        holding = steering.together and steering.place is not None
        self._self_write = LayerWrite(self_bias=self._bias) if holding else None
        self._measured = {self._steps[0], self._steps[-1]} if self._steps else set()
        nearest = min((abs(math.log2(layer.grid(run.latent).cells / CELLS)) for layer in cross), default=0.0)
        self._watched = {s.order for s in cross if abs(math.log2(s.grid(run.latent).cells / CELLS)) == nearest}
        self._shares, self._constants = _Shares(), Constants()

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """The bias, at the chosen blocks and steps, in calls that have the words."""
        write = self._write if layer.kind == "cross" else self._self_write
        if write is None or call.step not in self._steps:
            return None
        mine = layer.block in self._blocks and any((e.branch, e.index) in self._columns for e in call.entries)
        return write if mine else None

    def watches(self, layer: AttentionLayer, call: ModelCall) -> bool:
        """What the strength does is measured at the first and the last steered step, on the grid nearest to 16x16."""
        wanted = call.first_pass and call.step in self._measured and layer.order in self._watched
        wanted = wanted and layer.kind == "cross"
        return wanted and self.write(layer, call) is not None

    def see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid, call: ModelCall, bias: BiasOf) -> None:
        """Add up the words' shares before and after, inside the place and outside."""
        if query.shape[:2] != (call.images * len(call.entries), grid.cells):
            return
        for position, entry in enumerate(call.entries):
            columns, added = self._columns.get((entry.branch, entry.index)), bias(position)
            if columns is None or not isinstance(added, Tensor):
                continue
            rows = call.rows(position)
            repeats = key.shape[1] // entry.tokens
            inside = self._bias.inside(grid, entry)
            for name, part in (("before", None), ("after", repeated(added, repeats))):
                shares = [
                    (maps @ self._marks(columns, entry.tokens, repeats, maps)).mean(dim=1)  # (image query)
                    for _, maps in attention_in_chunks(query[rows], key[rows], layer.heads, bias=part)
                ]
                self._shares.add(name, torch.cat(shares, dim=1), inside)

    def _marks(self, columns: Sequence[int], tokens: int, repeats: int, like: Tensor) -> Tensor:
        """(repeats*token) 1 at the words' columns; uploaded once, where a list as an index is uploaded each time."""

        def make() -> Tensor:
            marks = torch.zeros(tokens)
            marks[list(columns)] = 1
            return marks.repeat(repeats)

        return self._constants.like(like, (tuple(columns), tokens, repeats), make)

    def finish(self, skipped: Mapping[str, int]) -> str:
        """What was asked for, and what it did."""
        steering = self._steering
        lines = [f"{steering.words.strip()}: {self._what()}"]
        lines += _told(self._measured_shares())
        if self._bias.covered is not None and steering.outside and bool((self._bias.covered > 0.999).all()):
            lines.append("The mask covers the whole picture, so there is no outside. Paint where the words should be.")
        if self._write is not None and self._run.controlled:
            lines.append("A ControlNet has its own attention: words don't move what it holds in place.")
        if skipped:
            lines.append(f"not steered: {reasons_text(skipped)}")
        return "\n".join(lines)

    def effects(self) -> Sequence[Effect]:
        """The words' shares before and after, for each prompt that has them."""
        steering, shares = self._steering, self._measured_shares()
        if "inside" not in shares:
            return ()
        rounded = {where: (round(before, 5), round(after, 5)) for where, (before, after) in shares.items()}
        placed = steering.place is not None
        return [
            Effect(
                steering.words.strip(),
                branch,
                entry,
                columns,
                steering.strength,
                steering.outside if placed else None,
                (self._steps[0], self._steps[-1]),
                rounded["inside"],
                rounded.get("elsewhere"),
            )
            for (branch, entry), columns in self._columns.items()
        ]

    def _measured_shares(self) -> dict[str, tuple[float, float]]:
        if self._write is None or not self._steps:
            return {}
        return self._shares.means(self._steering.place is not None)

    def _what(self) -> str:
        steering = self._steering
        if self._write is None and self._self_write is None:
            return "strength 0, nothing was done"
        if not self._steps:
            return "no step lies between start and end, nothing was done"
        steps = f"steps {self._steps[0]} to {self._steps[-1]}"
        inside = f"{steering.strength:+g} (odds x{math.exp(steering.strength):.3g})"
        if steering.place is None:
            return f"{inside}, {steps}"
        return f"{inside} inside, {steering.outside:+g} (odds x{math.exp(steering.outside):.3g}) outside, {steps}"


class _Shares:
    """Shares and where they count, kept on their device until they are asked for."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def add(self, name: str, share: Tensor, inside: Tensor) -> None:
        """Take the shares (image query) of one layer, and the place (1|image query)."""
        self._seen.setdefault(name, []).append((share, inside))

    def means(self, placed: bool) -> dict[str, tuple[float, float]]:
        """The mean shares before and after: inside the place or of the whole picture, and elsewhere."""
        shares = iter(to_host([share for seen in self._seen.values() for share, _ in seen]))
        pairs = {name: [(next(shares), inside) for _, inside in seen] for name, seen in self._seen.items()}
        return {
            where: (_mean(pairs["before"], where), _mean(pairs["after"], where))
            for where in (("inside", "elsewhere") if placed else ("inside",))
            if pairs
        }


def _mean(pairs: Sequence[tuple[Tensor, Tensor]], where: str) -> float:
    """The mean of shares (image query) inside places (1|image query), or elsewhere."""
    sums = []
    for share, inside in pairs:
        weight = inside if where == "inside" else 1 - inside
        sums.append(torch.stack([(share * weight).sum(), weight.sum() * (share.shape[0] / weight.shape[0])]))
    total = torch.stack(sums).sum(dim=0)
    return float(total[0] / total[1].clamp(min=1e-9))


def _told(shares: Mapping[str, tuple[float, float]]) -> list[str]:
    """The same in a line for a person."""
    names = {"inside": "in the place" if "elsewhere" in shares else "of all attention", "elsewhere": "elsewhere"}
    told = [f"{names[where]}: {before:.3f} -> {after:.3f}" for where, (before, after) in shares.items()]
    return [f"share {', '.join(told)} (first and last steered step)"] if told else []
