"""The words of a prompt, and the columns of attention that belong to them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

TokenKind = Literal["start", "text", "embedding", "end", "padding", "unknown"]

LETTERS = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Token:
    """One column of cross-attention.

    Args:
        column: index among the conditioning's keys.
        chunk: which 77-token chunk, from 0.
        position: index inside the chunk, 0..76.
        kind: what it is; `unknown` for a column that carries no word, as after Conditioning (Concat).
        text: the piece of text it stands for, as it was typed; for an embedding its name.
        word: index of the word it belongs to, None for start, end, padding and unknown.
        weight: the prompt's weight of it.
        vector: for an embedding of several vectors, which one, from 0.
        vectors: how many vectors the embedding has; 1 for text.
    """

    column: int
    chunk: int
    position: int
    kind: TokenKind
    text: str
    word: int | None
    weight: float = 1.0
    vector: int = 0
    vectors: int = 1


@dataclass(frozen=True)
class Word:
    """One word of a prompt.

    Args:
        text: as it was typed, without its weight; for an embedding or a learned token its name.
        columns: its keys, in ascending order.
        weight: the prompt's weight of its first token.
        occurrence: 1 for the first word that reads so, 2 for the next.
        embedding: whether it is an embedding or a learned token.
    """

    text: str
    columns: tuple[int, ...]
    weight: float
    occurrence: int
    embedding: bool

    @property
    def punctuation(self) -> bool:
        """Whether it has no letter and no digit, so that `each` and phrases pass over it."""
        return not self.embedding and LETTERS.search(self.text) is None


@dataclass(frozen=True)
class TokenTable:
    """All columns of one conditioning, with the prompt they came from.

    Args:
        prompt: the text as it was typed.
        tokens: one for each key, in order.
    """

    prompt: str
    tokens: tuple[Token, ...]

    def words(self) -> tuple[Word, ...]:
        """The words in order, commas and other punctuation too.

        >>> cat = Token(1, 0, 1, "text", "Cat", 0)
        >>> [(word.text, word.columns) for word in TokenTable("Cat", (cat,)).words()]
        [('Cat', (1,))]
        """
        members: dict[int, list[Token]] = {}
        for token in self.tokens:
            if token.word is not None:
                members.setdefault(token.word, []).append(token)
        seen: Counter[str] = Counter()
        words = []
        for tokens in members.values():
            first = tokens[0]
            embedding = first.kind == "embedding"
            text = first.text if embedding else "".join(token.text for token in tokens)
            seen[fold(text)] += 1
            columns = tuple(token.column for token in tokens)
            words.append(Word(text, columns, first.weight, seen[fold(text)], embedding))
        return tuple(words)

    def columns(self, kind: TokenKind) -> tuple[int, ...]:
        """The columns of one kind."""
        return tuple(token.column for token in self.tokens if token.kind == kind)


def fold(text: str) -> str:
    """Write a word as it is compared: without case, composed, with a straight apostrophe.

    >>> fold("Don’t") == fold("don't")
    True
    """
    return unicodedata.normalize("NFC", text).casefold().replace("’", "'")


def fit_table(table: TokenTable, tokens: int) -> TokenTable:
    """Fit a table to the conditioning it is found in.

    Host contract, ComfyUI 0.33 `nodes.ConditioningConcat`: the tensors are joined, the dictionary is the first's, so
    the table is shorter than the tensor. What is beyond it is unknown rather than named wrongly.

    Args:
        table: as the conditioning carries it.
        tokens: columns of the conditioning.

    Returns:
        A table with that many columns; surplus columns are `unknown`, missing ones are cut.

    >>> [token.kind for token in fit_table(TokenTable("", (Token(0, 0, 0, "start", "", None),)), 2).tokens]
    ['start', 'unknown']
    """
    known = table.tokens[:tokens]
    length = sum(token.chunk == 0 for token in table.tokens) or tokens
    beyond = (_unknown(column, *divmod(column, length)) for column in range(len(known), tokens))
    return table if len(table.tokens) == tokens else replace(table, tokens=(*known, *beyond))


def chained(tables: Iterable[TokenTable]) -> TokenTable:
    """Put the tables of prompts one after the other whose chunks were encoded as one (BREAK).

    Args:
        tables: in order.

    Returns:
        One table; the prompts are joined by BREAK, without empty ones.

    >>> cat, dog = (TokenTable(text, (Token(0, 0, 0, "text", text, 0),)) for text in ("cat", "dog"))
    >>> whole = chained([cat, dog])
    >>> whole.prompt, [(token.column, token.chunk, token.word) for token in whole.tokens]
    ('cat BREAK dog', [(0, 0, 0), (1, 1, 1)])
    """
    tables = tuple(tables)
    if len(tables) == 1:
        return tables[0]
    tokens: list[Token] = []
    for table in tables:
        column, chunk = len(tokens), 1 + max((token.chunk for token in tokens), default=-1)
        word = 1 + max((token.word for token in tokens if token.word is not None), default=-1)
        tokens += [
            replace(
                token,
                column=token.column + column,
                chunk=token.chunk + chunk,
                word=None if token.word is None else token.word + word,
            )
            for token in table.tokens
        ]
    return TokenTable(" BREAK ".join(table.prompt for table in tables if table.prompt), tuple(tokens))


def agreed(tables: Iterable[TokenTable]) -> TokenTable:
    """Join the tables of several encoders whose channels are stacked column by column (SDXL).

    Args:
        tables: one for each encoder.

    Returns:
        The columns that all of them have; a column for which they do not say the same is `unknown`.

    >>> cat, dog = (TokenTable(text, (Token(0, 0, 0, "text", text, 0),)) for text in ("cat", "dog"))
    >>> [token.kind for token in agreed([cat, dog]).tokens], agreed([cat, cat]) == cat
    (['unknown'], True)
    """
    tables = tuple(tables)
    prompts = dict.fromkeys(table.prompt for table in tables)
    columns = zip(*(table.tokens for table in tables), strict=False)  # the host cuts to the shorter one too
    return TokenTable(" | ".join(prompts), tuple(_same_or_unknown(column) for column in columns))


def _same_or_unknown(column: tuple[Token, ...]) -> Token:
    first = column[0]
    same = len({(token.kind, fold(token.text), token.vector, token.vectors) for token in column}) == 1
    return first if same else _unknown(first.column, first.chunk, first.position)


def _unknown(column: int, chunk: int, position: int) -> Token:
    return Token(column, chunk, position, "unknown", "", None)
