"""The maps that are supervised: queries and keys of the layers of latent / 4, seen in one pass of the denoiser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...attention.read.heatmap import LayerMaps
from ...attention.record.layers import AttentionLayer, LayerModules, find_layers
from ...attention.record.observers import Observers
from ...attention.record.scores import attention_scores
from ...dims import Grid
from ...errors import HostError

LEVEL = 2
"""Halvings of the latent: 16x16 maps of 512x512 pixels, as in the paper (appendix B.1), at any size."""


def supervised_layers(unet: nn.Module) -> tuple[LayerModules, ...]:
    """Find the layers whose maps the loss reads.

    Source: train.py 1389-1404: cross-attention of the down and the up arm with 256 queries, not of the middle; five
    layers in SD1.5 and SD2.1.

    Raises:
        HostError: the model has none.
    """
    found = tuple(
        item for item in find_layers(unet, ("cross",)) if item.layer.level == LEVEL and item.layer.place != "middle"
    )
    if not found:
        raise HostError(
            f"Train Concepts: this model ({type(unet).__name__}) has no cross-attention at a quarter of the latent's "
            "size, as SD1.5 has. Load an SD1.5 checkpoint."
        )
    return found


class CapturedMaps:
    """Queries and keys of one pass; their maps are computed only when read, with gradients.

    Nothing but references is kept while the denoiser runs, so a block that is computed again in the backward pass
    (gradient checkpointing) computes the same, with or without an observer.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[AttentionLayer, Tensor, Tensor, Grid]] = []

    def note(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid) -> None:
        """Keep what one layer shows."""
        self._seen.append((layer, query, key, grid))

    def layers(self) -> Iterator[LayerMaps]:
        """The maps (batch head query token) float32 of each layer, with its grid and number of heads."""
        for layer, query, key, grid in self._seen:
            yield attention_scores(query, key, layer.heads), grid, layer.heads


@contextmanager
def capture_maps(found: tuple[LayerModules, ...]) -> Iterator[CapturedMaps]:
    """Watch one pass of the denoiser; afterwards nothing observes, so the backward pass is not seen.

    Args:
        found: as `supervised_layers` gives them.

    Raises:
        HostError: a layer did not show its queries and keys.
    """
    captured = CapturedMaps()
    with Observers(found, captured.note) as observers:
        yield captured
        silent = observers.unseen()
    if silent:
        raise HostError(
            f"Train Concepts: {silent[0].name} ran without showing its queries and keys, and the attention loss needs "
            f"all {len(found)} of its layers. Train on the checkpoint's own model, without patches."
        )
