"""Second stage: train the text model and the U-Net on captioned drawings; nobody tells attention where to look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from .data import END, LENGTH, Batch, Batches, drawn_ahead
from .model import Denoiser, start_from
from .state import Averaged, Job, Progress, load_state, load_weights, save_state

PEAK_RATE, WARM_UP, NEW_ROWS = 3e-4, 40, 0.15
"""The rate doubles for batches of LARGE pictures or more. NEW_ROWS is the deviation of the rows of words that the
weights to start from do not know, around the generic one."""
LARGE = 64


def noise_levels() -> torch.Tensor:
    """Cumulative signal share of SD's scaled-linear schedule, (1000) float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def timesteps(count: int) -> torch.Tensor:
    """Draw spread-out timesteps: one in ten below 150, where little is decided, the others evenly above."""
    even = (torch.arange(count) + torch.rand(count)) / count
    return torch.where(even < 0.1, even * 1500, 150 + (even - 0.1) / 0.9 * 850).long().clamp(max=999)


def prompt_length(tokens: torch.Tensor) -> int:
    """Choose how much of the padding to keep: mostly none, which is faster; one batch in five has all 77 tokens."""
    used = int((tokens != END).sum(1).max()) + 1
    return LENGTH if torch.rand(()) < 0.2 else used


def losses(model: Denoiser, batch: Batch, signal: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Weighted and plain noise loss of one batch."""
    steps = timesteps(len(batch.latents)).to(device)
    latents = batch.latents.to(device)
    share = signal.to(device)[steps][:, None, None, None]
    noise = torch.randn_like(latents)
    noisy = latents * share.sqrt() + noise * (1 - share).sqrt()
    context = model.context(batch.tokens[:, : prompt_length(batch.tokens)])
    # On a processor the half-width U-Net is slower in bfloat16 than in float32.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
        predicted = model(noisy, steps, context)
    snr = (share / (1 - share)).flatten()
    error = ((predicted.float() - noise) ** 2).mean(dim=(1, 2, 3))
    # Errors of the picture count by the root of the signal-to-noise ratio, up to 5: between min-SNR and even weights.
    return (error * snr.clamp(max=5).sqrt() / snr).mean(), error.mean()


def trained(folder: Path, known: list[int], *, averaged: bool) -> tuple[Denoiser, int]:
    """Read the weights of a training run so far, averaged or the last, and how many steps it has had."""
    model = Denoiser(known)
    return model, load_weights(folder / "denoiser.safetensors", model, averaged=averaged)


def train_denoiser(job: Job, known: list[int], ids_of: Callable[[str], list[int]]) -> None:
    """Train, or go on training, for a while; over the last third of the time the rate falls.

    Args:
        job: how; its batch is of pictures of 128 pixels.
        known: token ids of the captions.
        ids_of: token ids of one word.
    """
    torch.manual_seed(job.seed)
    model = Denoiser(known)
    if job.start is not None:
        start_from(model, job.start, NEW_ROWS)
    model = model.to(job.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    average, path = Averaged(model, 0.999), job.folder / "denoiser.safetensors"
    first = step = int(load_state(path, model, optimiser, average).get("step", 0))
    batches = drawn_ahead(Batches(job.seed, job.batch, step, ids_of), job.device)
    peak = PEAK_RATE * (2 if job.batch >= LARGE else 1)
    progress, signal = Progress("denoiser", job.minutes), noise_levels()
    while progress.spent < 1:
        batch = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1.0, (step - first + 1) / WARM_UP, 3 * (1 - progress.spent) + 0.02)
        torch.manual_seed(job.seed * 1_000_003 + step)
        loss, plain = losses(model, batch, signal, torch.device(job.device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.add(model, step)
        step += 1
        if progress.after_step(step, loss=loss.detach(), plain=plain.detach()):
            save_state(path, model, optimiser, average, {"step": step})
            job.on_save()
