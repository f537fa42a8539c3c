"""Words of an earlier prompt and of a new one: which column stands for which."""

from __future__ import annotations

import pytest
from pack.scenescope.attention.act.align import align_columns, align_words
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import WordError

CHUNK = 9


def table(*chunks: str) -> TokenTable:
    """A prompt written by hand: chunks of nine columns; `hedge+hog` is a word of two tokens, `<moss>` an embedding of
    one vector, `<moss>*3` one of three, `cat:1.5` a word with a weight."""
    tokens: list[Token] = []
    word = 0
    for chunk, text in enumerate(chunks):
        column = chunk * CHUNK
        tokens.append(Token(column, chunk, 0, "start", "", None))
        for item in text.split():
            name, _, weight = item.partition(":")
            name, _, count = name.partition("*")
            kind = "embedding" if name.startswith("<") else "text"
            parts = [name] * int(count or 1) if kind == "embedding" else name.split("+")
            for vector, part in enumerate(parts):
                at = len(tokens) - column
                vectors = len(parts) if kind == "embedding" else 1
                its = vector if kind == "embedding" else 0
                tokens.append(Token(column + at, chunk, at, kind, part, word, float(weight or 1), its, vectors))
            word += 1
        for at in range(len(tokens) - column, CHUNK):
            tokens.append(Token(column + at, chunk, at, "end" if tokens[-1].word is not None else "padding", "", None))
    return TokenTable(" ".join(chunks), tuple(tokens))


X = None
CASES = {
    "equal prompts": (("a red cat",), ("a Red cat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "a word swapped": (("a red cat",), ("a blue cat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "a word added": (("a red cat",), ("a red striped cat",), (0, 1, 2, X, 3, 4, 5, 6, 7)),
    "a word removed": (("a red striped cat",), ("a red cat",), (0, 1, 2, 4, 5, 6, 7, 8, X)),
    "words moved": (("a cat in snow",), ("in snow a cat",), (0, 3, 4, 1, 2, 5, 6, 7, 8)),
    "colours exchanged": (("red cat blue hat",), ("blue cat red hat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "a swap to more tokens": (("a cat sat",), ("a hedge+hog sat",), (0, 1, X, 2, 3, 4, 5, 6, 7)),
    "a swap to fewer tokens": (("a hedge+hog sat",), ("a cat sat",), (0, 1, 3, 4, 5, 6, 7, 8, X)),
    "two words for one": (("a cat sat",), ("a big dog sat",), (0, 1, X, 2, 3, 4, 5, 6, 7)),
    "a comma is no word": (("a cat , sat",), ("a dog sat",), (0, 1, 2, 4, 5, 6, 7, 8, X)),
    "weights do not matter": (("a cat:1.5 sat",), ("a cat:0.5 sat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "an embedding": (("a <moss>*3 cat",), ("one <moss>*3 cat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "an embedding that grew": (("a <moss>*2 cat",), ("a <moss>*3 cat",), (0, 1, X, 2, 3, 4, 5, 6, 7)),
    "an embedding for its name": (("a moss cat",), ("a <moss> cat",), (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    "a second chunk": (
        ("a cat",),
        ("a cat", "in snow"),
        (0, 1, 2, 3, 4, 5, 6, 7, 8, X, X, X, X, X, X, X, X, X),
    ),
    "over the border of chunks": (
        ("a cat in snow", "at night"),
        ("a cat", "in snow at night"),
        (0, 1, 2, 5, 6, 7, 8, X, X, 9, 3, 4, 10, 11, 12, 13, 14, 15),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_column_finds_the_one_it_stands_for(case: str):
    """Oracle: tables written by hand."""
    source, target, expected = CASES[case]
    assert align_words(table(*source), table(*target)).sources == expected


def test_what_became_of_the_words_is_said():
    """Oracle: a sentence written by hand."""
    found = align_words(table("a red old cat at sea"), table("a blue cat far at sea"))
    assert [pair.change for pair in found.pairs] == ["equal", "swapped", "equal", "added", "equal", "equal", "removed"]
    assert found.describe() == "old > blue; added: far; removed: red"
    assert align_words(table("a cat"), table("a cat")).describe() == "every word stands where it stood"


def test_pairs_of_ones_own_come_before_what_stands_in_place():
    """Oracle: columns written by hand: by place blue stands for big, by the pair for red."""
    source, target = table("a red big cat"), table("a small blue cat")
    assert align_words(source, target).sources[:5] == (0, 1, 2, 3, 4)
    assert align_words(source, target, "red > blue\n\nbig → small").sources[:5] == (0, 1, 3, 2, 4)


def test_only_chosen_columns_keep_their_source():
    """Oracle: written by hand."""
    assert align_columns(3, 4).sources == (0, 1, 2, None)
    assert align_columns(3, 4).only([1, 3]).sources == (None, 1, None, None)


@pytest.mark.parametrize("swaps", ["red blue", "> blue", "red >", "red, cat > blue", "red > blue, cat"])
def test_a_pair_that_is_not_understood_is_refused(swaps: str):
    """Oracle: the message says how a pair is written."""
    with pytest.raises(WordError, match="red > blue"):
        align_words(table("a red cat"), table("a blue cat"), swaps)


def test_a_pair_of_words_that_are_not_there_names_those_that_are():
    """Oracle: the words of the prompt in the message."""
    with pytest.raises(WordError, match="'green' is not in the prompt.*'blue'"):
        align_words(table("a red cat"), table("a blue cat"), "red > green")
