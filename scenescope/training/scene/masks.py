"""Which things a scene has, and what they are called: masks from sockets, colours and a painter's strokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...dims import Grid, counted
from ...errors import InputError
from ...resample import resize
from .painted import NEAR, Colour, masks_by_colour
from .scene import Concept, soft_mask

PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (204, 121, 167),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
"""One colour for each thing, further apart than `NEAR`. Source: Okabe and Ito 2008, told apart by the colour-blind."""

_DARKER = 0.72
"""What the palette is multiplied by each time that it begins again."""


@dataclass(frozen=True)
class MaskSources:
    """Everything that says where things are.

    Args:
        masks: as sockets carry them, (mask height width) each; with n pictures every n masks are one thing.
        coloured: (image height width 3 or 4) float, each colour a thing, black and transparent none; or None.
        strokes: (height width 4) float, what was painted over the first picture; or None.
        inverted: whether the sockets' masks are one where their thing is not, as a cut-out picture's transparency is.
    """

    masks: Sequence[Tensor] = ()
    coloured: Tensor | None = None
    strokes: Tensor | None = None
    inverted: bool = False


def colour_of(thing: int) -> Colour:
    """The colour in which a thing is drawn, and in which it can be painted.

    >>> colour_of(0), colour_of(7)
    ((86, 180, 233), (62, 130, 168))
    """
    rounds, place = divmod(thing, len(PALETTE))
    red, green, blue = (round(part * _DARKER**rounds) for part in PALETTE[place])
    return red, green, blue


def collect_masks(marks: MaskSources, images: int) -> list[Tensor]:
    """Turn all sources into one mask for each thing: first the sockets', then the colours', then the strokes'.

    Strokes in the palette colour of an existing thing are added to its mask; other colours are new things, the
    palette's in its order and however small they are.

    Args:
        marks: what was given.
        images: how many pictures there are.

    Returns:
        For each thing (image height width) float32 0..1, or bool.

    Raises:
        InputError: there is no mask, all are empty, or their number does not fit the pictures.
    """
    found = given_masks(marks, images)
    if marks.strokes is not None and bool((marks.strokes[..., 3] > 0).any()):
        found = _with_strokes(found, marks.strokes, images)
    if not any(bool(mask.any()) for mask in found):
        empty = "the mask is empty" if len(found) == 1 else f"all {len(found)} masks are empty"
        raise InputError(f"Build Scene: {empty if found else 'no mask yet'}. Connect one, or paint one in the node.")
    return found


def opaque(strokes: Tensor) -> Tensor:
    """Strokes (height width 4) with their thickest paint made opaque: thin paint still counts as paint."""
    strokes = strokes.detach().float().cpu()
    return torch.cat([strokes[..., :3], strokes[..., 3:] / strokes[..., 3].max().clamp(min=1e-6)], dim=-1)


def name_things(count: int, handles: str, words: str, background: str) -> tuple[list[Concept], Concept | None]:
    """Give things their handles and starting words.

    Args:
        count: how many things.
        handles: one per line; an empty or a missing line is `<asset0>`, `<asset1>` and so on.
        words: one per line in the same order, one more for the background; what is missing has none.
        background: the background's handle; empty for no background.

    Returns:
        The things' concepts, and the background's.

    Raises:
        InputError: there are more lines than things.

    >>> name_things(2, "", "cat", "")[0]
    [Concept(handle='<asset0>', word='cat'), Concept(handle='<asset1>', word='')]
    """
    names, starts = lines_of(handles), lines_of(words)
    if len(names) > count:
        raise InputError(
            f"Build Scene: {counted(len(names), 'handle')} but only {counted(count, 'mask')}. Add masks or remove "
            "handles."
        )
    ground = background.strip()
    if len(starts) > count + bool(ground):
        raise InputError(
            f"Build Scene: {counted(len(starts), 'starting word')} but only {counted(count, 'mask')}. Write one on "
            "each line, in the order of the masks; if the background has a handle, its word comes last."
        )
    names += [""] * (count - len(names))
    names = [name or f"<asset{index}>" for index, name in enumerate(names)]
    starts += [""] * (count + 1 - len(starts))
    concepts = [Concept(name, start) for name, start in zip(names, starts, strict=False)]
    return concepts, Concept(ground, starts[count]) if ground else None


def lines_of(text: str) -> list[str]:
    """The lines of handles or words, without empty ones at the end.

    >>> lines_of(" <cat>\\n\\n<dog> \\n\\n")
    ['<cat>', '', '<dog>']
    """
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def given_masks(marks: MaskSources, images: int) -> list[Tensor]:
    """The masks that sockets give, without strokes; perhaps none, and perhaps empty ones.

    Args:
        marks: what was given.
        images: how many pictures there are.

    Returns:
        For each thing (image height width) float32 0..1, or bool, each of its own size.

    Raises:
        InputError: their number does not fit the pictures.
    """
    found = [thing for mask in marks.masks for thing in _of_socket(mask, images)]
    found = [1 - thing for thing in found] if marks.inverted else found
    return found if marks.coloured is None else found + _of_colours(marks.coloured, images)


def _of_socket(mask: Tensor, images: int) -> list[Tensor]:
    mask = mask[None] if mask.ndim == 2 else mask
    if not len(mask) or len(mask) % images:
        raise InputError(
            f"Build Scene: a mask input has {counted(len(mask), 'mask')} for {counted(images, 'picture')}. Connect one "
            f"mask for each picture, or a whole multiple (the first {images} are the first thing, and so on)."
        )
    return [soft_mask(part, images) for part in mask.split(images)]


def _of_colours(coloured: Tensor, images: int) -> list[Tensor]:
    """Pictures below each other are parted as one, so that a colour is the same thing in all of them."""
    count, height, width, channels = coloured.shape
    if count != images:
        raise InputError(
            f"Build Scene: {counted(count, 'coloured picture')} for {counted(images, 'picture')}. Connect one coloured "
            "picture for each picture of the batch."
        )
    _, masks = masks_by_colour(coloured.reshape(count * height, width, channels))
    return list(masks.reshape(-1, count, height, width))


def _with_strokes(found: list[Tensor], strokes: Tensor, images: int) -> list[Tensor]:
    colours, masks = masks_by_colour(opaque(strokes), ground=None, known=PALETTE)
    places = [in_palette(colour) for colour in colours]
    found = list(found)
    for index in sorted(range(len(colours)), key=lambda index: (places[index], index)):
        mask = torch.cat([masks[index][None], masks.new_zeros(images - 1, *masks.shape[1:])])
        if places[index] < len(found):
            own = found[places[index]].float()
            found[places[index]] = torch.maximum(own, resize(mask.float(), Grid(*own.shape[1:])).clamp(0, 1))
        else:
            found.append(mask)
    return found


def in_palette(colour: Colour) -> int:
    """The place of the palette's nearest colour, or its length where none is near."""
    distances = [sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) ** 0.5 for other in PALETTE]
    least = min(distances)
    return distances.index(least) if least < NEAR else len(PALETTE)
