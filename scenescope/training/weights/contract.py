"""A contract for the part of a model that is trained; the rest of the model is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LowRank:
    """A low-rank addition to one layer's weight: alpha / rank times up @ down.

    Args:
        down: (rank in) float, or (rank in 1 1) for a convolution.
        up: (out rank) float, or (out rank 1 1).
        alpha: strength before it is divided by the rank.
    """

    down: Tensor
    up: Tensor
    alpha: float


class Weights(Protocol):
    """Trains weights while entered, and leaves the modules as they were."""

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        """What the optimiser moves, float32, by name."""

    def __enter__(self) -> Weights:
        """Put the trained weights into the modules."""

    def __exit__(self, *error: object) -> None:
        """Take it out again."""

    def disabled(self) -> AbstractContextManager[None]:
        """For a while the modules compute as they were given."""

    def cast(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """For a step's passes and their gradients: what can be is brought to the arithmetic's type at once."""

    def low_rank(self) -> Mapping[str, LowRank]:
        """Low-rank additions by layer, copied to the CPU."""

    def differences(self) -> Mapping[str, Tensor]:
        """Differences from the given parameters by parameter, float32 on the CPU."""


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While entered, no parameter of the modules asks for a gradient.

    >>> layer = nn.Linear(1, 1)
    >>> with frozen([layer]):
    ...     layer.weight.requires_grad
    False
    >>> layer.weight.requires_grad
    True
    """
    asking = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
