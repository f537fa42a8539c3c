"""Two recordings side by side: what a LoRA, a training or another seed changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError, WordError
from ..words.find import WordMatch
from ..words.tokens import fold
from .heatmap import Heatmaps
from .normalise import SHARE_UNIT, ScaledMaps

FLOOR = 0.01
"""Part of the uniform share that is added on both sides of a ratio, so that zero over zero is 1."""


@dataclass(frozen=True)
class Comparison:
    """Two runs' maps of the same words, on one grid.

    Args:
        first: maps before.
        second: maps after, on the first one's grid.
        difference: (image height width word) float32, second minus first, in shares of attention.
        doublings: (image height width word) float32, log2 of the ratio second to first.
    """

    first: Heatmaps
    second: Heatmaps
    difference: Tensor
    doublings: Tensor


@dataclass(frozen=True)
class SharedWords:
    """The words of two prompts.

    Args:
        first: those that both have, as the first has them.
        second: the same words as the second has them.
        only_first: what the second lacks.
        only_second: what the first lacks.
    """

    first: tuple[WordMatch, ...]
    second: tuple[WordMatch, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    def describe(self) -> str:
        """Name what only one of the prompts has; empty where there is nothing."""
        parts = [("before", self.only_first), ("after", self.only_second)]
        return "".join(f"; only {when}: {', '.join(words)}" for when, words in parts if words)


def shared_words(first: Sequence[WordMatch], second: Sequence[WordMatch]) -> SharedWords:
    """Pair the words of two prompts by what they say, in the first one's order; case does not matter.

    Raises:
        WordError: there is no word that both have.
    """
    keys, others = _keyed(first), _keyed(second)
    both = [key for key in keys if key in others]
    if not both:
        names = (", ".join(dict.fromkeys(word.label for word in words)) for words in (first, second))
        raise WordError(
            "Compare Maps: the prompts have no word in common: before has {}, after has {}. Write words "
            "that both prompts have.".format(*names)
        )
    return SharedWords(
        tuple(keys[key] for key in both),
        tuple(others[key] for key in both),
        tuple(word.label for key, word in keys.items() if key not in others),
        tuple(word.label for key, word in others.items() if key not in keys),
    )


def _keyed(words: Sequence[WordMatch]) -> dict[tuple[str, int], WordMatch]:
    """Words by what they say, and by which of those that say the same they are."""
    seen: Counter[str] = Counter()
    found = {}
    for word in words:
        text = fold(word.label)
        found[text, seen[text]] = word
        seen[text] += 1
    return found


def compare(first: Heatmaps, second: Heatmaps) -> Comparison:
    """Subtract and divide two runs' maps.

    Args:
        first: maps before.
        second: maps after; of any grid, resampled to the first one's.

    Raises:
        InputError: the words differ, or the numbers of pictures.
    """
    if first.words != second.words or len(first.values) != len(second.values):
        got = f"{', '.join(first.words)} in {len(first.values)} pictures against "
        got += f"{', '.join(second.words)} in {len(second.values)}"
        raise InputError(
            f"Compare Maps: the runs don't match: {got}. Record both with the same words and as many pictures."
        )
    second = second.on(first.grid)
    floors = FLOOR * torch.maximum(first.uniform, second.uniform)
    doublings = torch.log2((second.values + floors) / (first.values + floors))
    return Comparison(first, second, second.values - first.values, doublings)


def mean_change(comparison: Comparison) -> Tensor:
    """How much each word's map changed: the mean of the absolute difference, (image word) float32 share."""
    return comparison.difference.abs().mean(dim=(1, 2))


def difference_scaled(comparison: Comparison) -> ScaledMaps:
    """The absolute difference on one scale, for a mask of what changed."""
    values = comparison.difference.abs()
    most = values.amax()
    top = torch.where(most > 0, most, 1.0).expand(values.shape[0], values.shape[-1])
    return ScaledMaps(values, top, SHARE_UNIT, "runs", comparison.first.words)
