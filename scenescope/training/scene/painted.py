"""A painted picture as masks: every colour is a thing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError

LEAST_SHARE = 0.01
"""Share of the picture below which a colour is the soft edge between two others; so small a thing could not be learned:
the supervised maps of a square of 512 pixels have 256 cells, and a thing needs four."""

NEAR = 48
"""Distance in steps of 0..255 below which two colours are one that a file format has blurred."""

NOTICED = 0.0005
"""Share of the picture from which a colour that is taken for another is told of: a dot 13 pixels across in 512x512."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Stray:
    """A colour that somebody painted and that makes no mask of its own.

    Args:
        colour: as it was painted.
        into: the colour whose mask its pixels went to.
        share: of the picture, 0..1.
    """

    colour: Colour
    into: Colour
    share: float


def masks_by_colour(painted: Tensor, *, ground: Colour | None = (0, 0, 0)) -> tuple[tuple[Colour, ...], Tensor]:
    """Part a painted picture into a mask for each colour.

    Every pixel belongs to the nearest of the colours that cover enough, so soft edges leave no gaps.

    Args:
        painted: (height width 3 or 4) float, 0..1; where a fourth channel is below one half there is ground.
        ground: the colour that is nothing, 0..255; None where every colour is a thing.

    Returns:
        colours: in the order in which reading the picture row by row meets them.
        masks: (colour height width) float32, 0 or 1.

    Raises:
        InputError: the shape is another, or there is no colour but the ground.

    >>> colours, masks = masks_by_colour(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]]))
    >>> colours, masks.tolist()
    (((255, 0, 0), (0, 0, 255)), [[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    """
    if painted.ndim != 3 or painted.shape[-1] not in (3, 4) or not painted.numel():
        raise InputError(
            f"Painted masks: one picture of (height, width, 3) is needed, but this has shape {tuple(painted.shape)}."
        )
    pixels, seen = _pixels(painted)
    mains = _main_colours(*_counted(pixels[seen]), len(pixels), ground)
    nearest, first = torch.full((len(pixels),), -1), {}
    if len(mains):
        distance = torch.cdist(pixels.double(), mains.double())  # (pixel colour)
        nearest = torch.where(seen, distance.argmin(dim=1), nearest)
    for index in range(0 if ground is None else 1, len(mains)):  # the ground is the first of the main colours
        places = (nearest == index).nonzero()
        if len(places):
            first[index] = int(places[0])
    if not first:
        raise InputError(
            "Painted masks: the picture has no colour besides the background. Paint each thing in a colour of its "
            "own, or say which colour is the background."
        )
    order = sorted(first, key=lambda index: first[index])
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in mains[order].tolist())
    masks = torch.stack([(nearest == index).float().reshape(painted.shape[:2]) for index in order])
    return colours, masks


def main_colours(painted: Tensor, *, ground: Colour | None = (0, 0, 0)) -> tuple[tuple[Colour, float], ...]:
    """List the colours that `masks_by_colour` makes masks of, and the share of the picture that is exactly so.

    Args:
        painted: as `masks_by_colour` takes it.
        ground: as there; not listed.

    Returns:
        The most frequent first.
    """
    pixels, seen = _pixels(painted)
    unique, counts = _counted(pixels[seen])
    mains = _main_colours(unique, counts, len(pixels), ground)[0 if ground is None else 1 :]
    shares = [float((pixels[seen] == main).all(dim=-1).sum()) / len(pixels) for main in mains]
    return tuple((_triple(main), share) for main, share in zip(mains, shares, strict=True))


def stray_colours(painted: Tensor, *, ground: Colour | None = (0, 0, 0)) -> tuple[Stray, ...]:
    """List the colours that `masks_by_colour` folds into others although somebody meant them.

    A soft edge is thin: it holds no place in which nine pixels are of one colour, and is not listed. Nor is what is
    nearer to its mask's colour, or to one that is listed, than half of `NEAR`.

    Args:
        painted: as `masks_by_colour` takes it.
        ground: as there.

    Returns:
        The most frequent first.

    >>> painted = torch.zeros(40, 40, 3)
    >>> painted[:20], painted[30:33, :4, 2] = torch.tensor([1.0, 0, 0]), 1.0
    >>> stray_colours(painted)
    (Stray(colour=(0, 0, 255), into=(0, 0, 0), share=0.0075),)
    """
    pixels, seen = _pixels(painted)
    unique, counts = _counted(pixels[seen])
    mains = _main_colours(unique, counts, len(pixels), ground)
    if not len(mains):
        return ()
    plane, found, known = pixels.reshape(*painted.shape[:2], 3), [], list(mains)
    for colour, count in zip(unique, counts.tolist(), strict=True):
        if count < NOTICED * len(pixels):
            break
        if all(_distance(colour, other) >= NEAR / 2 for other in known):
            own = (plane == colour).all(dim=-1) & seen.reshape(plane.shape[:2])
            if _holds_a_block(own):
                known.append(colour)
                into = mains[(mains - colour).double().norm(dim=-1).argmin()]
                found.append(Stray(_triple(colour), _triple(into), count / len(pixels)))
    return tuple(found)


def _pixels(painted: Tensor) -> tuple[Tensor, Tensor]:
    """All pixels (pixel 3) int64, 0..255, and which of them are no transparent ground (pixel) bool."""
    pixels = (painted[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().long().flatten(0, 1)
    if painted.shape[-1] == 4:
        return pixels, painted[..., 3].detach().cpu().flatten() >= 0.5
    return pixels, torch.ones(len(pixels), dtype=torch.bool)


def _counted(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The colours (colour 3) and how many pixels have each (colour), the most frequent first."""
    unique, counts = torch.unique(pixels, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return unique[order], counts[order]


def _main_colours(unique: Tensor, counts: Tensor, total: int, ground: Colour | None) -> Tensor:
    """The colours that cover enough, most frequent first, the ground before them: (colour 3) int64."""
    mains = [] if ground is None else [torch.tensor(ground)]
    for colour, count in zip(unique, counts.tolist(), strict=True):
        if count < LEAST_SHARE * total:
            break
        if all(_distance(colour, main) >= NEAR for main in mains):
            mains.append(colour)
    return torch.stack(mains) if mains else unique[:0]


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).double().norm())


def _triple(colour: Tensor) -> Colour:
    red, green, blue = colour.tolist()
    return red, green, blue


def _holds_a_block(own: Tensor) -> bool:
    """Whether three by three neighbours are all in a mask (height width) bool."""
    return min(own.shape) >= 3 and bool((F.avg_pool2d(own[None].float(), 3, stride=1) > 0.999).any())
