"""Second stage: train the denoiser on drawn pictures, with its attention told where each word belongs."""

from __future__ import annotations

import math
import signal as signal_module
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange

from .data import END, LENGTH, Batch, Sample, close_up, collate
from .model import Denoiser
from .state import Averaged, load_state, load_weights, save_state

SIDE = 128
"""Of a whole picture, in pixels."""


@dataclass(frozen=True)
class Stage:
    """Until which step, how large a window in latent cells, how many pictures a batch, odds of one to three things."""

    until: float
    cells: int
    batch: int
    counts: tuple[float, float, float]


STAGES = (
    Stage(500, 10, 24, (1, 0, 0)),
    Stage(2200, 12, 20, (0.45, 0.55, 0)),
    Stage(float("inf"), 16, 16, (0.35, 0.5, 0.15)),
)
"""From close-ups of one thing to whole pictures: a step of the last costs three times one of the first."""
PEAK_RATE, WARM_UP = 1.5e-3, 150
ATTENTION_WEIGHT, ATTENTION_BLOCKS = 0.25, 4
"""Weight of the attention loss, and how many cross-attention blocks a step reads for it."""
POOL = 500
"""Pictures kept at hand; every step replaces a few, so none is seen for long."""


def noise_levels() -> torch.Tensor:
    """Cumulative signal share of SD's scaled-linear schedule, (1000) float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


@dataclass(frozen=True)
class Share:
    """Which of how many processes this is; they train one model together, each on its part of every batch."""

    rank: int = 0
    workers: int = 1


class Pool:
    """A rolling stock of drawn pictures."""

    def __init__(self, seed: int, first: int, stage: Stage) -> None:
        self.seed, self.next, self.stage = seed, first, stage
        self.stock: list[Sample] = []

    def draw(self, count: int) -> None:
        """Add `count` new pictures in place of the oldest."""
        for _ in range(count):
            self.stock.append(close_up(self.seed, self.next, SIDE, self.stage.cells, self.stage.counts))
            self.next += 1
        del self.stock[: max(0, len(self.stock) - POOL)]

    def pick(self, count: int, rng: np.random.Generator) -> list[Sample]:
        """Pick pictures at random."""
        return [self.stock[i] for i in rng.integers(len(self.stock), size=count)]


class Watch:
    """Catch queries and keys of some cross-attention layers during one forward call."""

    def __init__(self, layers: list[torch.nn.Module]) -> None:
        self.seen: list[list[torch.Tensor]] = [[] for _ in layers]
        self.handles = [
            layer.get_submodule(part).register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
            for layer, kept in zip(layers, self.seen, strict=True)
            for part in ("to_q", "to_k")
        ]

    def loss(self, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Cross-entropy between where words should be looked at and where they are, head by head averaged.

        Args:
            targets: (batch 77 row column), what share of each place belongs to each token.
            weights: (batch), how much each picture counts.
        """
        total = torch.zeros(())
        for query, key in self.seen:
            rows = round((query.shape[1] * targets.shape[2] / targets.shape[3]) ** 0.5)
            wanted = F.adaptive_avg_pool2d(targets, (rows, query.shape[1] // rows)).flatten(2)  # (batch token query)
            q, k = (rearrange(x, "batch n (head channel) -> batch head n channel", head=8) for x in (query, key))
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            looked = scores.softmax(-1).mean(1)  # (batch query token)
            entropy = -(wanted.transpose(1, 2) * torch.log(looked + 1e-6)).sum(-1).mean(-1)
            total = total + (entropy * weights).mean()
        return total / len(self.seen)

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def prompt_length(tokens: torch.Tensor) -> int:
    """Choose how much of the padding to keep: mostly none, which is faster; one batch in five has all 77 tokens."""
    used = int((tokens != END).sum(1).max()) + 1
    return LENGTH if torch.rand(()) < 0.2 else used


def losses(
    model: Denoiser, batch: Batch, signal: torch.Tensor, blocks: list[torch.nn.Module]
) -> tuple[torch.Tensor, ...]:
    """Weighted noise loss, attention loss and plain noise loss of one batch."""
    count = len(batch.latents)
    steps = timesteps(count)
    share = signal[steps][:, None, None, None]
    noise = torch.randn_like(batch.latents)
    noisy = batch.latents * share.sqrt() + noise * (1 - share).sqrt()
    length = prompt_length(batch.tokens)
    watch = Watch(blocks)
    try:
        predicted = model(noisy, steps, model.context(batch.tokens[:, :length]))
    finally:
        watch.close()
    snr = (share / (1 - share)).flatten()
    error = ((predicted - noise) ** 2).mean(dim=(1, 2, 3))
    # Errors of the picture count by the root of the signal-to-noise ratio, up to 5: between min-SNR and even weights.
    main = (error * snr.clamp(max=5).sqrt() / snr).mean()
    return main, watch.loss(batch.targets[:, :length], signal[steps].clamp(min=0.05)), error.mean()


def timesteps(count: int) -> torch.Tensor:
    """Draw spread-out timesteps: one in ten below 150, where little is decided, the others evenly above."""
    even = (torch.arange(count) + torch.rand(count)) / count
    return torch.where(even < 0.1, even * 1500, 150 + (even - 0.1) / 0.9 * 850).long().clamp(max=999)


class Work:
    """One process's part of the training: draws its pictures and adds up their gradients.

    Args:
        model: whose gradients.
        ids_of: token ids of one word.
        seed: of pictures and noise.
        share: which part.
        step: where training goes on.
    """

    def __init__(self, model: Denoiser, ids_of: Callable[[str], list[int]], seed: int, share: Share, step: int) -> None:
        self.model, self.ids_of, self.seed, self.share = model, ids_of, seed, share
        self.signal = noise_levels()
        self.layers = [layer for name, layer in model.unet.named_modules() if name.endswith("attn2")]
        self.pools = [Pool(seed + index + 100 * share.rank, step * 3, stage) for index, stage in enumerate(STAGES)]

    def batch(self, step: int) -> Batch:
        """Make this process's part of the batch of one step; one step in seven is of an earlier stage."""
        rng = np.random.default_rng([self.seed, 7, step])
        stage = next(index for index, stage in enumerate(STAGES) if step < stage.until)
        pool = self.pools[int(rng.integers(stage + 1)) if rng.random() < 0.14 else stage]
        rng = np.random.default_rng([self.seed, 9, step, self.share.rank])
        pool.draw(3 if pool.stock else POOL)
        return collate(pool.pick(pool.stage.batch // self.share.workers, rng), self.ids_of, rng)

    def gradients(self, step: int) -> tuple[float, ...]:
        """Compute the gradients of one step; returns the losses."""
        torch.manual_seed(self.seed * 1_000_003 + step * 16 + self.share.rank)
        rng = np.random.default_rng([self.seed, 8, step])
        blocks = [self.layers[i] for i in rng.choice(len(self.layers), ATTENTION_BLOCKS, replace=False)]
        parts = losses(self.model, self.batch(step), self.signal, blocks)
        self.model.zero_grad(set_to_none=False)
        (parts[0] + ATTENTION_WEIGHT * parts[1]).backward()
        return tuple(part.item() for part in parts)


def shared_mean(model: Denoiser, more: float) -> float:
    """Average gradients over the processes that train together; returns the mean of `more` over them."""
    if not dist.is_initialized():
        return more
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([torch.tensor([more]), *(g.flatten() for g in gradients)]) / dist.get_world_size()
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat[1:].split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
    return float(flat[0])


def trained(folder: Path, known: list[int], *, averaged: bool) -> tuple[Denoiser, int]:
    """Read the weights of a training run so far, averaged or the last, and how many steps it has had."""
    model = Denoiser(known)
    return model, load_weights(folder / "denoiser.safetensors", model, averaged=averaged)


def train_denoiser(
    folder: Path, *, known: list[int], ids_of: Callable[[str], list[int]], seed: int, minutes: float, share: Share
) -> Denoiser:
    """Train, or go on training, for a while; the last seventh of the time the rate falls.

    Args:
        folder: where the state lives.
        known: token ids of the captions.
        ids_of: token ids of one word.
        seed: of weights, pictures and noise.
        minutes: how long.
        share: this process's part of the work; the first of them keeps the state.

    Returns:
        The model with averaged weights.
    """
    torch.manual_seed(seed)
    model = Denoiser(known)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    average, path = Averaged(model, 0.997), folder / "denoiser.safetensors"
    step = int(load_state(path, model, optimiser, average).get("step", 0))
    work = Work(model, ids_of, seed, share, step)
    asked_to_stop: list[int] = []
    signal_module.signal(signal_module.SIGTERM, lambda number, _frame: asked_to_stop.append(number))
    begun = saved = time.monotonic()
    past: list[tuple[float, ...]] = []
    spent = 0.0
    while spent < 1:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / WARM_UP, 7 * (1 - spent) + 0.02)
        past.append(work.gradients(step))
        spent = shared_mean(model, math.inf if asked_to_stop else (time.monotonic() - begun) / 60 / minutes)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if share.rank:
            continue
        if step % 2 == 0:
            average.add(model, step // 2)
        if step % 25 == 0:
            means = " ".join(f"{value:.4f}" for value in np.mean(past, axis=0))
            print(f"denoiser {step} loss/attention/raw {means} {time.ctime()}", file=sys.stderr, flush=True)
            past.clear()
        if time.monotonic() - saved > 150 or spent >= 1:
            save_state(path, model, optimiser, average, {"step": step})
            saved = time.monotonic()
    average.copy_to(model)
    return model
