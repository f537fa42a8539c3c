"""From shares of attention to what is drawn: a named unit, and a scale that says what its top is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import InputError
from .heatmap import Heatmaps

Normalisation = Literal["share", "ratio", "maximum", "words", "runs"]

NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)
SHARE_UNIT = "share of attention"
RATIO_UNIT = "times uniform"


@dataclass(frozen=True)
class ScaledMaps:
    """Maps with the scale that they are drawn on.

    Args:
        values: (image height width word) float32 in the unit.
        top: (image word) float32, the value at the top of the scale; the bottom is 0.
        unit: what the numbers are.
        how: the normalisation's name.
        words: what each map is called.
    """

    values: Tensor
    top: Tensor
    unit: str
    how: Normalisation
    words: tuple[str, ...]

    @property
    def levels(self) -> Tensor:
        """How far up the scale each value lies: (image height width word) float32, 0..1."""
        return (self.values / self.top[:, None, None]).clamp(0, 1)


def normalise(runs: Sequence[Heatmaps], how: Normalisation) -> tuple[ScaledMaps, ...]:
    """Put maps on a scale that can be read.

    | name | numbers | top of the scale | compare |
    |---|---|---|---|
    | `share` | share of attention | 1 | everything with everything |
    | `ratio` | times the even share | the largest of all words and runs | words, runs |
    | `maximum` | share of attention | each map's own maximum | shapes only, never strengths |
    | `words` | share of attention | the largest of all words and pictures of one run | words |
    | `runs` | share of attention | the largest of all words and runs | words, runs |

    Source: `maximum` is a / max(a), on which the Break-a-Scene attention loss is computed.

    Args:
        runs: maps of one run, or of several that are to share what the name says.
        how: one of the five names.

    Returns:
        One for each run, in order.

    Raises:
        InputError: the name is none of the five.
    """
    if how not in NORMALISATIONS:
        raise InputError(f"Heatmap: {how!r} is not a way to normalise. Choose {', '.join(NORMALISATIONS)}.")
    values = [run.values / run.uniform if how == "ratio" else run.values for run in runs]
    unit = RATIO_UNIT if how == "ratio" else SHARE_UNIT
    return tuple(
        ScaledMaps(value, top, unit, how, run.words)
        for run, value, top in zip(runs, values, _tops(values, how), strict=True)
    )


def _tops(values: Sequence[Tensor], how: Normalisation) -> list[Tensor]:
    own = [value.amax(dim=(1, 2)) for value in values]  # (image word) each
    if how == "share":
        tops = [torch.ones_like(part) for part in own]
    elif how == "maximum":
        tops = own
    elif how == "words":
        tops = [part.amax().expand_as(part) for part in own]
    else:
        largest = torch.stack([part.amax() for part in own]).amax()
        tops = [largest.expand_as(part) for part in own]
    return [torch.where(top > 0, top, 1.0) for top in tops]  # a map of nothing is drawn as nothing, not as 0/0
