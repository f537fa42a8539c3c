"""The other half of the autoencoder: teach the host's small decoder to draw pictures from closed-form latents."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from comfy.taesd.taesd import Decoder

from ..scenescope.world.latent import CELL, DEVIATION, MEAN, MIX, latent_of
from ..scenescope.world.scene import draw, random_layout
from .initial import set_first_weights
from .state import Averaged, load_state, load_weights, save_state

STEPS, BATCH, CROP = 1100, 4, 9
"""CROP is the side of a training crop in latent cells."""
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


def pair(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture and cut a crop out of it: latent (4 row column) and pixels (3 row column), 0 to 1."""
    rng = np.random.default_rng([seed, 3, index])
    side = 256 if rng.random() < 0.2 else 128
    layout = random_layout(rng, count=int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))
    picture = draw(layout, height=side, width=side).picture
    top, left = (int(v) for v in rng.integers(side // CELL - CROP + 1, size=2))
    pixels = picture[top * CELL : (top + CROP) * CELL, left * CELL : (left + CROP) * CELL]
    return latent_of(pixels), pixels.transpose(2, 0, 1)


def averaged(folder: Path) -> tuple[Decoder, int]:
    """Read the averaged weights of a training run so far, and how many steps it has had."""
    decoder = Decoder()
    start_as_enlarger(decoder)
    return decoder, load_weights(folder / "decoder.safetensors", decoder, averaged=True)


def train_decoder(folder: Path, *, seed: int) -> Decoder:
    """Train, or go on training, the decoder; returns it with averaged weights."""
    torch.manual_seed(seed)
    decoder = Decoder()
    start_as_enlarger(decoder)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    average, path = Averaged(decoder, 0.995), folder / "decoder.safetensors"
    start = int(load_state(path, decoder, optimiser, average).get("step", 0))
    saved, past = time.monotonic(), []
    for step in range(start, STEPS):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = 8e-4 * min(1.0, (step + 1) / 100) * (1.02 - step / STEPS)
        pairs = [pair(seed, step * BATCH + i) for i in range(BATCH)]
        latents, pixels = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        noise = torch.rand(BATCH, 1, 1, 1) * 0.15 * torch.randn_like(latents)
        drawn = decoder(latents + noise)
        loss = F.l1_loss(drawn, pixels)
        optimiser.zero_grad(set_to_none=True)
        (loss + F.mse_loss(drawn, pixels)).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 0.5)
        optimiser.step()
        average.add(decoder, step)
        past.append(loss.item())
        if step % 25 == 0:
            print(f"decoder {step}/{STEPS} loss {np.mean(past):.4f} {time.ctime()}", file=sys.stderr, flush=True)
            past.clear()
        if time.monotonic() - saved > 120 or step + 1 == STEPS:
            save_state(path, decoder, optimiser, average, {"step": step + 1})
            saved = time.monotonic()
    average.copy_to(decoder)
    return decoder
