"""A painted picture as masks: every colour is a thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...cost import MOST_CONCEPTS
from ...errors import InputError

LEAST_SHARE = 0.01
"""Share of the picture below which a colour is the soft edge between two others; so small a thing could not be learned:
the supervised maps of a square of 512 pixels have 256 cells, and a thing needs four."""

NEAR = 48
"""Distance in steps of 0..255 below which two colours are one that a file format has blurred."""

NOTICED = 0.0005
"""Share of the picture from which a colour taken for another is reported: a dot 13 pixels across in 512x512."""

PART = 2**16
"""Colours that are compared with the main ones at a time: a photo has hundreds of thousands."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Stray:
    """A colour that somebody painted and that makes no mask of its own.

    Args:
        colour: as it was painted.
        into: the colour whose mask its pixels went to; None where they are nothing.
        share: of the picture, 0..1.
    """

    colour: Colour
    into: Colour | None
    share: float


def masks_by_colour(
    painted: Tensor, *, ground: Colour | None = (0, 0, 0), known: Sequence[Colour] = ()
) -> tuple[tuple[Colour, ...], Tensor]:
    """Split a painted picture into a mask for each colour.

    Every pixel belongs to the nearest of the colours that were meant, so soft edges leave no gaps. A colour that covers
    too little counts as nothing, rather than as the nearest colour.

    Args:
        painted: (height width 3 or 4) float, 0..1; where a fourth channel is below one half there is ground.
        ground: the colour that is nothing, 0..255; None where every colour is a thing.
        known: colours that are things however little of them there is, such as a palette's; `NOTICED` is enough.

    Returns:
        colours: in the order in which reading the picture row by row meets them.
        masks: (colour height width) bool, a byte each: a large painting has many.

    Raises:
        InputError: the shape is another, there is no colour but the ground, or there are more than a scene's things.

    >>> colours, masks = masks_by_colour(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]]))
    >>> colours, masks.tolist()
    (((255, 0, 0), (0, 0, 255)), [[[False, True, False]], [[False, False, True]]])
    """
    if painted.ndim != 3 or painted.shape[-1] not in (3, 4) or not painted.numel():
        raise InputError(
            f"Painted masks: one picture of (height, width, 3) is needed, but this has shape {tuple(painted.shape)}."
        )
    counted = _counted(painted)
    meant = _meant(counted, ground, known)
    nearest, first = torch.full((len(counted.colours) + 1,), -1), {}  # the last one is what is not seen
    if len(meant.mains):
        centres = torch.cat([meant.mains, *(torch.tensor([colour]) for colour in meant.nothing)])
        near = _nearest(counted.colours, centres)  # (colour)
        nearest[:-1] = torch.where(near < len(meant.mains), near, -1)
    things = nearest[counted.plane]  # (height width)
    for index in range(0 if ground is None else 1, len(meant.mains)):  # the ground is the first of the main colours
        places = (things.flatten() == index).nonzero()
        if len(places):
            first[index] = int(places[0])
    if not first:
        raise InputError(
            "Painted masks: the picture has no colour besides the background. Paint each thing in a colour of its "
            "own, or say which colour is the background."
        )
    if len(first) > MOST_CONCEPTS:
        raise InputError(
            f"Painted masks: the picture has {len(first)} colours, and a scene has at most {MOST_CONCEPTS} things. "
            "Paint each thing in one flat colour on black; a photo isn't a painting."
        )
    order = sorted(first, key=lambda index: first[index])
    return tuple(_triple(meant.mains[index]) for index in order), torch.stack([things == i for i in order])


def colours_of(
    painted: Tensor, *, ground: Colour | None = (0, 0, 0), known: Sequence[Colour] = ()
) -> tuple[tuple[tuple[Colour, float], ...], tuple[Stray, ...]]:
    """List the colours that `masks_by_colour` makes masks of, and those of which it makes none although they are meant.

    A soft edge is thin: it holds no place in which nine pixels are of one colour, and is not listed. Nor is what is
    nearer to its mask's colour, or to one that is listed, than half of `NEAR`.

    Args:
        painted: as `masks_by_colour` takes it.
        ground: as there; not listed.
        known: as there.

    Returns:
        The colours of masks with the share of the picture that is exactly so, the most frequent first, known ones of
        which there is too little for others last; and the others, the most frequent first.

    >>> painted = torch.zeros(40, 40, 3)
    >>> painted[:20], painted[30:33, :4, 2] = torch.tensor([1.0, 0, 0]), 1.0
    >>> colours_of(painted)
    ((((255, 0, 0), 0.5),), (Stray(colour=(0, 0, 255), into=None, share=0.0075),))
    """
    counted = _counted(painted)
    meant = _meant(counted, ground, known)
    mains = meant.mains[0 if ground is None else 1 :]
    shares = [int(counted.counts[(counted.colours == main).all(dim=-1)].sum()) / counted.total for main in mains]
    return tuple((_triple(main), share) for main, share in zip(mains, shares, strict=True)), meant.strays


@dataclass(frozen=True)
class _Counted:
    """A painting by its colours.

    Args:
        plane: (height width) int64, which of the colours each pixel has; their number where it is transparent.
        colours: (colour 3) int64, 0..255, the most frequent first.
        counts: (colour) pixels of each.
    """

    plane: Tensor
    colours: Tensor
    counts: Tensor

    @property
    def total(self) -> int:
        """Pixels, transparent ones too."""
        return self.plane.numel()


@dataclass(frozen=True)
class _Meant:
    """What the colours of a painting are.

    Args:
        mains: (colour 3) int64: the ground first, where there is one, then those of things.
        nothing: colours whose pixels belong to no thing.
        strays: those to report.
    """

    mains: Tensor
    nothing: tuple[Colour, ...]
    strays: tuple[Stray, ...]


def _counted(painted: Tensor) -> _Counted:
    pixels = (painted[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().long()
    codes = pixels[..., 0] * 65536 + pixels[..., 1] * 256 + pixels[..., 2]  # (height width)
    seen = torch.ones(codes.shape, dtype=torch.bool)
    if painted.shape[-1] == 4:
        seen = painted[..., 3].detach().cpu() >= 0.5
    unique, places, counts = torch.unique(codes[seen], return_inverse=True, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    plane = torch.full(codes.shape, len(unique))
    plane[seen] = order.argsort()[places]
    colours = torch.stack([unique // 65536, unique // 256 % 256, unique % 256], dim=-1)[order]
    return _Counted(plane, colours, counts[order])


def _meant(counted: _Counted, ground: Colour | None, known: Sequence[Colour]) -> _Meant:
    mains = _main_colours(counted, ground)
    if not (mains or known):
        return _Meant(counted.colours[:0], (), ())
    colours = counted.colours[counted.counts >= NOTICED * counted.total]
    near, nothing, strays = _apart(colours, mains), list[Colour](), list[Stray]()  # near: (colour), to the mains
    open_ = (near >= NEAR / 2) & _solid(counted.plane, len(colours))  # what is neither listed nor like what is
    for at, (colour, count) in enumerate(zip(colours, counted.counts.tolist(), strict=False)):
        if not open_[at]:
            continue
        own, share, distance = _triple(colour), count / counted.total, _apart(colours, [colour])
        open_ &= distance >= NEAR / 2
        if near[at] < NEAR:
            into = mains[int((torch.stack(mains) - colour).double().norm(dim=-1).argmin())]
            strays.append(Stray(own, _triple(into), share))
        elif own in known:
            mains.append(colour)
            near = near.minimum(distance)
        else:
            nothing.append(own)
            strays.append(Stray(own, None, share))
    if mains:  # too little of a known colour to be a thing is not part of another thing either
        nothing += [own for own in known if float(_apart(torch.tensor([own]), mains)) >= NEAR]
    return _Meant(torch.stack(mains) if mains else counted.colours[:0], tuple(nothing), tuple(strays))


def _main_colours(counted: _Counted, ground: Colour | None) -> list[Tensor]:
    """The colours that cover enough, most frequent first, the ground before them: (3) int64 each."""
    mains = [] if ground is None else [torch.tensor(ground)]
    for colour in counted.colours[counted.counts >= LEAST_SHARE * counted.total]:  # a hundred at most
        if float(_apart(colour[None], mains)) >= NEAR:
            mains.append(colour)
    return mains


def _apart(colours: Tensor, others: Sequence[Tensor]) -> Tensor:
    """How far colours (colour 3) are from the nearest of others, (3) each: (colour) float64."""
    if not others:
        return torch.full((len(colours),), math.inf, dtype=torch.float64)
    return torch.cdist(colours.double(), torch.stack(list(others)).double()).amin(dim=1)


def _nearest(colours: Tensor, centres: Tensor) -> Tensor:
    """Which of the centres (centre 3) is nearest to each of the colours (colour 3); a part of them at a time."""
    parts = colours.double().split(PART)
    return torch.cat([torch.cdist(part, centres.double()).argmin(dim=1) for part in parts])


def _triple(colour: Tensor) -> Colour:
    red, green, blue = colour.tolist()
    return red, green, blue


def _solid(plane: Tensor, count: int) -> Tensor:
    """Which of the first n colours of a plane (height width) have three by three neighbours: (colour) bool."""
    found = torch.zeros(count, dtype=torch.bool)
    if min(plane.shape) < 3:
        return found
    across = (plane[:, 1:-1] == plane[:, :-2]) & (plane[:, 1:-1] == plane[:, 2:])  # three in a row
    same = (plane[1:-1] == plane[:-2]) & (plane[1:-1] == plane[2:])
    blocks = same[:, 1:-1] & across[1:-1] & across[:-2] & across[2:]
    held = plane[1:-1, 1:-1][blocks]
    found[held[held < count]] = True
    return found
