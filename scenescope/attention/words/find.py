"""Finding words: from what a user types to columns of attention."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...dims import counted
from ...errors import WordError
from .prompt import EMBEDDING, segments
from .tokens import LETTERS, TokenKind, TokenTable, Word, fold

_Place = TypeVar("_Place", tuple[int, ...], tuple[Word, ...])
_LISTED = 40
_KINDS: dict[str, TokenKind] = {"<start>": "start", "<end>": "end", "<padding>": "padding"}
_PIECES = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|(?:[^\w\s]|_)+")
_LITERAL = "\U000f0100"  # marks a term that was escaped at its front, so that it is no keyword
_PRIVATE = {character: chr(0xF0101 + index) for index, character in enumerate(",\n#\\")}


@dataclass(frozen=True)
class WordMatch:
    """What one asked-for word or phrase stands for.

    Args:
        label: as the prompt has it, to be written under a map.
        occurrences: for each place in the prompt its columns.
        weight: the prompt's weight of the first word found; 1 for start, end and padding.
        words: the words found, empty for start, end and padding.
    """

    label: str
    occurrences: tuple[tuple[int, ...], ...]
    weight: float = 1.0
    words: tuple[Word, ...] = ()

    @property
    def columns(self) -> tuple[int, ...]:
        """All columns, in ascending order."""
        return tuple(sorted({column for place in self.occurrences for column in place}))


def find_words(table: TokenTable, query: str) -> tuple[WordMatch, ...]:
    """Find words of a prompt as a person types them into a widget.

    - Words and phrases are separated by commas or new lines. Empty, or `each`, means every word once.
    - Case, `(weights:1.2)` and punctuation between the words of a phrase do not matter.
    - An embedding is found by `embedding:name` or by `name`; a learned token by its name.
    - All places where it stands count; `cat#2` asks for the second.
    - `<start>`, `<end>`, `<padding>` are the columns that carry no word, one place for each chunk.
    - A backslash makes what follows literal: `\\,` is a comma, `\\#` a hash, `\\each` the word each.
    - Punctuation is found if nothing else is asked for: `\\,` finds the commas that stand alone.

    Args:
        table: the prompt.
        query: what is asked for.

    Returns:
        One match for each term, in the order of the query.

    Raises:
        WordError: a term is not in the prompt, or not that often; the message lists the words that are.

    >>> from .tokens import Token
    >>> tokens = tuple(Token(at, 0, at, "text", text, at) for at, text in enumerate(["a", "red", ",", "Cat", "cat"]))
    >>> table = TokenTable("a red, Cat cat", tokens)
    >>> [(match.label, match.columns) for match in find_words(table, "CAT, red cat, cat#2")]
    [('Cat', (3, 4)), ('red Cat', (1, 3)), ('cat', (4,))]
    """
    matches: list[WordMatch] = []
    for term in _terms(query):
        if term == "each":
            matches += _every_word(table)
        elif term in _KINDS or _without_number(term)[0] in _KINDS:
            matches.append(_find_kind(table, term))
        else:
            matches.append(_find_term(table, term))
    return tuple(matches)


def asking_for(table: TokenTable, words: Sequence[Word]) -> str:
    """Write what finds these words of a prompt and no others: phrases, numbered where they stand several times.

    Args:
        table: the prompt.
        words: some of its words, in order; those side by side make a phrase.

    Returns:
        A query for `find_words`.

    >>> from .tokens import Token
    >>> tokens = tuple(Token(at, 0, at, "text", text, at) for at, text in enumerate("man with a hat , hat".split()))
    >>> words = TokenTable("", tokens).words()
    >>> asking_for(TokenTable("", tokens), [words[0], words[1], words[3]])
    'man with, hat#1'
    """
    every = table.words()
    places = {word.columns: at for at, word in enumerate(word for word in every if not word.punctuation)}
    runs: list[tuple[Word, ...]] = []
    for word in words:
        here, before = places.get(word.columns), places.get(runs[-1][-1].columns) if runs else None
        if here is not None and before is not None and here == before + 1:
            runs[-1] = (*runs[-1], word)
        else:
            runs.append((word,))
    return ", ".join(_asking(every, run) for run in runs)


def _asking(every: Sequence[Word], run: tuple[Word, ...]) -> str:
    text = " ".join(word.text for word in run)
    places = _places(every, text)
    if run not in places:  # a name of several pieces is found by itself alone
        return ", ".join(_asking(every, (word,)) for word in run)
    escaped = re.sub(r"([,#\\()])", r"\\\1", f"\\{text}" if text in ("each", *_KINDS) else text)
    return escaped if len(places) == 1 else f"{escaped}#{places.index(run) + 1}"


def _terms(query: str) -> list[str]:
    """The terms, with escaped characters as private ones."""
    text = re.sub(r"\\([,\n#\\])", lambda match: _PRIVATE[match.group(1)], query)
    text = re.sub(r"\\(?![()])", _LITERAL, text)
    parts = (part.strip() for part in re.split(r"[,\n]", "".join(segments(text))))
    return [part for part in parts if part] or ["each"]


def _plain(term: str) -> str:
    for character, private in _PRIVATE.items():
        term = term.replace(private, character)
    return term.replace(_LITERAL, "").strip()


def _without_number(term: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.*\S)\s*#\s*(\d{1,6})", term, re.DOTALL)
    return (match.group(1), int(match.group(2))) if match else (term, None)


def _every_word(table: TokenTable) -> list[WordMatch]:
    groups: dict[str, list[Word]] = {}
    for word in table.words():
        if not word.punctuation:
            groups.setdefault(fold(word.text), []).append(word)
    if not groups:
        raise WordError(
            f"Words: the prompt {table.prompt[:80]!r} has no words. Ask for <start> or <padding>, or write a prompt."
        )
    return [_match([(word,) for word in words]) for words in groups.values()]


def _find_kind(table: TokenTable, term: str) -> WordMatch:
    name, number = _without_number(term)
    chunks: dict[int, list[int]] = {}
    for token in table.tokens:
        if token.kind == _KINDS[name]:
            chunks.setdefault(token.chunk, []).append(token.column)
    places = [tuple(columns) for columns in chunks.values()]
    if not places:
        raise WordError(f"Words: this prompt has no {name}. It has {_present(table)}.")
    return WordMatch(name, tuple(_choose(places, name, number)))


def _find_term(table: TokenTable, term: str) -> WordMatch:
    base, number = _without_number(term)
    text = _plain(base)
    places = _places(table.words(), text)
    if not places:
        raise _not_found(table, text)
    return _match(_choose(places, text, number))


def _places(words: Sequence[Word], text: str) -> list[tuple[Word, ...]]:
    """Where a word, a phrase or an embedding stands."""
    named: list[tuple[Word, ...]] = [(word,) for word in words if word.embedding and _same_name(word.text, text)]
    if fold(text).startswith(EMBEDDING):
        return named
    wanted = _pieces(text)
    wanted = [piece for piece in wanted if LETTERS.search(piece)] or wanted
    pool = [word for word in words if not word.punctuation] if any(map(LETTERS.search, wanted)) else list(words)
    starts = range(len(pool) - len(wanted) + 1) if wanted else range(0)
    runs = (tuple(pool[start : start + len(wanted)]) for start in starts)
    spelt = [run for run in runs if [_compared(word) for word in run] == wanted and run not in named]
    return sorted(named + spelt, key=lambda run: run[0].columns)


def _pieces(text: str) -> list[str]:
    return [fold(piece) for piece in _PIECES.findall(unicodedata.normalize("NFC", text))]


def _compared(word: Word) -> str:
    """How a word is written in a phrase: `<asset0>` may be called asset0."""
    return " ".join(piece for piece in _pieces(word.text) if LETTERS.search(piece)) or fold(word.text)


def _same_name(name: str, asked: str) -> bool:
    asked = fold(asked).removeprefix(EMBEDDING).strip()
    return asked in (fold(name), re.sub(r"\.(safetensors|pt|bin)$", "", fold(name)))


def _choose(places: list[_Place], name: str, occurrence: int | None) -> list[_Place]:
    if occurrence is None:
        return places
    if not 1 <= occurrence <= len(places):
        numbers = "1" if len(places) == 1 else f"a number from 1 to {len(places)}"
        raise WordError(
            f"Words: `{name}#{occurrence}`: the prompt contains {name!r} {_times(len(places))}. Choose {numbers}, or "
            "leave it out."
        )
    return [places[occurrence - 1]]


def _times(count: int) -> str:
    return {1: "only once", 2: "only twice"}.get(count, f"only {count} times")


def _match(places: Sequence[tuple[Word, ...]]) -> WordMatch:
    words = tuple(word for place in places for word in place)
    label = " ".join(word.text for word in places[0])
    columns = tuple(tuple(column for word in place for column in word.columns) for place in places)
    return WordMatch(label, columns, words[0].weight, words)


def _not_found(table: TokenTable, text: str) -> WordError:
    words = {fold(word.text): word.text for word in table.words() if not word.punctuation}
    close = difflib.get_close_matches(fold(text), list(words), n=1)
    advice = f"Did you mean {words[close[0]]!r}?" if close else "Ask for one of them, or write it into the prompt."
    return WordError(f"Words: {text!r} is not in the prompt. It has {_present(table)}. {advice}")


def _present(table: TokenTable) -> str:
    words = list(dict.fromkeys(word.text for word in table.words() if not word.punctuation))
    kinds = [name for name, kind in _KINDS.items() if table.columns(kind)]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    listed = ", ".join([*(repr(word) for word in words[:_LISTED]), *kinds]) + more
    unknown = len(table.columns("unknown"))
    return (listed or "no words") + (f" ({counted(unknown, 'token')} of unknown words)" if unknown else "")
