"""The things that a prompt names: nouns with their adjectives, without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import WordError
from ..words.find import find_words
from ..words.tokens import TokenTable, Word, fold

_ARTICLES = "a an the this that these those some one two three his her its their my your our"
_APART = (
    "and or with of plus next to versus vs wearing holding carrying riding eating drinking reading playing driving "
    "watching chasing featuring containing having"
)
_DOING = "sitting standing running walking lying flying swimming jumping sleeping looking posing smiling dancing"
"""No part of a thing where they stand behind a word of it."""
_STYLE = (
    "masterpiece quality detailed detail details resolution res k hd uhd hdr realistic photorealistic realism style "
    "lighting bokeh focus sharp cinematic artstation background"
)
_INSIDE_WORDS = "-'`\""
"""Punctuation that ends no thing: `t-shirt`."""
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
        """All columns of the phrase, in ascending order."""
        return tuple(sorted(column for word in self.words for column in word.columns))


def things_of(table: TokenTable, typed: str = "", who: str = "Prompt Doctor") -> tuple[Thing, ...]:
    """Find the things that a prompt names.

    Typed things stand on lines or between commas; with nothing typed, they are those of `things_in`.

    Args:
        table: the prompt.
        typed: things; empty to find them.
        who: the node's name, which begins a message.

    Raises:
        WordError: a line is not in the prompt, or the prompt names no thing; the message says what to type.

    >>> from ..words.tokens import Token
    >>> words = "a photo of a red cat , and an old dog in the snow".split()
    >>> table = TokenTable("", tuple(Token(at, 0, at, "text", text, at) for at, text in enumerate(words)))
    >>> [thing.text for thing in things_of(table)]
    ['red cat', 'old dog']
    """
    found = _typed(table, typed, who) if typed.strip() else things_in(table)
    if not found:
        raise WordError(
            f"{who}: no thing was found in the prompt. Type the things into `words`, one per line: `red cat`."
        )
    return found


def things_in(table: TokenTable) -> tuple[Thing, ...]:
    """The things of an English prompt, by its form alone; none where it names none.

    A thing is a run of words between commas, `and`, `with`, `wearing` and the like. Its last word is the noun. What
    follows `in`, `at`, `on` and other words of place is its setting, up to the next comma or `and`. Settings, what a
    thing is doing, `a photo of`, and runs about style or quality are no things.
    """
    runs = [run for run in _runs(table.words()) if run]
    style = {*_STYLE.split(), *_FRAMES.split()}
    return tuple(
        Thing(run[-1], tuple(run[:-1])) for run in [run for run in runs if fold(run[-1].text) not in style] or runs
    )


def _typed(table: TokenTable, typed: str, who: str) -> tuple[Thing, ...]:
    words = {column: word for word in table.words() for column in word.columns}
    found: dict[Word, Thing] = {}  # by its noun: `red circle` and `circle` may be the same one
    for match in find_words(table, typed):
        if not match.words:
            raise WordError(f"{who}: {match.label!r} is not a thing. Remove it, or write words of the prompt.")
        for place in match.occurrences:
            *adjectives, noun = dict.fromkeys(words[column] for column in place)
            known = found.get(noun)
            if known is None or len(known.adjectives) < len(adjectives):
                found[noun] = Thing(noun, tuple(adjectives))
    return tuple(found.values())


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    articles, apart, places, frames, doing = (text.split() for text in (_ARTICLES, _APART, _PLACES, _FRAMES, _DOING))
    runs: list[list[Word]] = [[]]
    setting = False
    for word in words:
        text = fold(word.text)
        if text in _INSIDE_WORDS or text.isdigit() or (text in doing and runs[-1]) or (text == "of" and setting):
            continue
        if word.punctuation or text in apart:
            if text == "of" and runs[-1] and fold(runs[-1][-1].text) in (*frames, "up"):  # `close-up of`
                runs[-1] = []
            setting = False
            runs.append([])
        elif text in places:
            setting = True
        elif not setting and text not in articles:
            runs[-1].append(word)
    return runs
