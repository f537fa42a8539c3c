"""The maps of a few words while a run is sampled: means over the steps so far, small enough to send after each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...dims import Grid
from ...errors import WordError
from ...resample import resize
from ..record.choices import choose_blocks
from ..record.layers import AttentionLayer
from ..record.recording import AttentionMap, Entry
from ..record.selection import NEGATIVE, POSITIVE, Branch, Selection
from ..words.find import find_words
from ..words.tokens import TokenTable, fold

CELLS = 16 * 16
"""The grid that is shown is the one nearest to this: at 512x512 it is latent / 4, where words are told apart best."""
FIRST_WORDS, MOST_WORDS, CANDIDATES = 6, 8, 24
_SMALL_WORDS = frozenset(("a", "an", "the", "of", "in", "on", "at", "and", "or", "with", "to", "by", "for", "from"))


@dataclass(frozen=True)
class LiveMap:
    """A word's map so far.

    Args:
        label: the word, or `#3` where the columns are not known by their words.
        area: (height, width, top, left) in latent cells that it covers, None for the whole picture.
        values: (height width) float32, mean share of attention of the first picture.
    """

    label: str
    area: tuple[int, int, int, int] | None
    values: Tensor


@dataclass(frozen=True)
class _Part:
    """The words asked of one entry: their columns, (word column) float32, how each is the mean of its own; nouns."""

    entry: Entry
    labels: tuple[str, ...]
    columns: Tensor
    weights: Tensor
    nouns: frozenset[str]


class LiveMaps:
    """Running means of the maps of a few words.

    One level of the U-Net is taken, that nearest to 16x16 cells among the recorded ones; of several pictures the first.

    Args:
        layers: of the run's model.
        entries: of the run.
        latent: the picture's grid.
        selection: what is recorded.
        words: as `find_words` reads them; empty for six: the nouns, then the words whose shares are largest somewhere,
            without the small ones such as `of`.
    """

    def __init__(
        self,
        layers: Sequence[AttentionLayer],
        entries: Sequence[Entry],
        latent: Grid,
        selection: Selection,
        words: str = "",
    ) -> None:
        self.branch: Branch = POSITIVE if selection.keeps(POSITIVE) else NEGATIVE
        blocks = choose_blocks(selection.blocks, layers)
        watched = [layer for layer in layers if layer.kind == "cross" and layer.block in blocks]
        grids = {layer.grid(latent) for layer in watched} if "cross" in selection.kinds else set()
        self.grid = min(grids, key=lambda grid: abs(_octaves(grid)), default=None)
        self._orders = {layer.order for layer in watched if layer.grid(latent) == self.grid}
        self._chosen = bool(words.strip())
        self._parts, self.note = _parts([entry for entry in entries if entry.branch == self.branch], words)
        self._sums: dict[int, dict[Grid, Tensor]] = {}  # by entry and by the grid that maps were made on
        self._counts: dict[int, int] = {}

    def add(self, maps: Iterable[AttentionMap]) -> None:
        """Take the maps of a step; those of other branches, levels and kinds are passed over."""
        for item in maps:
            at = item.address
            part = self._parts.get(at.entry)
            if part is None or at.branch != self.branch or at.kind != "cross" or at.order not in self._orders:
                continue
            # Few and cheap calls: a step of a fast GPU lasts 50 ms. The words' means are taken when they are asked for.
            shown = item.maps[0].index_select(-1, part.columns).sum(dim=0, dtype=torch.float32)  # (query token)
            shown = shown / item.maps.shape[1] if item.maps.shape[1] > 1 else shown
            sums = self._sums.setdefault(at.entry, {})
            before = sums.get(item.query_grid)
            sums[item.query_grid] = shown if before is None else before.add_(shown)
            self._counts[at.entry] = self._counts.get(at.entry, 0) + 1

    def so_far(self) -> tuple[LiveMap, ...]:
        """The means, in the prompt's order or in that of the choice; none before the first step."""
        shown: list[LiveMap] = []
        nouns: list[bool] = []
        for index, part in self._parts.items():
            if index in self._sums:
                finest = max(self._sums[index], key=lambda grid: grid.cells)
                parts = [(part.weights @ sums.T).unflatten(1, grid) for grid, sums in self._sums[index].items()]
                whole = torch.stack([resize(one, finest) for one in parts]).sum(dim=0)  # (word height width)
                maps = whole / self._counts[index]
                shown += [
                    LiveMap(label, part.entry.area, values) for label, values in zip(part.labels, maps, strict=True)
                ]
                nouns += [label in part.nouns for label in part.labels]
        if self._chosen and not self.note:
            return tuple(shown)
        places = sorted(range(len(shown)), key=lambda at: (not nouns[at], -float(shown[at].values.max())))
        return tuple(shown[at] for at in sorted(places[:FIRST_WORDS]))


def _octaves(grid: Grid) -> float:
    return math.log2(grid.cells / CELLS)


def _parts(entries: Sequence[Entry], words: str) -> tuple[dict[int, _Part], str]:
    """What to show of each entry, and what to say if words were not found, which must not stop a run."""
    parts: dict[int, _Part] = {}
    notes: list[str] = []
    left = MOST_WORDS if words.strip() else CANDIDATES
    for entry in entries:
        try:
            found = _asked(entry.table, words) if words.strip() and entry.table else _first(entry)
        except WordError as error:
            notes.append(str(error))
            found = []
        if found[:left]:
            parts[entry.index] = _part(entry, found[:left])
            left -= len(found[:left])
    if notes and not parts:
        return _parts(entries, "")[0], notes[0]
    return parts, ""


def _part(entry: Entry, words: Sequence[tuple[str, tuple[int, ...]]]) -> _Part:
    columns = sorted({column for _, own in words for column in own})
    weights = torch.tensor([[(column in own) / len(own) for column in columns] for _, own in words])
    return _Part(entry, tuple(label for label, _ in words), torch.tensor(columns), weights, _nouns(entry.table))


def _nouns(table: TokenTable | None) -> frozenset[str]:
    """The words that a phrase ends with: behind them come a small word, punctuation, or nothing."""
    words = table.words() if table else ()
    ends = [*(word.punctuation or fold(word.text) in _SMALL_WORDS for word in words[1:]), True]
    return frozenset(word.text for word, end in zip(words, ends, strict=False) if end)


def _asked(table: TokenTable, words: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(match.label, match.columns) for match in find_words(table, words)]


def _first(entry: Entry) -> list[tuple[str, tuple[int, ...]]]:
    """The words that mean something; columns if the words are not known."""
    if entry.table is None:
        return [(f"#{column}", (column,)) for column in range(1, min(1 + CANDIDATES, entry.tokens))]
    words = [word for word in entry.table.words() if not word.punctuation and word.occurrence == 1]
    telling = [word for word in words if word.embedding or fold(word.text) not in _SMALL_WORDS]
    return [(word.text, word.columns) for word in telling or words]
