"""Recordings made by hand, through the pack's own softmax, for the tests of what is read from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from pack.scenescope.attention.record.layers import AttentionLayer, Kind, Place
from pack.scenescope.attention.record.recording import Address, AttentionMap, Entry, Projection, Recording
from pack.scenescope.attention.record.reducers import reduce_heads
from pack.scenescope.attention.record.scores import attention_scores
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import WordMatch
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.dims import Grid

HEAD_WIDTH = 4
_LAYOUT: tuple[tuple[str, Place, int], ...] = (
    ("input 1", "down", 0), ("input 2", "down", 0), ("input 4", "down", 1), ("input 5", "down", 1),
    ("input 7", "down", 2), ("input 8", "down", 2), ("middle 0", "middle", 3),
    ("output 3", "up", 2), ("output 4", "up", 2), ("output 5", "up", 2),
    ("output 6", "up", 1), ("output 7", "up", 1), ("output 8", "up", 1),
    ("output 9", "up", 0), ("output 10", "up", 0), ("output 11", "up", 0),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run looked like. The defaults are quick, not square, and in half precision."""

    latent: Grid = field(default_factory=lambda: Grid(16, 24))
    steps: int = 2
    images: int = 2
    heads: int = 2
    seed: int = 0
    evaluations: int = 1
    kinds: tuple[Kind, ...] = ("cross",)
    selection: Selection = field(default_factory=Selection)
    entries: tuple[Entry, ...] = ()


def table(prompt: str) -> TokenTable:
    """A prompt of plain words, one token each, between a start and two end columns."""
    words = prompt.split()
    text = [Token(at + 1, 0, at + 1, "text", word, at) for at, word in enumerate(words)]
    end = [Token(len(words) + 1, 0, len(words) + 1, "end", "", None)]
    padding = [Token(len(words) + 2, 0, len(words) + 2, "padding", "", None)]
    return TokenTable(prompt, (Token(0, 0, 0, "start", "", None), *text, *end, *padding))


def entry(prompt: str = "a cat and a dog", branch: str = "positive", index: int = 0, area=None) -> Entry:
    """A conditioning entry with its table."""
    words = table(prompt)
    return Entry(branch, index, len(words.tokens), area, table=words)


def layers(heads: int = 2, kinds: tuple[Kind, ...] = ("cross",)) -> tuple[AttentionLayer, ...]:
    """The sixteen blocks of SD1.5's layout."""
    return tuple(
        AttentionLayer(order, block, place, kind, level, heads, HEAD_WIDTH)
        for order, (block, place, level) in enumerate(_LAYOUT)
        for kind in kinds
    )


def record(run: Run | None = None) -> Recording:
    """Make a recording of random queries and keys; kept queries are kept exactly as they were used."""
    run = run or Run()
    generator = torch.Generator().manual_seed(run.seed)
    entries = run.entries or (entry(),)
    maps, projections = [], {}
    for step in range(run.steps):
        for evaluation in range(run.evaluations):
            for item in entries:
                extent = Grid(*item.area[:2]) if item.area else run.latent
                for layer in layers(run.heads, run.kinds):
                    at = Address(step, evaluation, item.branch, item.index, layer.order, layer.block, layer.kind)
                    made, kept = _layer(at, layer, layer.grid(extent), item.tokens, run, generator)
                    maps.append(made)
                    if run.selection.keep_queries and layer.kind == "cross":
                        projections[at] = kept
    return Recording(
        maps=tuple(maps),
        layers=layers(run.heads, run.kinds),
        entries=entries,
        latent=run.latent,
        images=run.images,
        sigmas=tuple(float(value) for value in range(run.steps, -1, -1)),
        selection=run.selection,
        projections=projections,
    )


def _layer(at, layer, grid, tokens, run, generator):
    keys = tokens if layer.kind == "cross" else grid.cells
    inner = layer.heads * HEAD_WIDTH
    query = 2 * torch.randn(run.images, grid.cells, inner, generator=generator)
    key = torch.randn(run.images, keys, inner, generator=generator)
    full = attention_scores(query, key, layer.heads)
    scores = reduce_heads(full, run.selection.heads).to(run.selection.precision)
    key_grid = None if layer.kind == "cross" else grid
    return AttentionMap(at, scores, layer.heads, grid, key_grid), Projection(query, key, layer.heads, grid)


def match(label: str, *occurrences: tuple[int, ...]) -> WordMatch:
    """A word at these columns."""
    return WordMatch(label, occurrences)
