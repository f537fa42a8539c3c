"""What a user asks of Steer Words, as steerings: lines of words, their masks or boxes, and what to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...scenescope.attention.act.place import Box, Place
from ...scenescope.attention.act.steer import Branches, Steering
from ...scenescope.attention.doctor.diagnosis import view_of_words
from ...scenescope.attention.doctor.repair import repair
from ...scenescope.attention.doctor.things import things_in, things_of
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.record.selection import POSITIVE
from ...scenescope.errors import InputError, WordError
from ...scenescope.training.scene.masks import PALETTE, in_palette, opaque
from ...scenescope.training.scene.painted import masks_by_colour
from ..shapes import PIXELS
from .run import with_act


@dataclass(frozen=True)
class Odds:
    """The widgets' numbers, in log-odds and shares of the steps, and the prompt and layers they apply to."""

    strength: float = 2.0
    inside: float = 6.0
    outside: float = -6.0
    start: float = 0.0
    end: float = 0.5
    branch: Branches = "positive"
    blocks: str = "all"
    heads: str = "all"
    entry: int = -1
    together: float = 0.0

    def steering(self, words: str, place: Place | None) -> Steering:
        """Words with these numbers, in a place or everywhere."""
        own = {name: getattr(self, name) for name in ("start", "end", "branch", "blocks", "heads", "entry")}
        if place is None:
            return Steering(words, self.strength, **own)
        return Steering(words, self.inside, self.outside, place, together=self.together, **own)


def steered(model: ModelPatcher, steerings: Sequence[Steering], node: str | None = None) -> ModelPatcher:
    """A clone of the model that carries out these steerings and those that it carried already."""
    for steering in steerings:
        model = with_act(model, steering, node)
    return model


def steerings_of(words: str, places: Sequence[Place | None], odds: Odds) -> tuple[Steering, ...]:
    """One steering for each line of words; the first lines take the places, lines without one are steered everywhere.

    Raises:
        InputError: there are more places than lines.
    """
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    if len(places) > len(lines):
        raise InputError(
            f"Steer Words: there are {len(places)} places but only {len(lines)} lines of words. Write the words of "
            "each mask or box on a line of its own, in the same order."
        )
    given = [*places, *[None] * (len(lines) - len(places))]
    return tuple(odds.steering(line, place) for line, place in zip(lines, given, strict=True))


def places_of(
    words: str, masks: Sequence[torch.Tensor], boxes: Any, coloured: torch.Tensor | None = None
) -> tuple[Place, ...]:
    """The places: masks first, then colours, then boxes.

    Args:
        words: the lines; as many masks as there are lines, or a multiple, are shared out evenly: one for each picture.
        masks: (height width), (image height width) or (image 1 height width) float 0..1, of any sizes.
        boxes: core's bounding boxes: one, a list, or a list for each frame, of `x y width height` in pixels.
        coloured: (image height width 3|4) 0..1, of which the first is read: each colour is a line's place, black and
            transparent none.
    """
    lines = max(1, sum(bool(line.strip()) for line in words.splitlines()))
    singles = [single for mask in masks for single in mask.reshape(-1, *mask.shape[-2:])]
    each = len(singles) // lines if len(singles) % lines == 0 else 1
    groups = [singles[at : at + each] for at in range(0, len(singles), max(1, each))]
    same = all(len({tuple(mask.shape) for mask in group}) == 1 for group in groups)
    if not same:
        raise InputError(
            f"Steer Words: {len(singles)} masks of different sizes can't be a batch for {lines} lines. Write a line "
            "for each mask, or give the masks of a batch of pictures one size."
        )
    painted = () if coloured is None else masks_by_colour(coloured[0])[1]
    return (
        *(Place(torch.stack(group)) for group in groups),
        *(Place(mask[None].float()) for mask in painted),
        *(Place(boxes=(box,)) for box in _boxes(boxes)),
    )


def with_paint(words: str, places: Sequence[Place], strokes: torch.Tensor | None) -> tuple[Place | None, ...]:
    """Add the places that were painted: the palette's first colour is the first line's, and so on.

    Any other colour is the place of the first line that has none, in the order in which reading row by row meets them.

    Args:
        words: the lines.
        places: what the first lines have already.
        strokes: (height width 4) 0..1, the painter's, on transparent ground; None where nothing was painted.

    Raises:
        InputError: there is more paint than lines, or a line has a place and paint.

    Returns:
        For each line its place, None for none; lines after the last place are left out.
    """
    if strokes is None or not bool((strokes[..., 3] > 0).any()):
        return tuple(places)
    found: list[Place | None] = list(places)
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    colours, masks = masks_by_colour(opaque(strokes), ground=None, known=PALETTE)
    for colour, mask in sorted(zip(colours, masks, strict=True), key=lambda item: in_palette(item[0])):
        line = in_palette(colour)
        if line == len(PALETTE):
            line = next((at for at, place in enumerate(found) if place is None), len(found))
        if line >= len(lines):
            raise InputError(
                f"Steer Words: the painting has a colour for line {line + 1}, but there are only {len(lines)} lines of "
                "words. Write a line for each colour, or erase that colour."
            )
        if line < len(found) and found[line] is not None:
            raise InputError(
                f"Steer Words: `{lines[line]}` has both paint and a connected mask, box or colour. Erase the paint, "
                "or disconnect the other."
            )
        found += [None] * (line + 1 - len(found))
        found[line] = Place(mask[None].float())
    return tuple(found)


def _boxes(boxes: Any) -> list[Box]:
    """In latent cells.

    Source: host contract, ComfyUI 0.33 `comfy_api.latest._io.BoundingBox` (`x`, `y`, `width`, `height` in pixels), and
    `comfy_extras/nodes_bounding_boxes.py`, which gives a list with a list for each frame.
    """
    if boxes is None:
        return []
    if isinstance(boxes, Mapping):
        left, top, width, height = (float(boxes[name]) / PIXELS for name in ("x", "y", "width", "height"))
        return [(left, top, width, height)]
    return [box for item in boxes for box in _boxes(item)]


def keeping_others(recording: Recording, words: str, odds: Odds) -> tuple[Steering, ...]:
    """Lift words into free space, or remove them, and hold the other things where an earlier run had them.

    Args:
        recording: of the earlier run: the same prompt, seed, size and number of pictures.
        words: what was missing or should go, one thing per line.
        odds: numbers for a place; with a strength below 0 the words are lowered everywhere by it.

    Raises:
        WordError: there are none, they are not in the recorded prompt, or its words are not known.
    """
    if not words.strip():
        raise WordError(
            "Steer Words: keep_others has the maps of a run, but no words were given. Write what was missing, or what "
            "should go, one thing per line."
        )
    entry = recording.entry(POSITIVE, 0)
    if entry is None or entry.table is None:
        raise WordError(
            "Steer Words: the recording doesn't carry the words of the positive prompt. Put Trace Words between the "
            "CLIP and CLIP Text Encode, and record the positive branch."
        )
    asked = things_of(entry.table, words, "Steer Words")
    lifted = {column for thing in asked for column in thing.columns}
    others = [thing for thing in things_in(entry.table) if not lifted & set(thing.columns)]
    things, missing = [*asked, *others], [*[True] * len(asked), *[False] * len(others)]
    pictures = [
        repair(recording, things, missing, view_of_words(recording, image)) for image in range(recording.images)
    ]
    placed = [
        (each[0].missing, odds.steering(each[0].words, Place(torch.stack([item.mask for item in each]))))
        for each in zip(*pictures, strict=True)
    ]
    if odds.strength < 0:
        return (*steerings_of(words, (), odds), *(steering for gone, steering in placed if not gone))
    return tuple(steering for _, steering in placed)
