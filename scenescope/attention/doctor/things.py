"""The things that a prompt names: nouns with their adjectives, without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import WordError
from ..words.find import find_words
from ..words.tokens import TokenTable, Word, fold

_ARTICLES = "a an the this that these those some one two three his her its their my your our"
_APART = "and or with of plus next to versus vs"
_PLACES = (
    "in on at under over behind before near by above below beside inside outside across along against around between "
    "from into onto through during"
)
_FRAMES = (
    "photo photograph picture image painting drawing illustration render portrait sketch shot closeup view film still "
    "art artwork poster"
)


@dataclass(frozen=True)
class Thing:
    """One thing that the prompt asks for.

    Args:
        noun: its last word.
        adjectives: the words in front, without articles.
    """

    noun: Word
    adjectives: tuple[Word, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        """The phrase in its order."""
        return (*self.adjectives, self.noun)

    @property
    def text(self) -> str:
        """The phrase."""
        return " ".join(word.text for word in self.words)

    @property
    def columns(self) -> tuple[int, ...]:
        """All columns of the phrase, rising."""
        return tuple(sorted(column for word in self.words for column in word.columns))


def things_of(table: TokenTable, typed: str = "") -> tuple[Thing, ...]:
    """Find the things that a prompt names.

    A thing is what is typed on a line; with nothing typed, a run of words between commas, `and`, `with` and the like.
    Its last word is the noun. What follows `in`, `at`, `on` and other words of place is its setting, up to the next
    comma or `and`, and `a photo of` and the like are no things: these are looked at only where they are typed.

    Args:
        table: the prompt.
        typed: things, one on a line; empty to find them.

    Raises:
        WordError: a line is not in the prompt, or the prompt names no thing; the message says what to type.

    >>> from ..words.tokens import Token
    >>> words = "a photo of a red cat , and an old dog in the snow".split()
    >>> table = TokenTable("", tuple(Token(at, 0, at, "text", text, at) for at, text in enumerate(words)))
    >>> [thing.text for thing in things_of(table)]
    ['red cat', 'old dog']
    """
    lines = [line.strip() for line in typed.splitlines() if line.strip()]
    phrases = [place for line in lines for place in _places_of(table, line)] if lines else _runs(table.words())
    if not phrases:
        raise WordError(
            "Prompt Doctor: no thing was found in the prompt. Type the things into `words`, one per line: `red cat`."
        )
    return tuple(Thing(phrase[-1], tuple(phrase[:-1])) for phrase in phrases)


def _places_of(table: TokenTable, line: str) -> list[list[Word]]:
    words = {column: word for word in table.words() for column in word.columns}
    (match,) = find_words(table, line)[:1]
    if not match.words:
        raise WordError(f"Prompt Doctor: {line!r} is not a thing. Take the line away, or write words of the prompt.")
    return [list(dict.fromkeys(words[column] for column in place)) for place in match.occurrences]


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    articles, apart, places, frames = (text.split() for text in (_ARTICLES, _APART, _PLACES, _FRAMES))
    runs: list[list[Word]] = [[]]
    setting = False
    for word in words:
        text = fold(word.text)
        if word.punctuation or text in apart:
            framed = text == "of" and runs[-1] and fold(runs[-1][-1].text) in frames
            if framed:
                runs[-1] = []
            setting = False
            runs.append([])
        elif text in places:
            setting = True
        elif not setting and text not in articles:
            runs[-1].append(word)
    return [run for run in runs if run]
