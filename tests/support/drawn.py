"""Recordings whose maps are drawn by hand, a map for each word."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pack.scenescope.attention.record.layers import AttentionLayer
from pack.scenescope.attention.record.recording import Address, AttentionMap, Entry, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.tests.support.recordings import table
from torch import Tensor

LATENT = Grid(16, 24)
_ARMS = (("input 1", "down", 0), ("input 4", "down", 1), ("output 6", "up", 1), ("output 9", "up", 0))


def disc(row: float, column: float, radius: float = 4.0) -> Tensor:
    """A soft disc (height width) on the latent: 1 inside, falling to a little elsewhere."""
    rows, columns = torch.arange(LATENT.height)[:, None] + 0.5, torch.arange(LATENT.width)[None] + 0.5
    far = ((rows - row) ** 2 + (columns - column) ** 2).sqrt()
    return (radius + 0.5 - far).clamp(0, 1) + 0.02


def even() -> Tensor:
    """The same everywhere."""
    return torch.ones(LATENT)


def drawn(prompt: str, maps: Mapping[str, Tensor], *, steps: int = 4, start: float = 0.3) -> Recording:
    """A recording of plain words in which each looks where it is drawn, at every step and layer.

    Args:
        prompt: words, a token each.
        maps: word -> (height width) on the latent; words that are not drawn are nearly nowhere.
        steps: of the run.
        start: the start token's share of all attention.
    """
    words = table(prompt)
    shares = torch.full((len(words.tokens), *LATENT), 1e-4)
    for word in words.words():
        if word.text in maps:
            shares[list(word.columns)] = maps[word.text].float() * 0.05
    shares[0] = start
    entry = Entry("positive", 0, len(words.tokens), table=words)
    layers = tuple(
        AttentionLayer(order, name, arm, "cross", level, 2, 4) for order, (name, arm, level) in enumerate(_ARMS)
    )
    kept = []
    for step in range(steps):
        for layer in layers:
            grid = layer.grid(LATENT)
            small = torch.nn.functional.adaptive_avg_pool2d(shares[None], tuple(grid))[0]
            at = Address(step, 0, "positive", 0, layer.order, layer.block, "cross")
            kept.append(AttentionMap(at, small.flatten(1).T[None, None].clone(), 2, grid))
    sigmas = tuple(float(value) for value in range(steps, -1, -1))
    return Recording(tuple(kept), layers, (entry,), LATENT, 1, sigmas, Selection())
