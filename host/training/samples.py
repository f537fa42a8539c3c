"""Pictures of the model as it is being trained: sampled with the training copies themselves."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ...scenescope.dims import Grid
from ...scenescope.drawing.pixels import to_image, to_tensor
from ...scenescope.errors import FileError
from ...scenescope.files.atomic import write_whole
from ...scenescope.training.ports import Ports
from ...scenescope.training.step.prompts import generator_at
from ..files.pictures import opened_png

WISH = "scenescope"
"""Key of a sample picture's text."""
_NAME = re.compile(r"sample_(\d{6})_(\d{2})\.png")


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Args:
        prompt: with handles.
        steps: of the sampler.
        cfg: classifier-free guidance against the empty prompt; 1 is none.
        size: of the latent.
        precision: of the arithmetic.
    """

    prompt: str
    steps: int
    cfg: float
    size: Grid
    precision: torch.dtype


@torch.no_grad()
def sampled(
    ports: Ports, embeddings: Mapping[str, Tensor], how: Sampling, noise: Tensor, each_step: Callable[[], None]
) -> Tensor:
    """Denoise from noise with what the ports' modules are now.

    Source: Song et al. 2021 (DDIM), equation 12 with sigma 0; evenly spaced timesteps from the last one down.

    Args:
        ports: the host's.
        embeddings: the embedding (channel) float of each handle.
        how: prompt, steps, guidance.
        noise: (image channel height width) float32.
        each_step: called before each step; raise from it to stop.

    Returns:
        (image channel height width) float32, scaled as the denoiser has it.
    """
    device, count = ports.latents.device, len(noise)
    latents, schedule = noise.to(device), ports.noise
    places = torch.linspace(len(schedule.signal) - 1, 0, how.steps + 1).round().long().tolist()[: how.steps]
    with torch.autocast(device.type, dtype=how.precision, enabled=how.precision != torch.float32):
        prompts = [how.prompt] * count + ([""] * count if how.cfg != 1 else [])
        context = ports.text.encode(prompts, embeddings).context
        for place, following in zip(places, [*places[1:], None], strict=True):
            each_step()
            both = torch.cat([latents, latents]) if how.cfg != 1 else latents
            timesteps = torch.full((len(both),), place, device=device)
            predicted = ports.denoiser(both, timesteps, context).float()
            if how.cfg != 1:
                wanted, plain = predicted.chunk(2)
                predicted = plain + how.cfg * (wanted - plain)
            clean = (latents - schedule.noise[place] * predicted) / schedule.signal[place]
            ahead = (1.0, 0.0) if following is None else (schedule.signal[following], schedule.noise[following])
            latents = ahead[0] * clean + ahead[1] * predicted
    return latents.float()


def first_noise(seed: int, names: list[str], size: Grid) -> Tensor:
    """The noise that pictures begin with, a function of the seed and each picture's name: (image 4 height width)."""
    return torch.stack([torch.randn((4, *size), generator=generator_at(seed, name)) for name in names])


@torch.inference_mode()  # contract: see `is_short`, in memory.py
def decoded(model: Any, vae: Any, latents: Tensor) -> Tensor:
    """Latents as pictures (image height width 3) float32, 0..1, on the CPU."""
    return vae.decode(model.model.process_latent_out(latents.clone())).float().cpu().clamp(0, 1)


def save_samples(pictures: Tensor, folder: Path, step: int, wish: str) -> None:
    """Write the pictures of a step in place of earlier ones of that step, each written completely or not at all.

    Args:
        pictures: (image height width 3) float, 0..1.
        folder: of the run.
        step: after which they were made.
        wish: all that they depend on beside the run; kept in the files.

    Raises:
        FileError: they cannot be written.
    """
    text = PngInfo()
    text.add_text(WISH, wish)
    for index, picture in enumerate(pictures):
        image = to_image(picture)
        path = folder / f"sample_{step:06}_{index:02}.png"
        write_whole(partial(image.save, format="PNG", pnginfo=text), path, "Train Concepts")
    for name in sample_names(folder, step)[::-1]:
        if name > f"sample_{step:06}_{len(pictures) - 1:02}.png":
            _delete(folder / name)


def has_samples(folder: Path, step: int, count: int, wish: str) -> bool:
    """Whether a step's pictures are all there and valid, and were made with this wish."""
    own = [folder / name for name in sample_names(folder, step) if step_of(name) == step]
    pictures = [picture for path in own if (picture := _sound(path)) is not None]
    return len(own) == count == len(pictures) and all(picture.info.get(WISH) == wish for picture in pictures)


def sample_names(folder: Path, upto: int) -> list[str]:
    """The sample pictures of a run's steps so far, in order."""
    names = (path.name for path in folder.glob("sample_*.png"))
    return sorted(name for name in names if (step := step_of(name)) is not None and step <= upto)


def step_of(name: str) -> int | None:
    """The step of a sample picture's name, None for another file.

    >>> step_of("sample_000100_01.png"), step_of("notes.png")
    (100, None)
    """
    found = _NAME.fullmatch(name)
    return int(found.group(1)) if found else None


def load_samples(folder: Path, upto: int) -> Tensor | None:
    """The sample pictures of a run so far: (image height width 3) float32 0..1, None where there are none.

    Pictures damaged since then are left out: a picture must not keep users from what was learned.
    """
    found = (_sound(folder / name) for name in sample_names(folder, upto))
    pictures = [to_tensor(picture) for picture in found if picture is not None]
    alike = [picture for picture in pictures if picture.shape == pictures[-1].shape]
    return torch.cat(alike) if alike else None


def _sound(path: Path) -> Image.Image | None:
    try:
        return opened_png(path)
    except FileError as error:
        logging.warning("SceneScope: a sample picture is left out: %s", error)
        return None


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"Train Concepts: {path.name} can't be deleted ({error.strerror}). Delete it yourself, or choose another "
            "run_name."
        ) from error
