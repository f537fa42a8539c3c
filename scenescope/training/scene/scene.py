"""The training data: pictures, a mask for each concept, handles and starting words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...cost import MOST_CONCEPTS, refuse_costly
from ...dims import Grid, counted
from ...errors import InputError
from ...resample import resize

PIXELS, CELLS = 8, 4
"""A latent cell's side in pixels, and a cell of the supervised maps in latent cells (SD1.5)."""

_HANDLE = re.compile(r"[^\s,:()\[\]{}\\]+")


@dataclass(frozen=True)
class Concept:
    """One thing to learn.

    Args:
        handle: what prompts will call it, such as `<asset0>`.
        word: an ordinary word that it begins as; "" for none.
    """

    handle: str
    word: str = ""


@dataclass(frozen=True)
class Scene:
    """Pictures of some concepts; sides are multiples of 8 pixels.

    Args:
        pictures: (image height width 3) float32, 0..1.
        masks: (image concept height width) float32, 0..1; where a concept is empty the picture does not show it.
        concepts: as many as there are masks.
        fine: (image concept height width) uint8, 0..255, the masks before they were scaled with the pictures; None
            where nothing was scaled.
    """

    pictures: Tensor
    masks: Tensor
    concepts: tuple[Concept, ...]
    fine: Tensor | None = None

    @property
    def handles(self) -> tuple[str, ...]:
        """The concepts' handles."""
        return tuple(concept.handle for concept in self.concepts)

    @property
    def size(self) -> Grid:
        """The pictures' grid of pixels."""
        return Grid(*self.masks.shape[-2:])

    @property
    def latent(self) -> Grid:
        """The latent's grid."""
        return self.size.coarser(PIXELS)

    @property
    def loss_grid(self) -> Grid:
        """The grid of the maps that are supervised: the latent's, halved twice."""
        return self.latent.coarser(CELLS)

    def masks_on(self, grid: Grid) -> Tensor:
        """The masks as shares of another grid's cells, exact by area: (image concept height width) float32."""
        return resize(self.masks, grid)

    def union_on(self, grid: Grid, image: int, concepts: Sequence[int], *, flipped: bool = False) -> Tensor:
        """What a picture shows of some concepts together, as shares of another grid's cells.

        Source: Break-a-Scene, train.py 1170-1181: the maximum of the masks comes first, then the smaller size, so that
        two things that share a cell fill it. Here the smaller size is a mean by area.

        Args:
            grid: the grid wanted.
            image: which picture.
            concepts: whose masks.
            flipped: of the mirrored picture.

        Returns:
            (height width) float32, 0..1.
        """
        if self.fine is None:
            union = self.masks[image, list(concepts)].amax(dim=0)
        else:
            union = _fitted(self.fine[image, list(concepts)].amax(dim=0).float() / 255, self.size)
        return resize(union.flip(-1) if flipped else union, grid)

    def present(self, image: int) -> tuple[int, ...]:
        """The concepts that a picture shows."""
        return tuple(self.masks[image].flatten(1).amax(dim=1).nonzero().flatten().tolist())

    @property
    def digest(self) -> str:
        """A name for the content: 32 hexadecimal digits that differ where anything differs."""
        digest = hashlib.blake2b(repr((self.concepts, self.masks.shape)).encode(), digest_size=16)
        for part in (self.pictures, self.masks, *(() if self.fine is None else (self.fine,))):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_scene(
    pictures: Tensor,
    masks: Sequence[Tensor],
    concepts: Sequence[Concept],
    *,
    resolution: int | None = None,
    background: Concept | None = None,
) -> Scene:
    """Bring pictures and masks to one size, and add the background.

    The aspect is kept: pictures and masks are scaled together until the size that `working_size` gives is covered, and
    the excess, less than 8 pixels of a side, is cut evenly from both edges. Nothing is padded, because the background
    would learn the padding. Where a side grows the values are bilinear, where it shrinks they are means by area.

    Source: Break-a-Scene, section 4.2: the background's mask is the complement of the union; the code has none, and
    takes pictures of 512x512 only (train.py 456-566).

    Args:
        pictures: (image height width 1, 3 or 4) float, 0..1; a fourth channel is left out.
        masks: one for each concept, as `soft_mask` takes them; of another size they are brought to the picture's.
        concepts: one for each mask.
        resolution: side of a square with as many pixels as the training pictures are to have; None keeps the size.
        background: learns what no mask covers.

    Raises:
        InputError: shapes, values, counts or handles do not fit.
    """
    if pictures.ndim == 4:
        advice = "Make the picture smaller before this node, or give fewer things; training scales it anyway."
        refuse_costly("Build Scene: masks", len(masks) * len(pictures), Grid(*pictures.shape[1:3]), 1, advice)
    pictures = _checked_pictures(pictures)
    if not masks or len(masks) != len(concepts) or len(masks) > MOST_CONCEPTS:
        raise InputError(
            f"Build Scene: {counted(len(masks), 'mask')} and {counted(len(concepts), 'handle')}. Give each thing one "
            f"mask and one handle, for 1 to {MOST_CONCEPTS} things."
        )
    every = (*concepts, background) if background else tuple(concepts)
    check_handles([concept.handle for concept in every])
    size = Grid(*pictures.shape[1:3])
    wanted = working_size(size, resolution)
    shown = _fitted(pictures.movedim(-1, 1), wanted).movedim(1, -1).contiguous()
    scaled, fine = _scaled_masks(masks, size, wanted, pictures=len(pictures), background=background is not None)
    return Scene(shown, scaled, every, fine)


def _scaled_masks(
    masks: Sequence[Tensor], size: Grid, wanted: Grid, *, pictures: int, background: bool
) -> tuple[Tensor, Tensor | None]:
    """Masks at the training's size and, where that is another, at the picture's in bytes; one after the other."""
    scaled, fine, covered = [], [], torch.zeros(())
    for at in range(len(masks) + background):
        if at < len(masks):
            whole = resize(soft_mask(masks[at], pictures), size).clamp(0, 1)  # (image height width)
            covered = torch.maximum(covered, whole)
        else:
            whole = 1 - covered  # before anything is scaled
        scaled.append(_fitted(whole, wanted))
        fine += [] if size == wanted else [(whole * 255).round().to(torch.uint8)]
    return torch.stack(scaled, dim=1), torch.stack(fine, dim=1) if fine else None


def soft_mask(mask: Tensor, images: int) -> Tensor:
    """Read a mask in any of the forms in which masks come.

    Args:
        mask: (height width), (image height width), or (image height width 1, 3 or 4) float; of four channels the last
            is the mask where it says anything, else the others' mean, as of three.
        images: how many pictures there are; a mask for each is wanted.

    Returns:
        (image height width) float32, 0..1.

    Raises:
        InputError: the shape is another, a value is not a number, or there is not one mask for each picture.

    >>> soft_mask(torch.tensor([[[[0.0, 0.0, 0.0, 0.5]]]]), 1).tolist()
    [[[0.5]]]
    """
    shape = tuple(mask.shape)
    mask = mask.detach().float()
    if mask.ndim == 4 and shape[-1] in (1, 3, 4):
        alpha = shape[-1] == 4 and bool((mask[..., 3] != 1).any())
        mask = mask[..., 3] if alpha else mask[..., :3].mean(dim=-1)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or 0 in mask.shape or len(mask) != images or not bool(mask.isfinite().all()):
        raise InputError(
            f"Build Scene: a mask has shape {shape}, with {counted(images, 'picture')}. Connect one mask of (height, "
            "width) with finite numbers for each picture."
        )
    return mask.clamp(0, 1)


def working_size(size: Grid, resolution: int | None) -> Grid:
    """The size of the training pictures: the aspect kept as nearly as multiples of 8 can.

    Args:
        size: the picture's.
        resolution: side of a square with as many pixels; None keeps the size.

    Raises:
        InputError: a side would be below 32 pixels, one cell of the supervised maps.

    >>> working_size(Grid(700, 1050), 512), working_size(Grid(515, 520), None)
    (Grid(height=416, width=624), Grid(height=512, width=520))
    """
    scale = 1.0 if resolution is None else resolution / (size.height * size.width) ** 0.5
    sides = [int(side * scale + 1e-6) // PIXELS * PIXELS for side in size]
    if min(sides) < PIXELS * CELLS:
        raise InputError(
            f"Build Scene: the training picture would be {Grid(*sides)} pixels; each side needs at least "
            f"{PIXELS * CELLS}. Raise the resolution, or crop the picture to a less narrow shape."
        )
    return Grid(*sides)


def check_handles(handles: Sequence[str]) -> None:
    """Refuse handles that prompts could not tell apart.

    Raises:
        InputError: a handle is empty, holds a blank or a sign of the prompt syntax, or is part of another.

    >>> check_handles(["<asset0>", "<asset1>"])
    """
    for handle in handles:
        if not _HANDLE.fullmatch(handle):
            raise InputError(
                f"Build Scene: {handle!r} can't be a handle. Use one word, without spaces, commas, colons, parentheses "
                "or backslashes, for example <asset0>."
            )
    for place, handle in enumerate(handles):
        inside = [other for index, other in enumerate(handles) if index != place and handle.lower() in other.lower()]
        if inside:
            raise InputError(
                f"Build Scene: the handle {handle!r} is part of the handle {inside[0]!r}, so a prompt couldn't tell "
                "them apart. Rename one of them."
            )


def _checked_pictures(pictures: Tensor) -> Tensor:
    shape = tuple(pictures.shape)
    if len(shape) != 4 or 0 in shape or shape[-1] not in (1, 3, 4) or not bool(pictures.isfinite().all()):
        raise InputError(
            f"Build Scene: the picture has shape {shape}, but it has to be (image, height, width, 3) with finite "
            "numbers. Connect an IMAGE, for example from Load Image."
        )
    return pictures.detach().float()[..., :3].clamp(0, 1).expand(-1, -1, -1, 3).contiguous()


def _fitted(values: Tensor, wanted: Grid) -> Tensor:
    """Values (... height width) scaled until they cover a size, and cut to it around the centre."""
    size = Grid(*values.shape[-2:])
    if size == wanted:
        return values
    scale = max(wanted.height / size.height, wanted.width / size.width)
    cover = Grid(*(max(round(side * scale), least) for side, least in zip(size, wanted, strict=True)))
    top, left = (cover.height - wanted.height) // 2, (cover.width - wanted.width) // 2
    cut = resize(values, cover)[..., top : top + wanted.height, left : left + wanted.width]
    return cut.clamp(0, 1).contiguous()
