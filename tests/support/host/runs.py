"""Conditionings and sampling runs for the small models, through the host's own sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import torch
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.selection import Selection

from .layouts import TEXT_WIDTH


@dataclass(frozen=True)
class Run:
    """How to sample. The defaults are quick, and not square."""

    size: tuple[int, int] = (8, 12)  # latent height and width; pixels are eight times that
    batch: int = 1
    steps: int = 2
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    seed: int = 0
    denoise: float = 1.0


def conditioning(tokens: int = 77, *, seed: int = 0, width: int = TEXT_WIDTH, batch: int = 1, **options: Any) -> Any:
    """Make a random prompt.

    Args:
        tokens: 77 for each chunk of a prompt
        seed: another seed, another prompt
        width: of the text features
        batch: how many prompts are stacked in it
        options: entries of the conditioning's dictionary, such as `area`, `mask`, `strength`, `start_percent`

    Returns:
        conditioning: as CLIP Text Encode gives it, [[(batch, tokens, width) float32, {...}]]
    """
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(batch, tokens, width, generator=generator)
    pooled = torch.randn(batch, width, generator=generator)
    return [[text, {"pooled_output": pooled, **options}]]


def sample(model: Any, positive: Any, negative: Any, run: Run | None = None, **options: Any) -> torch.Tensor:
    """Sample with `model` as the stock KSampler does.

    Args:
        model: a patcher
        positive: a conditioning
        negative: a conditioning
        run: size, steps, sampler and so on
        options: what else comfy.sample.sample takes, such as `callback`, `noise_mask`, `start_step`;
            `latent_image` for image to image, (batch, 4, height, width)

    Returns:
        latent: (batch, 4, height, width) float32
    """
    run = run or Run()
    blank = torch.zeros(run.batch, 4, *run.size)
    latent = comfy.sample.fix_empty_latent_channels(model, options.pop("latent_image", blank))
    noise = comfy.sample.prepare_noise(latent, run.seed)
    return comfy.sample.sample(
        model,
        noise,
        run.steps,
        run.cfg,
        run.sampler,
        run.scheduler,
        positive,
        negative,
        latent,
        denoise=run.denoise,
        disable_pbar=True,
        seed=run.seed,
        **options,
    )


def recorded(model: Any, run: Run | None = None, selection: Any = None, **options: Any) -> tuple[Any, torch.Tensor]:
    """Sample with `model` recorded.

    Args:
        model: a patcher
        run: size, steps, sampler and so on
        selection: what to keep; everything in single precision where none is given
        options: `positive` and `negative` conditionings, and what `sample` takes

    Returns:
        recording: of the run
        latent: (batch, 4, height, width) float32
    """
    watched, book = record_attention(model, selection or Selection(precision=torch.float32))
    positive = options.pop("positive", None) or conditioning(seed=1)
    negative = options.pop("negative", None) or conditioning(seed=2)
    latent = sample(watched, positive, negative, run, **options)
    return book.find(latent)[0], latent
