"""Words with the host's own tokenizers, and conditionings that carry them."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.host.prompts.text import table_from_prompt
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.attention.words.prompt import segments
from pack.scenescope.errors import WordError
from pack.tests.support.host import encoders

WEIGHTED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VOCABULARY = [
    "cat", "Photographer", "BREAK", "1girl", "don't", "rock'n'roll", "éclair", "e\u0301clair", "Ünïcödé", "Straße",
    "ΣΑΣ", "猫", "x²", "4k", "supercalifragilisticexpialidocious", "creature", "it's", "2001", "naïve", "ﬁeld",
    "🐈", "🧑‍🚀",
]  # fmt: skip
WRITINGS = [
    "{}",
    "({}:1.2)",
    "(({}))",
    "\\({}\\)",
    "{},",
    "({}:0.8),",
    "a {}!",
    '"{}"',
    "[{}]",
    "{}.",
    "blue {} sky",
    "{}\n",
]


def ids(clip: Any, prompt: str) -> list[Any]:
    """All ids or vectors of a prompt, chunk after chunk, from the host."""
    return [given[0] for chunk in clip.tokenize(prompt)["l"] for given in chunk]


def runs(clip: Any, prompt: str, word: str) -> list[tuple[int, ...]]:
    """Where a word's ids stand in a prompt's ids: the host tokenises the word alone."""
    alone = [given[0] for given in clip.tokenize(word, return_word_ids=True)["l"][0] if given[2]]
    whole = ids(clip, prompt)
    starts = range(len(whole) - len(alone) + 1)
    return [
        tuple(range(at, at + len(alone)))
        for at in starts
        if all(type(a) is type(b) is int and a == b for a, b in zip(whole[at:], alone, strict=False))
    ]


@WEIGHTED
@given(st.lists(st.tuples(st.sampled_from(VOCABULARY), st.sampled_from(WRITINGS)), min_size=1, max_size=40))
def test_every_word_however_written_stands_where_its_own_tokens_stand(clip, words):
    """Oracle: the host tokenises each word alone; its ids are sought in the ids of the whole prompt."""
    prompt = " ".join(writing.format(word) for word, writing in words)
    found = table_from_prompt(clip, prompt)
    assert len(found.tokens) == len(ids(clip, prompt))
    for word in {word for word, _ in words}:
        if not any(letter.isalnum() for letter in word):
            continue
        there = find_words(found, word)[0].occurrences
        assert len(there) == sum(_spelt(text) == _spelt(word) for text, _ in words)
        assert set(there) - set(runs(clip, prompt, word)) == set(filter(_split_over_chunks, there))
    columns = sorted(column for word in found.words() for column in word.columns)
    special = sorted(column for kind in ("start", "end", "padding") for column in found.columns(kind))
    assert sorted(columns + special) == list(range(len(found.tokens)))


def _spelt(word: str) -> str:
    return unicodedata.normalize("NFC", word).casefold()


def _split_over_chunks(place: tuple[int, ...]) -> bool:
    return place != tuple(range(place[0], place[-1] + 1))


@WEIGHTED
@given(prompt=st.text(max_size=60) | st.text("()\\: 1.a,<[&;'\"-", max_size=40) | st.text("a(\\):5 ", max_size=60))
def test_any_text_at_all_has_a_name_for_every_column(clip, prompt):
    """Oracle: an invariant: the columns are the host's, and words, starts, ends and padding share them out."""
    found = table_from_prompt(clip, prompt)
    assert len(found.tokens) == len(ids(clip, prompt))
    kinds = {token.kind for token in found.tokens}
    assert kinds <= {"start", "text", "end", "padding"}
    for word in found.words():
        if not word.punctuation:
            assert set(word.columns) <= set(find_words(found, _escaped(word.text))[0].columns), word


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in ",#\\()<" else letter for letter in text)


@WEIGHTED
@given(prompt=st.text("ab()\\:1.5 ", max_size=40))
def test_groups_are_taken_apart_as_the_host_does(prompt):
    """Oracle: the host's own parser."""
    from comfy.sd1_clip import escape_important, token_weights, unescape_important

    theirs = [unescape_important(text) for text, _ in token_weights(escape_important(prompt), 1.0)]
    assert [text for text in segments(prompt) if text] == [text for text in theirs if text]


def test_words_are_shown_as_they_were_typed(clip):
    """Oracle: by hand; the host's ids are in lower case and composed."""
    found = table_from_prompt(clip, "Photo of a (Blue-Eyed:1.2) 1girl, e\u0301clair ΣΑΣ")
    words = [(word.text, word.weight) for word in found.words()]
    assert words == [
        ("Photo", 1.0), ("of", 1.0), ("a", 1.0), ("Blue", 1.2), ("-", 1.2), ("Eyed", 1.2), ("1girl", 1.0), (",", 1.0),
        ("éclair", 1.0), ("ΣΑΣ", 1.0),
    ]  # fmt: skip


def test_a_word_whose_parts_lie_in_two_chunks_is_one_word(clip):
    """Oracle: by hand: the host breaks a run of eight or more tokens at the 75th, wherever that is."""
    found = table_from_prompt(clip, "cat " * 73 + "supercalifragilisticexpialidocious")
    (match,) = find_words(found, "supercalifragilisticexpialidocious")
    assert match.columns[:2] == (74, 75)
    assert match.columns[2] == 78
    assert [token.kind for token in found.tokens[76:78]] == ["end", "start"]


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("embedding:moss", {"moss": 1}),
        ("a embedding:bad-hands_5, cat", {"bad-hands_5": 3, "cat": 1}),
        ("(embedding:moss:1.2) embedding:style/ink", {"moss": 1, "style/ink": 2}),
        ("embedding:gone embedding:moss cat", {"moss": 1, "cat": 1}),
        ("embedding:gone, embedding:gone embedding:bad-hands_5", {"bad-hands_5": 3}),
        ("Cat embedding:moss.safetensors<x> dog", {"moss.safetensors": 1, "x": 1, "dog": 1, "Cat": 1}),
        ("embedding:much\\(too\\) cat", {"much(too)": 1, "cat": 1}),
        ("embedding:gone embedding:much\\(too\\) cat", {"much(too)": 1, "cat": 1}),
        ("notembedding:moss", {"notembedding": None, "moss": None}),
        ("x embedding:moss embedding:moss", {"x": 1}),
        ("embedding:long cat", {"long": 80, "cat": 1}),
    ],
)
def test_embeddings_have_their_names(clip, prompt, names):
    """Oracle: by hand: the file's number of vectors, and where the host puts vectors among its ids."""
    found = table_from_prompt(clip, prompt)
    vectors = {at for at, value in enumerate(ids(clip, prompt)) if isinstance(value, torch.Tensor)}
    assert {token.column for token in found.tokens if token.kind == "embedding"} == vectors
    for name, count in names.items():
        (match,) = find_words(found, _escaped(name))
        assert count is None or len(match.columns) == count
        assert match.label == name
    with pytest.raises(WordError):
        find_words(found, "gone")


def test_without_an_embedding_folder_the_name_is_text(embeddings):
    """Oracle: the host's ids: no vectors."""
    found = table_from_prompt(encoders.sd15(), "a embedding:moss")
    assert [word.text for word in found.words()] == ["a", "embedding", ":", "moss"]
    assert not found.columns("embedding")
