"""Prompts whose parts are tokenised one by one and put together (BREAK of other packs): every word keeps its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.host.concepts.apply import learn_words
from pack.host.prompts.text import TOKENS_KEY, trace_words
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.attention.words.tokens import TokenTable
from pack.tests.support.host import encoders

ROWS = {f"<asset{i}>": torch.full((encoders.WIDTH,), i + 0.5) for i in range(2)}


@pytest.fixture(scope="module")
def clip(embeddings: Path) -> Any:
    """A small traced CLIP of SD1.5 with two handles."""
    return trace_words(learn_words(encoders.sd15(embeddings), ROWS))


def with_breaks(clip: Any, text: str, how: str = "kept") -> TokenTable:
    """Encode as packs with BREAK do: parts tokenised apart, chunks put into the first's lists, word ids counted on.

    Args:
        how: `kept` moves the chunks themselves; `rebuilt` makes new lists of the same tokens.
    """
    parts = [clip.tokenize(part.strip(), return_word_ids=True) for part in re.split(r"\bBREAK\b", text)]
    tokens, *others = parts
    for other in others:
        for key in tokens:
            tokens[key].extend(other[key])
    for key, chunks in tokens.items():
        highest = 0
        for chunk in chunks:
            for place, (value, weight, word) in enumerate(chunk):
                if word and word < highest:
                    chunk[place] = (value, weight, word + highest)
            highest = max(highest, *(word for *_, word in chunk))
        if how == "rebuilt":
            tokens[key] = [list(chunk) for chunk in chunks]
    return clip.encode_from_tokens_scheduled(tokens)[0][1][TOKENS_KEY]


def places(table: TokenTable) -> list[tuple[str, tuple[int, ...]]]:
    """Each word with its columns."""
    return [(word.text, word.columns) for word in table.words()]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a <asset0> BREAK a <asset1>", [("a", (1,)), ("<asset0>", (2,)), ("a", (78,)), ("<asset1>", (79,))]),
        ("<asset0> BREAK <asset1>", [("<asset0>", (1,)), ("<asset1>", (78,))]),
        ("embedding:moss BREAK (Red:1.3) <asset0>", [("moss", None), ("Red", None), ("<asset0>", None)]),
        ("Cat BREAK  BREAK DOG", [("Cat", (1,)), ("DOG", (155,))]),
    ],
)
def test_words_of_every_part_keep_their_names_and_columns(clip: Any, prompt: str, expected: Any) -> None:
    """Oracle: by hand: each part has a chunk of 77 columns of its own, its first word at the second."""
    table = with_breaks(clip, prompt)
    found = places(table)
    assert [text for text, _ in found] == [text for text, _ in expected]
    for (_, columns), (_, wanted) in zip(found, expected, strict=True):
        assert wanted is None or columns == wanted
    assert [token.column for token in table.tokens] == list(range(len(table.tokens)))
    each = find_words(table, "each")
    assert [match.label for match in each] == list(dict.fromkeys(text for text, _ in expected))


@pytest.mark.parametrize("prompt", ["<asset0> BREAK <asset1>", "embedding:moss a BREAK <asset1> embedding:bad-hands_5"])
def test_vectors_are_known_by_what_they_hold_where_lists_were_made_anew(clip: Any, prompt: str) -> None:
    """Oracle: the names in the prompt, in order; words are then in lower case."""
    table = with_breaks(clip, prompt, "rebuilt")
    names = [word.text for word in table.words() if word.embedding]
    wanted = [name.removeprefix("embedding:") for name in re.findall(r"<asset\d>|embedding:\S+", prompt)]
    assert names == wanted
    assert find_words(table, wanted[0])[0].label == wanted[0]


def test_long_parts_and_a_part_of_several_chunks_stay_together(clip: Any) -> None:
    """Oracle: by hand: the first part fills two chunks, so the second's first word is at column 2 * 77 + 1."""
    table = with_breaks(clip, "dog " * 80 + "<asset0> BREAK <asset1>")
    assert [word.columns for word in table.words() if word.text == "<asset1>"] == [(155,)]
    assert table.prompt.endswith("<asset0> BREAK <asset1>")


def test_embeddings_that_nobody_knows_are_told_apart(embeddings: Path) -> None:
    """Oracle: by hand: two different vectors without a name are two words, the same one twice is one."""
    clip = trace_words(encoders.sd15(embeddings))
    one, other = (torch.full((encoders.WIDTH,), value) for value in (5.25, 6.25))
    tokens = clip.tokenize("cat and cat and cat", return_word_ids=True)
    chunk = list(tokens["l"][0])
    chunk[1], chunk[3], chunk[5] = ((value, 1.0, 9 + at) for at, value in enumerate((one, other, one)))
    table = clip.encode_from_tokens_scheduled({"l": [chunk]})[0][1][TOKENS_KEY]
    assert [(match.label, match.columns) for match in find_words(table, "each")] == [
        ("embedding", (1, 5)),
        ("and", (2, 4)),
        ("embedding 2", (3,)),
    ]
