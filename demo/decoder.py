"""First stage: teach the host's small decoder to draw pictures of any outline and skin from closed-form latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from comfy.taesd.taesd import Decoder
from torch.utils.data import IterableDataset

from ..scenescope.world.latent import CELL, DEVIATION, MEAN, MIX, latent_of
from ..scenescope.world.scene import draw
from .data import drawn_ahead, place_of_worker
from .initial import set_first_weights
from .layouts import varied_layout
from .state import Averaged, Job, Progress, load_part, load_state, load_weights, save_state

CROP, SIDES = 64, (96, 128, 128, 160, 192)
"""Pixels of a training crop, and of the pictures that crops are cut from."""
CROPS_A_PICTURE = 4
PEAK_RATE, WARM_UP = 6e-4, 60
NOISE = 0.1
"""Most of what is added to latents, as a share of their deviation, so that the decoder forgives a denoiser."""
SMOOTH = torch.tensor([1.0, 2.0, 1.0])


@torch.no_grad()
def start_as_enlarger(decoder: Decoder) -> None:
    """Set first weights with which the decoder is a smooth eight-fold enlarger of the latent's own colours."""
    set_first_weights(decoder, zeroed=("conv.4",))
    back = torch.from_numpy(np.linalg.inv(MIX))  # (red green blue matte, mixture)
    decoder[1].weight[:4] = 0
    decoder[1].weight[:4, :, 1, 1] = back * torch.from_numpy(DEVIATION)
    decoder[1].bias[:4] = back @ torch.from_numpy(MEAN)
    for index in (7, 12, 17):
        weight = decoder[index].weight
        weight *= 0.3
        weight[:4] = 0
        weight[range(64), range(64)] += torch.outer(SMOOTH, SMOOTH) / 16
    decoder[19].weight.zero_()
    decoder[19].weight[range(3), range(3), 1, 1] = 1
    decoder[19].bias.zero_()


def crops(seed: int, index: int) -> np.ndarray:
    """Draw a picture and cut crops out of it, mostly where things are: (crop height width 3) float32, 0 to 1."""
    rng = np.random.default_rng([seed, 3, index])
    side = int(rng.choice(SIDES))
    layout = varied_layout(rng)
    picture = draw(layout, height=side, width=side).picture
    cut = []
    for _ in range(CROPS_A_PICTURE):
        thing = layout.things[int(rng.integers(len(layout.things)))]
        middle = np.array(thing.centre)[::-1] * side + rng.uniform(-0.6, 0.6, 2) * thing.size * side
        top, left = (int(v) for v in np.clip((middle - CROP / 2) // CELL * CELL, 0, side - CROP))
        cut.append(picture[top : top + CROP, left : left + CROP])
    return np.stack(cut)


class Crops(IterableDataset[torch.Tensor]):
    """Crops for one step after another; each worker of a loader draws its own.

    Args:
        seed: of the pictures.
        pictures: that a step has.
        first: number of the first step.
    """

    def __init__(self, seed: int, pictures: int, first: int) -> None:
        self.seed, self.pictures, self.first = seed, pictures, first

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker, workers = place_of_worker()
        for step in itertools.count(self.first + worker, workers):
            drawn = [crops(self.seed, step * self.pictures + index) for index in range(self.pictures)]
            yield torch.from_numpy(np.concatenate(drawn))


def loss_of(decoder: Decoder, pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """Mean difference, squared difference and difference of the edges, from latents with a little noise.

    Args:
        decoder: the one that learns.
        pictures: (crop height width 3) float32, 0 to 1.
        device: where it learns.
    """
    latents = torch.from_numpy(np.stack([latent_of(picture) for picture in pictures])).to(device)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    noise = torch.rand(len(latents), 1, 1, 1, device=device) * NOISE * torch.randn_like(latents)
    with torch.autocast(device.type, torch.bfloat16):
        drawn = decoder(latents + noise)
    drawn = drawn.float()
    rims = F.l1_loss(drawn.diff(dim=-1), pixels.diff(dim=-1)) + F.l1_loss(drawn.diff(dim=-2), pixels.diff(dim=-2))
    return F.l1_loss(drawn, pixels) + F.mse_loss(drawn, pixels) + rims


def averaged(folder: Path) -> tuple[Decoder, int]:
    """Read the averaged weights of a training run so far, and how many steps it has had."""
    decoder = Decoder()
    return decoder, load_weights(folder / "decoder.safetensors", decoder, averaged=True)


def train_decoder(job: Job) -> None:
    """Train, or go on training, for a while; over the last third of the time the rate falls."""
    torch.manual_seed(job.seed)
    decoder = Decoder()
    start_as_enlarger(decoder)
    if job.start is not None:
        load_part(job.start, "first_stage_model.taesd_decoder.", decoder)
    decoder = decoder.to(job.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    average, path = Averaged(decoder, 0.998), job.folder / "decoder.safetensors"
    first = step = int(load_state(path, decoder, optimiser, average).get("step", 0))
    batches = drawn_ahead(Crops(job.seed, max(1, job.batch // CROPS_A_PICTURE), step), job.device)
    progress = Progress("decoder", job.minutes)
    while progress.spent < 1:
        drawn = next(batches).numpy()
        torch.manual_seed(job.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step - first + 1) / WARM_UP, 3 * (1 - progress.spent) + 0.02)
        loss = loss_of(decoder, drawn, torch.device(job.device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 0.5)
        optimiser.step()
        average.add(decoder, step)
        step += 1
        if progress.after_step(step, loss=loss.detach()):
            save_state(path, decoder, optimiser, average, {"step": step})
            job.on_save()
