"""What the denoiser is trained on: latents, caption tokens, and where in the picture each word belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..scenescope.world.latent import CELL, latent_of
from ..scenescope.world.scene import Layout, draw, random_layout, training_words
from ..scenescope.world.vocabulary import BACKGROUNDS

LENGTH, BEGIN, END = 77, 49406, 49407
"""Of SD1's tokenizer: tokens per prompt, and the ids that start and end one."""

BACKGROUND_WORDS = {"beach", "snow", "forest", "wooden", "floor", "desert", "night", "grey", "white", "background"}


@dataclass(frozen=True)
class Sample:
    """One training picture.

    latent: (4, row, column). shares: (thing + 1, row, column), the background first. layout: what was drawn.
    """

    latent: np.ndarray
    shares: np.ndarray
    layout: Layout


@dataclass(frozen=True)
class Batch:
    """Latents (batch 4 row column), tokens (batch 77) ids, targets (batch 77 row column) that sum to one or zero."""

    latents: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor


def shown(layout: Layout, side: int) -> Sample:
    """Draw a layout as a square training picture."""
    drawing = draw(layout, height=side, width=side)
    cells = side // CELL
    masks = drawing.masks.reshape(-1, cells, CELL, cells, CELL).mean(axis=(2, 4))
    return Sample(latent_of(drawing.picture), np.concatenate([1 - masks.sum(0, keepdims=True), masks]), layout)


def close_up(seed: int, index: int, side: int, cells: int, counts: tuple[float, float, float]) -> Sample:
    """Draw a smaller window of the same world: things as large as in a whole picture, less room around them.

    Args:
        seed: of the pictures.
        index: which picture.
        side: of the whole picture, in pixels; a multiple of CELL.
        cells: side of the window, in latent cells.
        counts: odds of one, two and three things.
    """
    rng = np.random.default_rng([seed, index, side, cells])
    share = cells * CELL / side
    inner = random_layout(rng, count=int(rng.choice([1, 2, 3], p=counts)))
    room = side // CELL - cells + 1
    top, left = (int(v) for v in rng.integers(room, size=2))
    things = []
    for thing in inner.things:
        centre = (thing.centre[0] * share + left * CELL / side, thing.centre[1] * share + top * CELL / side)
        things.append(replace(thing, centre=centre, size=thing.size * share))
    whole = shown(replace(inner, things=tuple(things)), side)
    window = (slice(None), slice(top, top + cells), slice(left, left + cells))
    return Sample(whole.latent[window], whole.shares[window], inner)


def worded(layout: Layout, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Caption a layout in words, each with its owner: -1 none, 0 background, 1 and up the things.

    Mostly from left to right; one caption in five in another order.
    """
    order = list(range(len(layout.things)))
    if rng.random() < 0.2:
        rng.shuffle(order)
    words = [(w, -1) for w in ("a", "photo", "of")] if rng.random() < 0.85 else []
    for place, index in enumerate(order):
        if place:
            words.append(("and" if place == len(order) - 1 else ",", -1))
        own = training_words(layout.things[index], rng)
        words += [("an" if own[0][0] in "aeiou" else "a", -1)] + [(w, index + 1) for w in own]
    if rng.random() < 0.95:
        words += [(w, 0 if w in BACKGROUND_WORDS else -1) for w in BACKGROUNDS[layout.background].split()]
    return words


def collate(samples: list[Sample], ids_of: Callable[[str], list[int]], rng: np.random.Generator) -> Batch:
    """Stack samples with fresh captions; one in ten has none and no targets.

    A target is the share of each place that belongs to each token: a thing's share is split over its words, the
    background's over its words and the token that begins the prompt.
    """
    tokens = np.full((len(samples), LENGTH), END)
    tokens[:, 0] = BEGIN
    targets = np.zeros((len(samples), LENGTH, *samples[0].latent.shape[1:]), np.float32)
    for row, one in enumerate(samples):
        if rng.random() < 0.1:
            continue
        owners: dict[int, list[int]] = {0: [0]}
        place = 1
        for word, owner in worded(one.layout, rng):
            for token in ids_of(word):
                # Now and then an unknown word, so that the fallback row learns to stand for anything.
                tokens[row, place] = -1 if owner > 0 and rng.random() < 0.02 else token
                if owner >= 0:
                    owners.setdefault(owner, []).append(place)
                place += 1
        for owner, columns in owners.items():
            targets[row, columns] = one.shares[owner] / len(columns)
    latents = torch.from_numpy(np.stack([one.latent for one in samples]))
    return Batch(latents, torch.from_numpy(tokens), torch.from_numpy(targets))
