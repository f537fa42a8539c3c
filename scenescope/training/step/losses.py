"""The losses of Break-a-Scene, each a function of tensors; float32 or wider, and gradients flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...attention.read.masks import intersection_over_union
from ..settings import Normalise


def masked_loss(predicted: Tensor, target: Tensor, masks: Tensor, normalise: Normalise = "none") -> Tensor:
    """Mean squared error inside masks.

    Source: Break-a-Scene, equation 1, and train.py 1170-1181: mean((m eps - m eps_theta)^2) over all of the latent, so
    a soft mask counts squared and a small thing counts little. `area` divides by the mask's share instead:
    sum m^2 e^2 / (channels sum m).

    Args:
        predicted: (batch channel height width) float.
        target: (batch channel height width) float.
        masks: (batch height width) float, 0..1, on the latent's grid.
        normalise: `none` as in the paper, or `area`.

    Returns:
        () float, the mean over the batch; 0 for an empty mask.

    >>> predicted, target = torch.tensor([[[[3.0, 1.0]]]]), torch.zeros(1, 1, 1, 2)
    >>> mask = torch.tensor([[[1.0, 0.0]]])
    >>> float(masked_loss(predicted, target, mask)), float(masked_loss(predicted, target, mask, "area"))
    (4.5, 9.0)
    """
    masks = _wide(masks)[:, None]
    squares = ((_wide(predicted) - _wide(target)) * masks) ** 2
    if normalise == "none":
        return squares.mean()
    area = masks.sum(dim=(1, 2, 3)) * predicted.shape[1]
    return (squares.sum(dim=(1, 2, 3)) / area.clamp(min=torch.finfo(area.dtype).tiny)).mean()


def prior_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all of the latent.

    Source: train.py 1163-1168, after Ruiz et al. 2023 (DreamBooth), equation 2, second term.

    Args:
        predicted: (batch channel height width) float.
        target: (batch channel height width) float.

    >>> float(prior_loss(torch.full((1, 1, 1, 2), 2.0), torch.zeros(1, 1, 1, 2)))
    4.0
    """
    return ((_wide(predicted) - _wide(target)) ** 2).mean()


def concept_maps(maps: Tensor, columns: Sequence[int], *, detach_maximum: bool = False) -> Tensor:
    """Read concepts' maps off an aggregated map, each divided by its maximum.

    Source: train.py 1199-1203: a / a.max(), the maximum not detached, the minimum not taken off.

    Args:
        maps: (height width token) float, shares of attention of one picture.
        columns: the token of each concept.
        detach_maximum: whether the maximum counts as a constant in the gradient.

    Returns:
        (concept height width) float, 0..1.

    >>> concept_maps(torch.tensor([[[0.1, 0.9], [0.4, 0.6]]]), [0]).tolist()
    [[[0.25, 1.0]]]
    """
    wide = _wide(maps)
    chosen = torch.stack([wide[..., column] for column in columns])  # (concept height width); a list would be uploaded
    most = chosen.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(chosen.dtype).tiny)
    return chosen / (most.detach() if detach_maximum else most)


def attention_loss(maps: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Mean squared distance of concepts' maps and masks, summed over the concepts of a picture.

    Source: Break-a-Scene, equation 2, and train.py 1183-1225: a sum over the drawn concepts, not their mean, divided
    by the batch.

    Args:
        maps: of each picture (concept height width) float, as `concept_maps` gives them.
        masks: of each picture (concept height width) float, 0..1, on the maps' grid.

    Returns:
        () float, before it is weighted.

    >>> ones = torch.ones(2, 1, 2)
    >>> float(attention_loss([ones], [torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])]))
    0.5
    """
    parts = [((own - _wide(mask)) ** 2).mean(dim=(-2, -1)).sum() for own, mask in zip(maps, masks, strict=True)]
    return torch.stack(parts).mean()


@torch.no_grad()
def ious(maps: Tensor, masks: Tensor) -> Tensor:
    """Say how well concepts' maps, cut at half of their maximum, cover their masks.

    Args:
        maps: (concept height width) float, 0..1, as `concept_maps` gives them.
        masks: (concept height width) float, 0..1.

    Returns:
        (concept) float32, intersection over union.

    >>> ious(torch.tensor([[[1.0, 0.2]]]), torch.tensor([[[1.0, 1.0]]])).tolist()
    [0.5]
    """
    return intersection_over_union(maps, masks)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
