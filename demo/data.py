"""What the denoiser is trained on: latents of drawn pictures, and the tokens of their captions."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..scenescope.world.latent import CELL, latent_of
from ..scenescope.world.scene import Layout, draw
from .captions import training_caption
from .layouts import training_layout

LENGTH, BEGIN, END = 77, 49406, 49407
"""SD1's tokenizer: tokens per prompt, and the ids that start and end one."""
UNCAPTIONED, UNKNOWN = 0.1, 0.01
"""Shares of pictures without a caption, for guidance, and of words that are replaced by one that nobody knows."""
APART = 10**9
"""Between the numbers of two workers' first pictures."""


@dataclass(frozen=True)
class Size:
    """Side of a picture in pixels, its share of the steps, and how many pictures a step has, in shares of the batch."""

    side: int
    share: float
    batch: float


SIZES = (Size(128, 0.6, 1), Size(96, 0.25, 1.5), Size(160, 0.1, 0.6), Size(192, 0.05, 0.4))
"""128 pixels most: what the figures and the examples are made at."""
POOL = 700


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


class Batches(IterableDataset[Batch]):
    """Batches without end, each of pictures of one size; each worker of a loader draws its own.

    Args:
        seed: of the pictures.
        batch: pictures of 128 pixels a step.
        first: number of the first step.
        ids_of: token ids of one word.
    """

    def __init__(self, seed: int, batch: int, first: int, ids_of: Callable[[str], list[int]]) -> None:
        self.seed, self.batch, self.first, self.ids_of = seed, batch, first, ids_of

    def __iter__(self) -> Iterator[Batch]:
        worker, workers = place_of_worker()
        start = self.first * 3 + worker * APART
        pools = [Pool(self.seed, size.side, start, round(POOL * size.share) + 40) for size in SIZES]
        for step in itertools.count(self.first + worker, workers):
            rng = np.random.default_rng([self.seed, 7, step])
            which = int(rng.choice(len(SIZES), p=[size.share for size in SIZES]))
            pools[which].draw(max(3, self.batch // 5) if pools[which].stock else pools[which].size)
            yield collate(pools[which].pick(max(1, round(self.batch * SIZES[which].batch)), rng), self.ids_of, rng)


def place_of_worker() -> tuple[int, int]:
    """Number of this worker among all of its loader; (0, 1) where there are none."""
    worker = get_worker_info()
    return (worker.id, worker.num_workers) if worker else (0, 1)


def drawn_ahead(dataset: IterableDataset[Any], device: str) -> Iterator[Any]:
    """What a data set gives, in its order; for a GPU, which outruns one core, drawn by all but one of them.

    Without workers it is the same on every machine; with them it depends on how many cores there are.
    """
    workers = 0 if device == "cpu" else max(1, (os.cpu_count() or 2) - 1)
    return iter(DataLoader(dataset, batch_size=None, num_workers=workers))
