"""A look at a scene with fixed noise: how well the model explains the things, and whether it looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pack.scenescope.attention.read.heatmap import LayerMaps, aggregate_on_grid
from pack.scenescope.attention.read.masks import above_otsu, intersection_over_union
from pack.scenescope.attention.record.layers import find_layers
from pack.scenescope.dims import Grid
from pack.scenescope.resample import resize
from pack.scenescope.training.ports import Ports
from pack.scenescope.training.scene.scene import Scene
from pack.scenescope.training.step.losses import masked_loss
from pack.scenescope.training.step.prompts import generator_at, sentence
from pack.scenescope.training.step.supervision import capture_maps
from torch import Tensor

LOOKS = 10
"""Noised copies of the picture, at timesteps spread evenly over the schedule."""


@dataclass(frozen=True)
class Looked:
    """What a look found.

    Args:
        masked: the error of the predicted noise inside the masks, divided by their area.
        iou: mean intersection over union of the concepts' maps, cut by Otsu, with the masks, on the latent's grid.
        maps: (concept height width) float32, the maps.
    """

    masked: float
    iou: float
    maps: Tensor


@torch.no_grad()
def look(ports: Ports, scene: Scene, embeddings: Mapping[str, Tensor]) -> Looked:
    """Look at a scene's first picture while the prompt names all its concepts.

    Args:
        ports: the host's, with whatever has been trained in them.
        scene: the scene.
        embeddings: of each handle (channel) float32.
    """
    generator = generator_at(0, "look")
    latents = ports.latents[:1].float().expand(LOOKS, -1, -1, -1)
    last = len(ports.noise.signal)
    timesteps = ((torch.arange(LOOKS) + 0.5) / LOOKS * last).long().to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    noisy = ports.noise.add(latents, noise, timesteps)
    with capture_maps(find_layers(ports.denoiser.unet, ("cross",))) as captured:
        encoded = ports.text.encode([sentence("a photo of {}", scene.handles)] * LOOKS, embeddings)
        predicted = ports.denoiser(noisy, timesteps, encoded.context)
    masks = scene.masks_on(scene.latent)[0].to(latents.device)  # (concept height width)
    union = scene.union_on(scene.latent, 0, range(len(scene.concepts))).to(latents.device)
    error = masked_loss(predicted, noise, union.expand(LOOKS, -1, -1), "area")
    columns = [encoded.columns[0][handle] for handle in scene.handles]
    maps = _maps([(part.mean(0, keepdim=True), grid, heads) for part, grid, heads in captured.layers()], scene.latent)
    own = maps[..., columns].movedim(-1, 0).cpu()
    cut, _ = above_otsu(own)
    return Looked(float(error), float(intersection_over_union(cut, masks.cpu()).mean()), own)


def _maps(layers: Sequence[LayerMaps], latent: Grid) -> Tensor:
    """The mean of all layers (height width token) on the latent's grid; every layer counts the same."""
    total: Tensor | None = None
    for grid in dict.fromkeys(grid for _, grid, _ in layers):
        same = [layer for layer in layers if layer[1] == grid]
        part = resize(aggregate_on_grid(same, grid).movedim(-1, 1), latent) * (len(same) / len(layers))
        total = part if total is None else total + part
    if total is None:
        raise ValueError("look: this model has no cross-attention to look at")
    return total[0].movedim(0, -1)
