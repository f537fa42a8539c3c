"""Where a map lies in the picture, and what it reads on another grid: exact geometry, one axis at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .dims import Grid
from .errors import InputError

Area = tuple[int, int, int, int]  # height, width, top, left in latent cells, as the host writes it


@dataclass(frozen=True)
class Span:
    """A stretch of one axis of the latent.

    Args:
        start: first latent cell.
        length: latent cells that it covers.
        whole: latent cells of the axis.
    """

    start: int
    length: int
    whole: int


@lru_cache(maxsize=256)
def axis_weights(source: int, target: int, span: Span) -> tuple[Tensor, Tensor]:
    """How a map's cells along one axis are read by the cells of the whole axis.

    Where target cells are the larger ones each is the mean of what it covers (area weights); where they are the smaller
    ones each is read between the two nearest centres (bilinear). All lengths are whole numbers, so
    nothing is off by a rounding.

    Args:
        source: cells of the map, which together cover the span.
        target: cells of the whole axis.
        span: the part of the axis that the map covers.

    Returns:
        weights: (target source) float64, each row sums to 1, or to 0 outside the span; treat as read-only.
        covered: (target) float64, share of each target cell inside the span, 0..1.

    >>> axis_weights(2, 4, Span(0, 4, 8))[0].tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """
    with torch.inference_mode(False):  # cached: a tensor created in inference mode can never be trained through
        unit = source * target  # positions are counted in latent cells divided by this
        low, length, cell = span.start * unit, span.length * unit, span.whole * source
        ends = torch.arange(target + 1, dtype=torch.float64) * cell
        inside = (ends[1:].clamp(max=low + length) - ends[:-1].clamp(min=low)).clamp(min=0)  # (target)
        step = span.length * target  # a source cell's length in the same unit
        if cell >= step:
            starts = low + torch.arange(source, dtype=torch.float64)[None] * step
            high = torch.minimum(starts + step, ends[1:, None])
            weights = (high - torch.maximum(starts, ends[:-1, None])).clamp(min=0)
            weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
        else:
            weights = _between_centres(source, ((ends[1:] + ends[:-1]) / 2 - low) / step) * (inside > 0)[:, None]
        return weights, inside / cell


def _weights_like(maps: Tensor, source: int, target: int, span: Span) -> Tensor:
    """The weights in the maps' type and on their device."""
    return _weights_on(source, target, span, maps.device, maps.dtype)


@lru_cache(maxsize=256)
def _weights_on(source: int, target: int, span: Span, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The same, kept: each upload would wait for the device, and layers ask in every step."""
    with torch.inference_mode(False):
        return axis_weights(source, target, span)[0].to(device, dtype)


def _between_centres(source: int, position: Tensor) -> Tensor:
    """Linear weights (target source) at positions in source cells; the outermost cells go on to the edge."""
    distance = (position - 0.5).clamp(0, source - 1)[:, None] - torch.arange(source, dtype=torch.float64)
    return (1 - distance.abs()).clamp(min=0)


@dataclass(frozen=True)
class Placement:
    """Where maps of one conditioning entry lie.

    Args:
        latent: the latent's grid, the whole picture.
        area: the part that the entry covers, None for all of it.

    Raises:
        InputError: the area does not lie inside the latent.

    >>> Placement(Grid(4, 4), (2, 4, 2, 0)).place(torch.ones(1, 2), Grid(2, 2)).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """

    latent: Grid
    area: Area | None = None

    def __post_init__(self) -> None:
        height, width, top, left = self.corners
        inside = top + height <= self.latent.height and left + width <= self.latent.width
        if min(height, width) < 1 or min(top, left) < 0 or not inside:
            raise InputError(
                f"Area: the conditioning's area ({height}x{width} at row {top}, column {left}) reaches outside the "
                f"latent, {self.latent}. Correct the area."
            )

    @property
    def corners(self) -> Area:
        """The area, written out."""
        return self.area or (self.latent.height, self.latent.width, 0, 0)

    @property
    def extent(self) -> Grid:
        """The latent cells that the entry's own maps stand for."""
        return Grid(*self.corners[:2])

    def place(self, maps: Tensor, grid: Grid) -> Tensor:
        """Resample maps of the area to a grid of the whole picture; 0 outside the area.

        Args:
            maps: (... height width) float, covering the area.
            grid: the grid wanted.

        Returns:
            (... height width) of the grid, same type.
        """
        own = Grid(*maps.shape[-2:])
        if self.area is None and own == grid:
            return maps
        height, width, top, left = self.corners
        rows = _weights_like(maps, own.height, grid.height, Span(top, height, self.latent.height))
        columns = _weights_like(maps, own.width, grid.width, Span(left, width, self.latent.width))
        return rows @ maps @ columns.mT

    def covered(self, grid: Grid) -> Tensor:
        """How much of each cell of a grid lies inside the area: (height width) float32, 0..1."""
        height, width, top, left = self.corners
        rows = axis_weights(1, grid.height, Span(top, height, self.latent.height))[1]
        columns = axis_weights(1, grid.width, Span(left, width, self.latent.width))[1]
        return (rows[:, None] * columns[None]).float()


def resize(maps: Tensor, grid: Grid) -> Tensor:
    """Bring maps of the whole picture to a grid: means by area where it is coarser, bilinear where it is finer.

    Args:
        maps: (... height width) float.
        grid: the grid wanted.

    Returns:
        (... height width) of the grid, same type.

    >>> resize(torch.tensor([[0., 2.], [4., 6.]]), Grid(1, 1)).tolist()
    [[3.0]]
    """
    return Placement(Grid(*maps.shape[-2:])).place(maps, grid)
