"""Which column of an earlier prompt each column of a new prompt stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...errors import WordError
from ..words.find import find_words
from ..words.tokens import TokenTable, Word, fold

Change = Literal["equal", "swapped", "moved", "added", "removed"]

_EQUAL, _SWAPPED, _GAP, _NEVER = 3, -1, -1, -3
"""Scores of a pair: a swap beats two gaps, and equal words further on beat swaps."""


@dataclass(frozen=True)
class WordPair:
    """What became of one word.

    Args:
        change: `equal` stands where it stood; `swapped` took another word's place; `moved` stands elsewhere; `added` is
            new; `removed` is gone.
        source: the word of the earlier prompt, None for one that was added.
        target: the word of the new prompt, None for one that was removed.
    """

    change: Change
    source: Word | None
    target: Word | None

    def __str__(self) -> str:
        source, target = (word.text if word else "" for word in (self.source, self.target))
        return f"{source} > {target}" if self.change == "swapped" else f"{self.change}: {target or source}"


@dataclass(frozen=True)
class Alignment:
    """The columns of a new prompt, and where they come from.

    Args:
        sources: for each column of the new prompt the column of the earlier one, None where it has none.
        pairs: the words, in the new prompt's order; those that were removed last.
    """

    sources: tuple[int | None, ...]
    pairs: tuple[WordPair, ...] = ()

    def only(self, columns: Iterable[int]) -> Alignment:
        """The same for these columns of the new prompt alone; the others have no source."""
        kept = frozenset(columns)
        return replace(self, sources=tuple(s if column in kept else None for column, s in enumerate(self.sources)))

    def describe(self) -> str:
        """Say which words are not where they were.

        >>> Alignment((0, 1)).describe()
        'every word stands where it stood'
        """
        changed = [str(pair) for pair in self.pairs if pair.change != "equal"]
        return "; ".join(changed) or "every word stands where it stood"


def align_columns(source: int, target: int) -> Alignment:
    """Let each column stand for the one with the same number, for prompts whose words are not known.

    Args:
        source: columns of the earlier prompt.
        target: columns of the new one.

    >>> align_columns(1, 2).sources
    (0, None)
    """
    return Alignment(tuple(column if column < source else None for column in range(target)))


def align_words(source: TokenTable, target: TokenTable, swaps: str = "") -> Alignment:
    """Find the column of an earlier prompt that each column of a new prompt stands for.

    - Words are compared in order, without case. Equal words stand for each other.
    - Words that stand in the place of others are swapped, the last with the last; punctuation only with punctuation.
    - A word that is left over here and there has moved.
    - Where a word has more tokens than its source, the last ones are paired: CLIP reads from left to right, so the last
      token knows the whole word. The others have no source.
    - Start, end and padding stand for their counterparts in the same chunk, counted from the end of the words: an extra
      word in the prompt moves the padding and changes nothing else.

    Source: Needleman-Wunsch over words. Prompt-to-prompt (Hertz et al. 2022) aligns tokens so, and refuses to swap
    words where their number differs.

    Args:
        source: the earlier prompt.
        target: the new prompt.
        swaps: pairs of your own, `red > blue` on each line: the new prompt's blue stands for the earlier one's red.

    Returns:
        The alignment.

    Raises:
        WordError: a pair is not understood, or its words are not in their prompts.
    """
    sources: list[int | None] = [None] * len(target.tokens)
    own = [_own_swap(source, target, line) for line in swaps.splitlines() if line.strip()]
    pairs = _paired(source.words(), target.words())
    for pair in pairs:
        if pair.source is not None and pair.target is not None:
            _pair_from_the_end(sources, pair.source.columns, pair.target.columns)
    for old, new in own:
        for column in new:
            sources[column] = None
        _pair_from_the_end(sources, old, new)
    for before, after in zip(_without_words(source), _without_words(target), strict=False):
        for column, its in zip(after, before, strict=False):
            sources[column] = its
    return Alignment(tuple(sources), pairs)


def _pair_from_the_end(sources: list[int | None], old: Sequence[int], new: Sequence[int]) -> None:
    for column, its in zip(reversed(new), reversed(old), strict=False):
        sources[column] = its


def _without_words(table: TokenTable) -> list[list[int]]:
    """For each chunk its start, then for each chunk its end and padding in order."""
    chunks = range(1 + max((token.chunk for token in table.tokens), default=-1))

    def of(chunk: int, kinds: tuple[str, ...]) -> list[int]:
        return [token.column for token in table.tokens if token.chunk == chunk and token.kind in kinds]

    return [columns for chunk in chunks for columns in (of(chunk, ("start",)), of(chunk, ("end", "padding")))]


def _paired(source: Sequence[Word], target: Sequence[Word]) -> tuple[WordPair, ...]:
    """Every word once: by place, and what is left over by its text."""
    found = {
        new: WordPair(_in_place(source[old], target[new]), source[old], target[new])
        for old, new in _in_order(source, target)
    }
    taken = {id(pair.source) for pair in found.values()}
    gone = [word for word in source if id(word) not in taken]
    for index, word in enumerate(target):
        if index not in found:
            moved = next((its for its in gone if _key(its) == _key(word)), None)
            found[index] = WordPair("moved" if moved else "added", moved, word)
            gone = [its for its in gone if its is not moved]
    return (*(found[index] for index in sorted(found)), *(WordPair("removed", word, None) for word in gone))


def _in_place(old: Word, new: Word) -> Change:
    return "equal" if _key(old) == _key(new) else "swapped"


def _in_order(source: Sequence[Word], target: Sequence[Word]) -> list[tuple[int, int]]:
    """The pairs of the best alignment in order; where several are as good, the one that pairs the last words."""
    best = [[_GAP * (row + column) for column in range(len(target) + 1)] for row in range(len(source) + 1)]
    for row, old in enumerate(source):
        for column, new in enumerate(target):
            paired = best[row][column] + _likeness(old, new)
            best[row + 1][column + 1] = max(paired, best[row][column + 1] + _GAP, best[row + 1][column] + _GAP)
    pairs, row, column = [], len(source), len(target)
    while row and column:
        score = best[row][column]
        if score == best[row - 1][column - 1] + _likeness(source[row - 1], target[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif score == best[row - 1][column] + _GAP:
            row -= 1
        else:
            column -= 1
    return pairs[::-1]


def _likeness(old: Word, new: Word) -> int:
    if _key(old) == _key(new):
        return _EQUAL
    return _SWAPPED if old.punctuation == new.punctuation else _NEVER


def _key(word: Word) -> tuple[str, bool]:
    return fold(word.text), word.embedding


def align_prompts(pairs: Sequence[tuple[TokenTable, TokenTable]], swaps: str = "") -> list[Alignment]:
    """The same for all prompts of a run; each pair of words has to be in one of them, and counts where it is.

    Args:
        pairs: earlier prompts, each with the new one that stands for it.
        swaps: as above.

    Raises:
        WordError: a pair is not understood, or no prompts have its words.
    """
    lines = [line for line in swaps.splitlines() if line.strip()]
    for line in lines:
        errors = [error for source, target in pairs if (error := _misfit(source, target, line)) is not None]
        if len(errors) == len(pairs):
            raise errors[0]
    fitting = ("\n".join(line for line in lines if _misfit(source, target, line) is None) for source, target in pairs)
    return [align_words(source, target, own) for (source, target), own in zip(pairs, fitting, strict=True)]


def _misfit(source: TokenTable, target: TokenTable, line: str) -> WordError | None:
    """Why two prompts can't have a pair of words, None where they have it."""
    try:
        _own_swap(source, target, line)
    except WordError as error:
        return error
    return None


def _own_swap(source: TokenTable, target: TokenTable, line: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The columns of a pair that a person wrote: the earlier prompt's, the new prompt's."""
    old, sign, new = (part.strip() for part in line.replace("→", ">").partition(">"))
    if not (sign and old and new):
        raise WordError(
            f"Replay Attention: {line.strip()!r} is not a swap. Write one pair per line, the old word first: `red > "
            "blue`."
        )
    sides = find_words(source, old), find_words(target, new)
    if any(len(matches) > 1 for matches in sides):
        raise WordError(
            f"Replay Attention: {line.strip()!r} names several words on one side. Write one pair per line: `red > "
            "blue`."
        )
    return sides[0][0].columns, sides[1][0].columns
