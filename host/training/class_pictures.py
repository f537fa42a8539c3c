"""What the model makes of a prompt by itself, kept on disk so that it is made only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...scenescope.errors import FileError, HostError
from ...scenescope.files.safetensors_file import read_container, write_container
from ...scenescope.training.ports import ClassPictures, Ports
from .origin import SAMPLING
from .samples import Sampling, first_noise, sampled

FORMAT = "scenescope-class-pictures 1"
TOGETHER = 4
"""Pictures that are sampled at once, as the reference's code does."""

OnPicture = Callable[[int, int], None]


@dataclass(frozen=True)
class ClassWish:
    """Which class pictures are wanted.

    Args:
        sampling: prompt, size, steps and guidance.
        count: how many.
        seed: of their noise.
        folder: where they are kept.
        vectors: names what embeddings in the prompt hold; "" for none.
    """

    sampling: Sampling
    count: int
    seed: int
    folder: Path
    vectors: str = ""


def made_class_pictures(
    ports: Ports, wish: ClassWish, on_picture: OnPicture, each_step: Callable[[], None]
) -> ClassPictures:
    """Make class pictures, or reuse earlier ones; an interrupted set is continued.

    They are kept as latents, so nothing is lost by decoding and encoding. The name of their file holds the base model,
    its sampling, the prompt, the size, the sampler's settings and the seed; their number may grow.

    Args:
        ports: the host's, before anything is trained.
        wish: which.
        on_picture: told how many of how many there are.
        each_step: called before each sampler step; raise from it to stop.

    Returns:
        As many as wished, on the CPU: a step draws some of them there, and they go over with all else that it draws.

    Raises:
        FileError: they cannot be written.
        HostError: the model gives no numbers in this precision.
    """
    path = wish.folder / f"{_key(ports, wish)}.safetensors"
    latents = _kept(path, wish)
    while len(latents) < wish.count:
        on_picture(len(latents), wish.count)
        names = [f"class {index}" for index in range(len(latents), min(len(latents) + TOGETHER, wish.count))]
        noise = first_noise(wish.seed, names, wish.sampling.size)
        more = sampled(ports, {}, wish.sampling, noise, each_step).cpu()
        if not more.isfinite().all():
            raise HostError(
                f"Train Concepts: the class pictures can't be made, because the model gives no numbers (NaN) in "
                f"{str(wish.sampling.precision).removeprefix('torch.')}. Set precision to float32."
            )
        latents = torch.cat([latents, more])
        write_container({"latents": latents}, path, {"format": FORMAT}, "Train Concepts: class pictures")
    on_picture(wish.count, wish.count)
    return ClassPictures(latents[: wish.count], wish.sampling.prompt)


def _kept(path: Path, wish: ClassWish) -> Tensor:
    """The pictures that are there; none where the file is missing, damaged, or not ours."""
    none = torch.zeros(0, 4, *wish.sampling.size)
    if not path.exists():
        return none
    try:
        latents = read_container(path, {"format": FORMAT}, f"Class pictures: {path.name}").tensors.get("latents", none)
    except FileError:
        return none
    ours = latents.shape[1:] == none.shape[1:] and latents.dtype == none.dtype
    return latents if ours and latents.isfinite().all() else none


def _key(ports: Ports, wish: ClassWish) -> str:
    how, base = wish.sampling, f"{ports.base}{ports.others.get(SAMPLING, '')}{wish.vectors}"
    told = repr((base, how.prompt, how.steps, float(how.cfg), tuple(how.size), str(how.precision), wish.seed))
    return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()
