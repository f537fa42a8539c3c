"""The maps that are supervised: queries and keys of the layers of latent / 4, seen in one pass of the denoiser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...attention.read.heatmap import LayerMaps
from ...attention.record.layers import FoundSite, Site, find_sites
from ...attention.record.observers import Observers
from ...attention.record.scores import attention_scores
from ...dims import Grid
from ...errors import HostError

LEVEL = 2
"""Halvings of the latent: 16x16 maps of 512x512 pixels, as in the paper (appendix B.1), at any size."""


def supervised_sites(unet: nn.Module) -> tuple[FoundSite, ...]:
    """Find the layers whose maps the loss reads.

    Source: train.py 1389-1404: cross-attention of the down and the up arm with 256 queries, not of the middle; five
    layers in SD1.5 and SD2.1.

    Raises:
        HostError: the model has none.
    """
    found = tuple(
        item for item in find_sites(unet, ("cross",)) if item.site.level == LEVEL and item.site.place != "middle"
    )
    if not found:
        raise HostError(
            f"Train Concepts: {type(unet).__name__} has no cross-attention on a quarter of the latent; expected that "
            "of SD1.5. Load an SD1.5 checkpoint."
        )
    return found


class Sight:
    """Queries and keys of one pass; their maps are computed only when read, with gradients.

    Nothing but references is kept while the denoiser runs, so a block that is computed again in the backward pass
    (gradient checkpointing) computes the same, with or without an observer.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Site, Tensor, Tensor, Grid]] = []

    def note(self, site: Site, query: Tensor, key: Tensor, grid: Grid) -> None:
        """Keep what one layer shows."""
        self._seen.append((site, query, key, grid))

    def layers(self) -> Iterator[LayerMaps]:
        """The maps (batch head query token) float32 of each layer, with its grid and number of heads."""
        for site, query, key, grid in self._seen:
            yield attention_scores(query, key, site.heads), grid, site.heads


@contextmanager
def watching(found: tuple[FoundSite, ...]) -> Iterator[Sight]:
    """Watch one pass of the denoiser; afterwards nothing observes, so the backward pass is not seen.

    Args:
        found: as `supervised_sites` gives them.

    Raises:
        HostError: a layer did not show its queries and keys.
    """
    sight = Sight()
    with Observers(found, sight.note) as observers:
        yield sight
        silent = observers.unseen()
    if silent:
        raise HostError(
            f"Train Concepts: {silent[0].name} computed without showing its queries and keys; expected all "
            f"{len(found)} layers that the attention loss reads. Train on the checkpoint's own model, without patches."
        )
