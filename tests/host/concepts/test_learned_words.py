"""Handles in prompts: the stock CLIP Text Encode takes them for their embeddings, and heatmaps find them as words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.host.concepts.apply import learn_words
from pack.host.prompts.text import TOKENS_KEY, table_from_prompt, trace_words
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.errors import HostError, InputError
from pack.tests.support.host import encoders

import nodes as host_nodes

MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EMBEDDINGS = {f"<asset{i}>": torch.full((encoders.WIDTH,), i + 0.5) for i in range(2)}


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of embedding files; the embeddings are among them, under the names asset0 and asset1."""
    folder = encoders.write_embeddings(tmp_path_factory.mktemp("embeddings"))
    for handle, embedding in EMBEDDINGS.items():
        safetensors.torch.save_file({"clip_l": embedding[None]}, folder / f"{handle[1:-1]}.safetensors")
    return folder


@pytest.fixture(scope="module")
def learned(clip: Any) -> Any:
    """The same CLIP with two handles."""
    return learn_words(clip, EMBEDDINGS)


def test_a_handle_that_is_a_word_leaves_other_words_alone(clip):
    """Oracle: by hand: of all that holds `hat`, two are the word; and the host's embedding file is read as before."""
    embedding = torch.full((encoders.WIDTH,), 7.0)
    hat = learn_words(clip, {"hat": embedding})
    chunk = hat.tokenize("a hat, that chatty man's hats embedding:moss (hat:1.5)")["l"][0]
    given = [(float(value[0]), weight) for value, weight, *_ in chunk if isinstance(value, torch.Tensor)]
    assert [weight for number, weight in given if number == 7.0] == [1.0, 1.5]
    plain = clip.tokenize("that chatty man's hats")["l"][0][1:6]
    assert [value for value, *_ in plain] == [value for value, *_ in chunk[4:9]]


def test_a_clip_that_looks_for_no_embeddings_still_knows_handles():
    """Oracle: the embeddings in the host's own tokens."""
    learned = learn_words(encoders.sd15(None), EMBEDDINGS)
    inner = learned.tokenizer.clip_l
    assert inner.embedding_directory == []
    chunk = learned.tokenize("a <asset1> embedding:moss")["l"][0]
    assert [float(value[0]) for value, *_ in chunk if isinstance(value, torch.Tensor)] == [1.5]


def encode(clip: Any, text: str) -> Any:
    """The stock CLIP Text Encode."""
    return host_nodes.CLIPTextEncode().encode(clip, text)[0]


@pytest.mark.parametrize(
    "prompt",
    [
        "{0}",
        "a photo of {0}",
        "a photo of {0} and {1} at the beach",
        "{1} {0} {1}",
        "a ({0}:1.2), b",
        "a ({0}) and ((({1}:0.3)))",
        "a (red {0} cat:1.4) by embedding:style/ink , {1}",
        "embedding:moss {0}",
        "a {0} embedding:bad-hands_5 \\( {1} \\)",
        "word, " * 50 + "{0} , " + "dog " * 40 + "{1} BREAK {0}",
        "dog " * 74 + "{0} cat",
        "dog " * 75 + "{0} cat",
    ],
)
def test_a_handle_stands_for_its_row(clip, learned, prompt):
    """Oracle: the host's own embedding file of the same vector: tokens, weights and columns, bit for bit."""
    files = prompt.format("embedding:asset0", "embedding:asset1")
    ours, theirs = encode(learned, prompt.format(*EMBEDDINGS)), encode(clip, files)
    assert torch.equal(ours[0][0], theirs[0][0])
    assert torch.equal(ours[0][1]["pooled_output"], theirs[0][1]["pooled_output"])
    assert not torch.equal(ours[0][0], encode(clip, prompt.format(*EMBEDDINGS))[0][0])


@pytest.mark.parametrize("glued", ["{},", ",{}", "cat{}dog", "{}{}", '"{}"', "{}.", "{}'s", "embedding:{}", "\n{}\n"])
def test_a_handle_glued_to_anything_stands_for_its_row(clip, learned, glued):
    """Oracle: the host's ids of what stands beside it, alone; and the vectors in their order."""
    found = [given[0] for chunk in learned.tokenize(glued.replace("{}", "<asset0>"))["l"] for given in chunk]
    vectors = [value for value in found if isinstance(value, torch.Tensor)]
    assert [bool(torch.equal(value, EMBEDDINGS["<asset0>"])) for value in vectors] == [True] * glued.count("{}")
    beside = [part.removeprefix("embedding:") for part in glued.split("{}")]
    text = [given[0] for part in beside for given in clip.tokenize(part, return_word_ids=True)["l"][0] if given[2]]
    assert [value for value in found if isinstance(value, int)][1 : 1 + len(text)] == text


@MANY
@given(words=st.lists(st.sampled_from(["<asset0>", "(<asset1>:1.3)", "cat", ",", "embedding:moss", "a long story"])))
def test_trace_words_finds_the_handles_wherever_they_stand(clip, learned, words):
    """Oracle: the columns of the embeddings among the tokens; Trace Words before and after give the same table."""
    prompt = " ".join(words)
    values = [given[0] for chunk in learned.tokenize(prompt)["l"] for given in chunk]
    before, after = learn_words(trace_words(clip), EMBEDDINGS), trace_words(learned)
    tables = [encode(traced, prompt)[0][1][TOKENS_KEY] for traced in (before, after)]
    assert tables[0] == tables[1] == table_from_prompt(learned, prompt)
    for handle, embedding in EMBEDDINGS.items():
        columns = [at for at, v in enumerate(values) if isinstance(v, torch.Tensor) and torch.equal(v, embedding)]
        assert len(columns) == prompt.count(handle)
        if columns:
            assert find_words(tables[0], handle)[0].columns == tuple(columns)


def test_a_long_prompt_has_its_handle_in_a_later_chunk(learned):
    """Oracle: by hand: 75 tokens to a chunk, so the 81st is the seventh of the second."""
    table = table_from_prompt(learned, "dog " * 80 + "<asset1>")
    assert find_words(table, "<asset1>")[0].columns == (77 + 1 + 5,)


def test_the_users_clip_stays_as_it_was(clip):
    """Oracle: its tokenizer's attributes, and the tokens of a handle, before and after."""
    before, tokens = dict(vars(clip.tokenizer)), clip.tokenize("<asset0>")
    inner = dict(vars(clip.tokenizer.clip_l))
    learned = learn_words(clip, EMBEDDINGS)
    encode(learned, "<asset0>")
    assert dict(vars(clip.tokenizer)) == before
    assert dict(vars(clip.tokenizer.clip_l)) == inner
    assert clip.tokenize("<asset0>") == tokens
    assert learned.tokenizer is not clip.tokenizer


def test_handles_of_two_scenes_live_side_by_side_but_not_under_one_name(clip, learned):
    """Oracle: by hand."""
    both = learn_words(learned, {"<hat>": torch.ones(encoders.WIDTH)})
    vectors = [given[0] for given in both.tokenize("<hat> <asset0>")["l"][0] if isinstance(given[0], torch.Tensor)]
    assert [float(vector[0]) for vector in vectors] == [1.0, 0.5]
    assert not any(isinstance(given[0], torch.Tensor) for given in learned.tokenize("<hat>")["l"][0])
    with pytest.raises(InputError, match="already has <asset0>, <asset1>. Each scene needs handles of its own"):
        learn_words(learned, EMBEDDINGS)


def test_handles_that_look_like_numbers_or_patterns_are_taken_as_they_are(clip):
    """Oracle: by hand: the weight is the last colon's, the handle a vector."""
    odd = learn_words(clip, {"1.5": torch.ones(encoders.WIDTH), ".*": torch.zeros(encoders.WIDTH)})
    (chunk,) = odd.tokenize("(1.5) (.*:0.5) x")["l"]
    values = [(float(value[0]), weight) for value, weight in chunk if isinstance(value, torch.Tensor)]
    assert values == [(1.0, pytest.approx(1.1)), (0.0, 0.5)]


def test_rows_of_another_width_and_other_encoders_are_refused(clip, embeddings):
    """Oracle: the messages."""
    with pytest.raises(InputError, match=r"<a> has 768 channels, but the words of this CLIP have 32\. Connect"):
        learn_words(clip, {"<a>": torch.ones(768)})
    with pytest.raises(HostError, match="its tokenizer is SDXLTokenizer"):
        learn_words(encoders.sdxl(embeddings), EMBEDDINGS)
