"""Proof by word drop: if a word is switched off, does the picture change where the model looked for it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...errors import InputError
from ...resample import resize
from ..read.heatmap import heatmaps
from ..read.view import View
from ..record.recording import Recording
from ..words.find import WordMatch
from ..words.tokens import fold
from .things import Thing

CHANCE = 0.5


@dataclass(frozen=True)
class Proof:
    """What switching one thing off changed.

    Args:
        thing: whose words were off.
        change: mean absolute change of the picture, of 1.
        covers: area under the curve of the change covered when cells are taken in the order of its noun's map; 0.5 is
            chance.
        controls: the same by the maps of the other things.
    """

    thing: str
    change: float
    covers: float
    controls: tuple[tuple[str, float], ...] = ()

    @property
    def shown(self) -> bool:
        """Whether its own map predicts the change better than chance and every other map."""
        return self.covers > max((CHANCE, *(value for _, value in self.controls)))

    @property
    def text(self) -> str:
        """The proof in a sentence.

        >>> Proof("red circle", 0.1, 0.78).text
        'Without `red circle` the picture changes where its noun looked: 0.78 (chance is 0.5).'
        """
        others = "".join(f"; by the map of `{name}` {value:.2f}" for name, value in self.controls)
        numbers = f"{self.covers:.2f} (chance is {CHANCE}{others})"
        if self.shown:
            return f"Without `{self.thing}` the picture changes where its noun looked: {numbers}."
        return f"Without `{self.thing}` the picture changes elsewhere: {numbers}. Its map doesn't show what it does."


def prove(
    recording: Recording, things: Sequence[Thing], view: View, pictures: tuple[Tensor, Tensor], dropped: str = ""
) -> Proof:
    """Compare a picture with one from the same noise in which one thing's words were off.

    Args:
        recording: of the first picture's run.
        things: of its prompt.
        view: branch, entry and picture.
        pictures: (1 height width 1|3|4) 0..1 each: with the words, and without them; alpha does not count.
        dropped: the thing; empty for the first.

    Raises:
        InputError: there is no such thing, the pictures differ in size, or they are equal.
    """
    names = [thing.text for thing in things]
    asked = next((at for at, name in enumerate(names) if fold(name) == fold(dropped.strip())), None)
    asked = 0 if not dropped.strip() else asked
    if asked is None:
        raise InputError(
            f"Prompt Doctor: dropped is {dropped.strip()!r}, which is not one of the things {', '.join(names)}. Write "
            "the one that was switched off in the picture of `without`."
        )
    one, other = (picture[..., :3] for picture in pictures)
    if one.shape[1:3] != other.shape[1:3]:
        raise InputError(
            f"Prompt Doctor: picture is {tuple(one.shape[1:3])} and without {tuple(other.shape[1:3])} pixels (height, "
            "width). Sample both at one size, from one seed."
        )
    change = (one.float() - other.float()).abs().mean(dim=-1)  # (1 height width)
    if not bool(change.any()):
        raise InputError(
            "Prompt Doctor: picture and without are the same, so nothing was switched off. Switch the thing off with "
            "Steer Words, strength -12 and end 1, and sample with the same seed."
        )
    nouns = [WordMatch(thing.noun.text, (thing.noun.columns,), words=(thing.noun,)) for thing in things]
    maps = heatmaps(recording, nouns, replace(view, resolution="all", size="latent"))
    flat = resize(change, maps.grid)[0].flatten()
    orders = maps.values[0].flatten(0, 1).argsort(dim=0, descending=True)  # (cell word)
    found = [covered(flat, orders[:, at]) for at in range(len(things))]
    controls = tuple((name, found[at]) for at, name in enumerate(names) if at != asked)
    return Proof(names[asked], float(change.mean()), found[asked], controls)


def covered(change: Tensor, order: Tensor) -> float:
    """Area under the curve of the change (cell) covered by taking cells in this order; 0.5 if the order says nothing.

    >>> import torch
    >>> round(covered(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([2, 0, 1])), 3)
    0.833
    """
    share = change[order] / change.sum().clamp(min=1e-12)
    return float((share.cumsum(0) - share / 2).mean())
