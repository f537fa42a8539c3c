"""The words of a prompt, and the columns of attention that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["start", "text", "embedding", "end", "padding"]


@dataclass(frozen=True)
class Token:
    """One column of cross-attention.

    Args:
        column: index among the conditioning's keys.
        chunk: which 77-token chunk, from 0.
        position: index inside the chunk, 0..76.
        kind: what it is.
        text: the piece of text it stands for; for an embedding its name.
        word: index of the word it belongs to, None for start, end and padding.
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
class TokenTable:
    """All columns of one conditioning, with the prompt they came from.

    Args:
        prompt: the text as it was typed.
        tokens: one for each key, in order.
    """

    prompt: str
    tokens: tuple[Token, ...]
