"""Reasons to doubt a scene, before time is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...dims import Grid, counted
from ..weights.embeddings import WITHOUT_A_WORD
from .masks import PALETTE, MaskSources, in_palette, opaque
from .painted import LEAST_SHARE, Colour, Stray, colours_of
from .scene import Concept, Scene

CautionKind = Literal[
    "empty mask",
    "tiny mask",
    "overlap",
    "many concepts",
    "mask of another size",
    "ordinary word",
    "long word",
    "no word",
    "unknown word",
    "stray colour",
    "colour without a row",
    "thing without a handle",
    "painting of another shape",
    "picture shown turned",
    "inside out",
]

SHAPES_ALIKE = 0.02
"""Difference of two aspects that rounding to whole pixels explains."""

CELLS_WANTED = 4
"""Cells of the supervised maps below which a mask says too little; the method's examples have 6 and more."""

CONCEPTS_TOGETHER = 4
"""The paper found six concepts of one picture too many (section 5)."""

FRAMED = 0.7
"""Share of a picture's edge from which a mask looks like the background around a thing; things may touch edges too."""

OVERLAP = 0.05
"""Share of the smaller mask, without soft edges that add up to 1; the method's examples stay below 0.005."""


_TURNED = (
    "The browser rotates the picture's file as its camera recorded, and the loader doesn't, so anything painted "
    "before the first run may be rotated. Check the preview; if it is, save the picture upright, and paint again."
)


@dataclass(frozen=True)
class SceneCaution:
    """One reason to look at a scene again.

    Args:
        kind: of the reason.
        concept: which concept, or None for all of them.
        message: what is so, and what helps.
    """

    kind: CautionKind
    concept: int | None
    message: str


def cautions(
    scene: Scene, pieces: Callable[[str], int] | None = None, background: Concept | None = None
) -> tuple[SceneCaution, ...]:
    """List the reasons to doubt a scene.

    Args:
        scene: the scene.
        pieces: how many tokens the text encoder makes of a text; None leaves words and handles unchecked.
        background: the concept for everything that no mask covers, if there is one.
    """
    found = [*_of_masks(scene), *_of_ground(scene, background), *_of_overlap(scene)]
    if pieces is not None:
        found += _of_words(scene, pieces)
    count = len(scene.concepts)
    if count > CONCEPTS_TOGETHER:
        found.append(
            SceneCaution(
                "many concepts",
                None,
                f"{count} concepts at once; the method can keep up to {CONCEPTS_TOGETHER} apart. Learn them in two "
                "runs.",
            )
        )
    return tuple(found)


def size_cautions(masks: Sequence[Tensor], size: Grid) -> tuple[SceneCaution, ...]:
    """List the masks that had to be stretched to the picture.

    Args:
        masks: one for each concept, as `soft_mask` takes them.
        size: the picture's.
    """
    sizes = [Grid(*(mask.shape[1:3] if mask.ndim == 4 else mask.shape[-2:])) for mask in masks]
    return tuple(
        SceneCaution(
            "mask of another size",
            concept,
            f"The mask is {own} and the picture {size}, so the mask was stretched. Check in the preview that it lies "
            "on the thing.",
        )
        for concept, own in enumerate(sizes)
        if own != size
    )


def painting_cautions(strokes: Tensor | None, size: Grid, turned: bool = False) -> tuple[SceneCaution, ...]:
    """Warn if a painting was made on a picture of another shape, or on one that the browser had rotated.

    Args:
        strokes: (height width 4) as they were painted, not stretched; None where nothing was.
        size: the picture's.
        turned: whether browsers turn the picture's file, and its loader did not.
    """
    own = size if strokes is None else Grid(*strokes.shape[:2])
    if abs(own.height * size.width - own.width * size.height) <= max(own) * max(size) * SHAPES_ALIKE:
        return (SceneCaution("picture shown turned", None, _TURNED),) if turned else ()
    message = f"The painting was made on a picture of {own}, and this one is {size}: it was stretched. "
    if (own.height - own.width) * (size.height - size.width) < 0:
        message += (
            "If it is the same picture, the browser rotates the file as its camera recorded, and the loader doesn't: "
            "save it upright, and paint again."
        )
    else:
        message += "If it was another picture, clear the painting, and paint again."
    return (SceneCaution("painting of another shape", None, message),)


def colour_cautions(marks: MaskSources, things: int, named: int) -> tuple[SceneCaution, ...]:
    """List the painted colours that may not mean what the user thinks.

    Args:
        marks: where the things are; the strokes as they were painted, not stretched.
        things: how many things there are.
        named: how many lines of handles were written.
    """
    if marks.coloured is None and marks.strokes is None:
        return ()
    found = []
    if marks.coloured is not None:
        found += [_of_stray(stray, hex_of) for stray in colours_of(marks.coloured.flatten(0, 1))[1]]
    if marks.strokes is not None:
        colours, strays = colours_of(opaque(marks.strokes), ground=None, known=PALETTE)
        found += [_of_stray(stray, _row_of) for stray in strays]
        if named < things:
            found += _without_a_row(colours)
    for thing in range(named, things if named else 0):
        message = (
            f"Thing {thing + 1} has no line among the {counted(named, 'handle')} and is called <asset{thing}>. Write a "
            "handle for it, or erase it if it wasn't meant."
        )
        found.append(SceneCaution("thing without a handle", thing, message))
    return tuple(found)


def _of_stray(stray: Stray, named: Callable[[Colour], str]) -> SceneCaution:
    why = "too little for a thing" if stray.share < LEAST_SHARE else "too near to another colour for a thing"
    into = "nothing" if stray.into in (None, (0, 0, 0)) else f"a part of what is in {named(stray.into)}"
    message = (
        f"{named(stray.colour)} covers {stray.share:.2%} of the painting, {why}: it was taken for {into}. Erase it, "
        "or paint over it in the colour you mean."
    )
    return SceneCaution("stray colour", None, message)


def _without_a_row(colours: Sequence[tuple[Colour, float]]) -> list[SceneCaution]:
    """New things in colours that belong to no handle; they are named in the order in which they are met."""
    return [
        SceneCaution(
            "colour without a row",
            None,
            f"{hex_of(colour)}, on {share:.1%} of the painting, is no handle's colour: it became a thing of its own. "
            "Paint in the colours beside the handles to say which thing you mean.",
        )
        for colour, share in colours
        if in_palette(colour) == len(PALETTE)
    ]


def _row_of(colour: Colour) -> str:
    """A colour of the painter by the row of handles that it belongs to, another as the web writes it."""
    return f"the colour of row {PALETTE.index(colour) + 1}" if colour in PALETTE else hex_of(colour)


def hex_of(colour: Colour) -> str:
    """A colour as the web writes it.

    >>> hex_of((86, 180, 233))
    '#56b4e9'
    """
    return "#" + "".join(f"{part:02x}" for part in colour)


def _of_masks(scene: Scene) -> list[SceneCaution]:
    found = []
    cells = scene.masks_on(scene.loss_grid).flatten(2).sum(dim=-1).amax(dim=0)  # (concept), of the best picture
    for concept, area in enumerate(cells.tolist()):
        name, grid = scene.concepts[concept].handle, scene.loss_grid
        if not area:
            message = f"{name}'s mask is empty, so there is nothing to learn. Paint it, or remove the handle."
            found.append(SceneCaution("empty mask", concept, message))
        elif area < CELLS_WANTED:
            message = (
                f"{name}'s mask covers only {area:.1f} of {grid.cells} cells in the {grid} training map; aim for at "
                f"least {CELLS_WANTED}. Crop the picture around the thing, or raise the resolution."
            )
            found.append(SceneCaution("tiny mask", concept, message))
    return found


def _of_ground(scene: Scene, background: Concept | None) -> list[SceneCaution]:
    """Masks that look like the background around a thing: a cut-out picture's transparency is 1 there."""
    found = []
    for concept, masks in enumerate(scene.masks.movedim(1, 0)):  # (image height width)
        edges = torch.cat([masks[:, 0], masks[:, -1], masks[:, 1:-1, 0], masks[:, 1:-1, -1]], dim=1)
        peak = masks.flatten(1).amax(dim=1, keepdim=True)  # soft masks can be inside out too
        framed, image = (edges > peak / 2).float().mean(dim=1).max(dim=0)
        if framed >= FRAMED and scene.concepts[concept] != background:
            name, share = scene.concepts[concept].handle, float(masks[image].mean())
            which = f"picture {int(image) + 1}" if len(masks) > 1 else "the picture"
            message = (
                f"The mask of {name} covers {share:.0%} of {which} and {framed:.0%} of its edge, as the background "
                f"around a thing does: {name} would learn the background. If it is inside out, switch invert_masks, "
                "or put Invert Mask before this one alone."
            )
            found.append(SceneCaution("inside out", concept, message))
    return found


def _of_overlap(scene: Scene) -> list[SceneCaution]:
    found = []
    flat = scene.masks.flatten(2).movedim(1, 0).flatten(1)  # (concept cell)
    for second in range(len(flat)):
        for first in range(second):
            least = min(float(flat[first].sum()), float(flat[second].sum()))
            share = float((flat[first] + flat[second] - 1).clamp(min=0).sum()) / least if least else 0.0
            if share > OVERLAP:
                message = (
                    f"{scene.handles[first]} and {scene.handles[second]} share {share:.0%} of the smaller mask, so "
                    "each learns part of the other. Remove the shared part from one of them."
                )
                found.append(SceneCaution("overlap", second, message))
    return found


def _of_words(scene: Scene, pieces: Callable[[str], int]) -> list[SceneCaution]:
    found = []
    for index, concept in enumerate(scene.concepts):
        if pieces(concept.handle) == 1:
            message = (
                f"{concept.handle} is an ordinary word, and training would change its meaning. Write "
                f"<{concept.handle}>."
            )
            found.append(SceneCaution("ordinary word", index, message))
        if not concept.word:
            message = (
                f"{concept.handle} has no starting word, so its training starts near {WITHOUT_A_WORD!r}. Write what it "
                f"is, in one ordinary word such as cup: beside {concept.handle} on Build Scene, or on line {index + 1} "
                "of its words."
            )
            found.append(SceneCaution("no word", index, message))
        count = pieces(concept.word) if concept.word else 1
        if count == 0:
            message = (
                f"The starting word {concept.word!r} of {concept.handle} has no token: there is no such embedding. "
                "Write an ordinary word, or put its file into the embeddings folder."
            )
            found.append(SceneCaution("unknown word", index, message))
        if count > 1:
            message = (
                f"The starting word {concept.word!r} of {concept.handle} is {count} tokens, so training starts from "
                "their average. A one-token word is a better start."
            )
            found.append(SceneCaution("long word", index, message))
    return found
