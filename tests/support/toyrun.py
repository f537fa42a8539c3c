"""A sampling run of the toy U-Net, recorded by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.layers import AttentionLayer, find_layers
from pack.scenescope.attention.record.observers import Observers
from pack.scenescope.attention.record.pairs import Added
from pack.scenescope.attention.record.recorder import Recorder
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.tests.support.toy import TEXT_WIDTH, toy_unet

LATENT, IMAGES = Grid(5, 7), 2
NEGATIVE, POSITIVE = Entry("negative", 0, 6), Entry("positive", 0, 3)
SINGLE = Selection(precision=torch.float32)
EVERYTHING = replace(SINGLE, kinds=("cross", "self"), self_times=1)


@dataclass
class ToyRun:
    """A sampling run of the toy: the prompts of a call share its batch, the negative first, as the host has it.

    `acts` gives what an act adds to an entry's logits at a layer.
    """

    selection: Selection = SINGLE
    steps: int = 2
    asks: int = 1
    planned: tuple[Entry, ...] = (POSITIVE, NEGATIVE)
    dtype: torch.dtype = torch.float32
    acts: Callable[[AttentionLayer, Grid, Entry], Added] | None = None
    seen: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unet = toy_unet(self.dtype)
        self.found = find_layers(self.unet)
        sigmas = tuple(float(value) for value in range(self.steps, -1, -1))
        self.run = RunSpec(tuple(item.layer for item in self.found), LATENT, IMAGES, sigmas, self.planned)
        self.recorder = Recorder(self.run, self.selection)
        self._generator = torch.Generator().manual_seed(2)

    def call(self, entries: Sequence[Entry], rows: int | None = None, keys: int | None = None) -> None:
        """Call the model once for these entries; `rows` and `keys` are what another patch makes of the batch."""
        extent = entries[0].area[:2] if entries[0].area else LATENT
        latent = self._random(rows or IMAGES * len(entries), 4, *extent)
        longest = max(entry.tokens for entry in entries)
        texts = []
        for entry in entries:
            text = self._random(IMAGES, entry.tokens, TEXT_WIDTH)
            texts.append(text.repeat(1, longest // entry.tokens, 1))
        context = torch.cat(texts)
        if rows:
            context = context[:1].expand(rows, -1, -1)
        if keys:
            context = torch.cat([context] * 10, dim=1)[:, :keys]

        def see(layer, query, key, grid) -> None:
            self.seen.append((layer, query.detach().clone(), key.detach().clone(), tuple(entries)))
            bias = None if self.acts is None else lambda index: self.acts(layer, grid, entries[index])
            self.recorder.observe(layer, query, key, grid, entries, bias)

        watched = [item for item in self.found if self.recorder.wants_layer(item.layer)]
        with Observers(watched, see):
            self.unet(latent, context)

    def sample(self, *calls: Sequence[Entry]) -> Recording:
        """Run all steps as an early-calling sampler; in each evaluation make these calls."""
        for step in range(self.steps):
            for ask in range(self.asks if step < self.steps - 1 else 1):
                self.recorder.evaluate(float(self.steps - step))
                if self.recorder.wants():
                    for entries in calls or [(NEGATIVE, POSITIVE)]:
                        self.call(entries)
                if ask == 0:
                    self.recorder.step_done(step)
        return self.recorder.finish({"seed": 7})

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self._generator).to(self.dtype)
