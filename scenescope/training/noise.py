"""The noise schedule: how much of a noisy latent is noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..errors import InputError


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of the latent and how much noise each timestep holds.

    Args:
        signal: (timestep) float32, square roots of the products of alphas.
        noise: (timestep) float32, square roots of the rest.
    """

    signal: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        squares = self.signal.double() ** 2 + self.noise.double() ** 2
        if self.signal.ndim != 1 or not len(self.signal) or not bool(((squares - 1).abs() < 1e-3).all()):
            raise InputError(
                "Noise schedule: the squares of signal and noise don't add up to 1, as they do in SD1.5. Load an "
                "SD1.5 checkpoint."
            )

    def timesteps(self, count: int, generator: Generator) -> Tensor:
        """Draw timesteps evenly: (batch) int64."""
        return torch.randint(len(self.signal), (count,), generator=generator)

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise latents.

        Source: Ho et al. 2020, equation 4: z_t = signal_t z_0 + noise_t eps.

        Args:
            latents: (batch channel height width) float.
            noise: (batch channel height width) float.
            timesteps: (batch) int64.

        Returns:
            (batch channel height width) float.
        """
        signal, rest = (part.to(latents)[timesteps.to(latents.device)] for part in (self.signal, self.noise))
        return noised(latents, noise, signal, rest)


def noised(latents: Tensor, noise: Tensor, signal: Tensor, rest: Tensor) -> Tensor:
    """Mix latents and noise (batch channel height width), each by its share (batch)."""
    return signal[:, None, None, None] * latents + rest[:, None, None, None] * noise
