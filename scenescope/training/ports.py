"""What the host supplies to training, and nothing more: four small contracts and the pictures as latents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from .noise import NoiseSchedule


@dataclass(frozen=True)
class Encoded:
    """Prompts as the denoiser reads them.

    Args:
        context: (batch token channel) float, with gradients to the embeddings.
        columns: for each prompt the token at which each handle that it names stands.
    """

    context: Tensor
    columns: tuple[Mapping[str, int], ...]


class TextEncoder(Protocol):
    """Reads prompts in which handles stand for embeddings that are not in the token table."""

    @property
    def module(self) -> nn.Module:
        """The layers that may be trained, without the token table."""

    def word(self, text: str) -> Tensor:
        """The token table's embeddings of a text: (token channel) float."""

    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, Tensor]) -> Encoded:
        """Encode prompts, with the embedding (channel) float32 of each handle where the handle stands."""


class Denoiser(Protocol):
    """Predicts the noise in latents."""

    @property
    def unet(self) -> nn.Module:
        """The model that is observed and trained, with the module names that `find_layers` reads."""

    def __call__(self, latents: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Predict (batch channel height width) float for latents of that shape, (batch) int64, and a context.

        The call runs `unet` once on all of the batch, with gradients where the caller has them on.
        """


@dataclass(frozen=True)
class ClassPictures:
    """What the model made of a prompt by itself, which the prior preserves.

    Args:
        latents: (image channel height width) float, on the CPU.
        prompt: that they were made with; code `a photo at the beach`.
    """

    latents: Tensor
    prompt: str


def digest_of(pictures: ClassPictures | None) -> str:
    """A name for class pictures; "" for none.

    >>> digest_of(None)
    ''
    """
    if pictures is None:
        return ""
    held = pictures.latents.detach().float().cpu().contiguous()
    told = f"{pictures.prompt!r} {tuple(held.shape)}".encode()
    return hashlib.blake2b(told + held.numpy().tobytes(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Ports:
    """All that a run needs of the host. Weights and latents are ordinary tensors, not created in inference mode.

    Args:
        text: the text encoder.
        denoiser: the denoiser, of epsilon.
        noise: its schedule.
        latents: (image channel height width) float, the scene's pictures, scaled as the denoiser wants them.
        flipped: (image channel height width) float, the pictures mirrored and then encoded.
        base: a name for the base model's weights, such as their hash.
        class_pictures: for the prior `class`.
        others: what else of the host a run learns from, by name: a value for what differs from the usual, or "".
    """

    text: TextEncoder
    denoiser: Denoiser
    noise: NoiseSchedule
    latents: Tensor
    flipped: Tensor
    base: str
    class_pictures: ClassPictures | None = None
    others: Mapping[str, str] = field(default_factory=dict)
