"""Prompts of which every column is known, because they are built together with their tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from pack.scenescope.attention.words.prompt import Syntax
from pack.scenescope.attention.words.tokenisation import Codec, WeightedToken, read_tokens
from pack.scenescope.attention.words.tokens import TokenTable

START, END, CHUNK = 1, 2, 12
LEARNED = {"<asset0>": 1, "<thing-a>": 2}
EMBEDDINGS = {"moss": 1, "bad-hands_5": 3, "style/ink.pt": 2}

# How a word is written, and the weight that it then has.
WRITINGS = [
    ("{}", 1.0), ("({}:1.3)", 1.3), ("((({})))", 1.1**3), ("({}:-0.5)", -0.5), ("\\({}\\)", 1.0),
    ("(({}:0.5), {}:2)", 0.5), ("{},", 1.0), ("{}.", 1.0), ('"{}"', 1.0), ("[{}]", 1.0), ("{}!?", 1.0), ("-{}-", 1.0),
]  # fmt: skip


@dataclass
class SmallTokenizer:
    """Byte pieces of one to three bytes, lower case, chunks of 12: the host's way with its own small vocabulary.

    Args:
        sizes: how long pieces are, in turn.
    """

    sizes: list[int]
    pieces: dict[bytes, int] = field(default_factory=dict)

    def codec(self, known: Any = EMBEDDINGS.__contains__) -> Codec:
        """What the reader has to know."""
        names = {number: piece for piece, number in self.pieces.items()}
        return Codec(names.__getitem__, START, END, Syntax(True, known, LEARNED))

    def spell(self, text: str) -> list[int]:
        """The ids of one run of letters, or of other signs."""
        rest = "".join(letter.lower() for letter in text).encode()
        ids = []
        while rest:
            size = self.sizes[len(ids) % len(self.sizes)]
            piece, rest = rest[:size], rest[size:]
            ids.append(self.pieces.setdefault(piece if rest else piece + b" ", 100 + len(self.pieces)))
        return ids


@dataclass
class Written:
    """A prompt under construction.

    Args:
        tokenizer: spells it.
        prompt: the text so far.
        chunks: the tokens so far.
        places: what stands where: folded name -> columns of each place, in order.
    """

    tokenizer: SmallTokenizer
    prompt: str = ""
    chunks: list[list[WeightedToken]] = field(default_factory=lambda: [[(START, 1.0, 0)]])
    places: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    _group: int = 0

    def add(self, values: list[Any], weight: float) -> tuple[int, ...]:
        """Put tokens into the chunks; returns their columns."""
        self._group += 1
        columns = []
        for value in values:
            if len(self.chunks[-1]) == CHUNK - 1:
                self.chunks[-1].append((END, 1.0, 0))
                self.chunks.append([(START, 1.0, 0)])
            columns.append((len(self.chunks) - 1) * CHUNK + len(self.chunks[-1]))
            self.chunks[-1].append((value, weight, self._group))
        return tuple(columns)

    def word(self, text: str, writing: str, weight: float) -> None:
        """Write a word with what stands around it."""
        self.prompt += writing.format(*[text] * 2) + " "
        before, after = _around(writing)
        if before:
            self.add(self.tokenizer.spell(before), 1.0)
        self._place(text, self.add(self.tokenizer.spell(text), weight))
        if after == ", ":  # the outer group has the word once more
            self.add(self.tokenizer.spell(","), 2.0)
            self._place(text, self.add(self.tokenizer.spell(text), 2.0))
        elif after:
            self.add(self.tokenizer.spell(after), 1.0)

    def vectors(self, prefix: str, name: str, count: int) -> None:
        """Write an embedding or a learned token; one without vectors is one that the host does not find."""
        self.prompt += f"{prefix}{name} "
        if count:
            self._place(name, self.add(list(torch.zeros(count, 4)), 1.0))

    def close(self) -> TokenTable:
        """End and pad the last chunk, and read the table."""
        self.chunks[-1] += [(END, 1.0, 0)] * (CHUNK - len(self.chunks[-1]))
        return read_tokens(self.prompt, self.chunks, self.tokenizer.codec())

    def _place(self, name: str, columns: tuple[int, ...]) -> None:
        self.places.setdefault(name.casefold(), []).append(columns)


def _around(writing: str) -> tuple[str, str]:
    """The signs before and after a word that are tokens: what no weight and no group takes away."""
    if writing.startswith("\\("):
        return "(", ")"
    if "), {}" in writing:
        return "", ", "
    if writing.startswith("("):
        return "", ""
    before, after = writing.split("{}")
    return before, after


WORDS = st.from_regex(r"[a-cA-CéÉüñ猫7]{1,7}(?:'[a-c]{1,2})?", fullmatch=True)
_ITEMS = st.one_of(
    st.tuples(st.just("word"), WORDS, st.sampled_from(WRITINGS)),
    st.tuples(st.just("embedding:"), st.sampled_from([*EMBEDDINGS.items(), ("gone", 0)]), st.none()),
    st.tuples(st.just(""), st.sampled_from(list(LEARNED.items())), st.none()),
)


@st.composite
def written(draw: st.DrawFn) -> Written:
    """Any prompt: words however written, embeddings that are there and that are not, learned tokens."""
    made = Written(SmallTokenizer(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))))
    for kind, what, writing in draw(st.lists(_ITEMS, max_size=9)):
        if kind == "word":
            made.word(what, *writing)
        else:
            made.vectors(kind, *what)
    return made
