"""What the denoiser is trained on: latents of drawn pictures, and the tokens of their captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..scenescope.world.latent import CELL, latent_of
from ..scenescope.world.scene import Layout, draw
from .captions import training_caption
from .layouts import training_layout

LENGTH, BEGIN, END = 77, 49406, 49407
"""SD1's tokenizer: tokens per prompt, and the ids that start and end one."""
UNCAPTIONED, UNKNOWN = 0.1, 0.01
"""Shares of pictures without a caption, for guidance, and of words that are replaced by one that nobody knows."""


@dataclass(frozen=True)
class Sample:
    """One training picture: latent (4 row column), and what was drawn."""

    latent: np.ndarray
    layout: Layout


@dataclass(frozen=True)
class Batch:
    """Latents (batch 4 row column) and tokens (batch 77) ids."""

    latents: torch.Tensor
    tokens: torch.Tensor


def shown(layout: Layout, side: int) -> Sample:
    """Draw a layout as a square training picture."""
    return Sample(latent_of(draw(layout, height=side, width=side).picture), layout)


def collate(samples: list[Sample], ids_of: Callable[[str], list[int]], rng: np.random.Generator) -> Batch:
    """Stack samples with fresh captions; one in ten has none."""
    tokens = np.full((len(samples), LENGTH), END)
    tokens[:, 0] = BEGIN
    for row, one in enumerate(samples):
        if rng.random() < UNCAPTIONED:
            continue
        words = training_caption(one.layout, rng).replace(",", " ,").split()
        ids = [-1 if rng.random() < UNKNOWN else token for word in words for token in ids_of(word)]
        tokens[row, 1 : 1 + len(ids)] = ids[: LENGTH - 2]
    latents = torch.from_numpy(np.stack([one.latent for one in samples]))
    return Batch(latents, torch.from_numpy(tokens))


class Pool:
    """A rolling stock of drawn pictures of one size: every step replaces a few, so none is seen for long.

    Args:
        seed: of the pictures.
        side: in pixels, a multiple of CELL.
        first: number of the next picture.
        size: of the stock.
    """

    def __init__(self, seed: int, side: int, first: int, size: int) -> None:
        self.seed, self.side, self.next, self.size = seed, side, first, size
        self.stock: list[Sample] = []

    def draw(self, count: int) -> None:
        """Add `count` new pictures in place of the oldest."""
        for _ in range(count):
            rng = np.random.default_rng([self.seed, self.side // CELL, self.next])
            self.stock.append(shown(training_layout(rng), self.side))
            self.next += 1
        del self.stock[: max(0, len(self.stock) - self.size)]

    def pick(self, count: int, rng: np.random.Generator) -> list[Sample]:
        """Pick pictures at random."""
        return [self.stock[i] for i in rng.integers(len(self.stock), size=count)]
