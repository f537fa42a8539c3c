"""Where in the picture an act applies: a mask or boxes, resampled to the grid of each layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...dims import Grid, counted
from ...errors import InputError
from ...resample import resize
from ..record.recording import Entry

Box = tuple[float, float, float, float]
"""Left, top, width, height in latent cells."""


@dataclass(frozen=True, eq=False)
class Place:
    """A part of the picture.

    Args:
        mask: (1|image height width) float 0..1 over the whole picture, of any size; soft edges count partially.
        boxes: instead of a mask, boxes that make up the place together.
    """

    mask: Tensor | None = None
    boxes: tuple[Box, ...] = ()

    def on_latent(self, latent: Grid, images: int, who: str) -> Tensor:
        """The place on the latent's grid.

        Args:
            latent: the grid.
            images: pictures of the run.
            who: begins the message.

        Returns:
            (1|image height width) float32, 0..1.

        Raises:
            InputError: the mask has values that are not numbers; the place is empty or lies outside the picture; there
                are neither one mask nor as many as pictures.
        """
        covered = self._mask_on(latent, who) if self.mask is not None else boxes_on(self.boxes, latent)[None]
        if covered.shape[0] not in (1, images):
            raise InputError(
                f"{who}: a place has {covered.shape[0]} masks for {counted(images, 'picture')}. Connect a single mask "
                "for a line of words, or one for each picture. With keep_others, sample as many pictures as were "
                "recorded."
            )
        if not bool((covered.amax(dim=(-2, -1)) > 0).all()):
            raise InputError(
                f"{who}: the place is empty, or lies outside the picture of {latent} latent cells (8 pixels each). "
                "Paint the mask, or correct the box."
            )
        return covered

    def _mask_on(self, latent: Grid, who: str) -> Tensor:
        assert self.mask is not None
        return mask_on(self.mask, latent, who)


def mask_on(mask: Tensor, latent: Grid, who: str) -> Tensor:
    """Bring a mask to a grid.

    Args:
        mask: (height width), (1|image height width) or (1|image 1 height width) float, of any size.
        latent: the grid.
        who: begins the message.

    Returns:
        (1|image height width) float32 on the CPU, 0..1.

    Raises:
        InputError: it has values that are not numbers.
    """
    values = mask.detach().cpu().float().reshape(-1, *mask.shape[-2:])
    if not bool(values.isfinite().all()):
        raise InputError(
            f"{who}: the mask has values that are not numbers (NaN or infinite). Look at the node that made it, or "
            "paint it again."
        )
    return resize(values.clamp(0, 1), latent)


def boxes_on(boxes: tuple[Box, ...], latent: Grid) -> Tensor:
    """How much of each cell the boxes cover.

    Args:
        boxes: in latent cells, fractions allowed.
        latent: the grid.

    Returns:
        (height width) float32, 0..1; where boxes overlap, the larger share.

    >>> boxes_on(((0.5, 0.0, 1.5, 1.0),), Grid(2, 3)).tolist()
    [[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    covered = torch.zeros(latent)
    for left, top, width, height in boxes:
        rows, columns = _along(top, height, latent.height), _along(left, width, latent.width)
        covered = torch.maximum(covered, rows[:, None] * columns[None])
    return covered


def _along(start: float, length: float, cells: int) -> Tensor:
    edges = torch.arange(cells + 1, dtype=torch.float32)
    return (edges[1:].clamp(max=start + length) - edges[:-1].clamp(min=start)).clamp(0, 1)


def on_layer(covered: Tensor, grid: Grid, entry: Entry) -> Tensor:
    """A place as a layer sees it.

    Args:
        covered: (1|image height width) on the latent's grid.
        grid: the layer's; if the entry has an area, it covers only that area.
        entry: the conditioning that the layer is called for.

    Returns:
        (1|image query) float32, 0..1.
    """
    if entry.area is not None:
        height, width, top, left = entry.area
        covered = covered[:, top : top + height, left : left + width]
    return resize(covered, grid).flatten(1)
