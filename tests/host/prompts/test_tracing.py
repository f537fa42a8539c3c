"""Conditionings that carry their words, through the host's own nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sampler_helpers
import comfy.sd
import pytest
import torch
from pack.host.prompts.text import TOKENS_KEY, can_trace, table_from_prompt, trace_words
from pack.nodes.text import TraceWords
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.attention.words.tokens import TokenTable
from pack.scenescope.errors import HostError, WordError
from pack.tests.support.host import encoders

import nodes as host_nodes


@pytest.fixture(scope="module")
def clip_xl(embeddings: Path) -> Any:
    """A small CLIP of SDXL."""
    return encoders.sdxl(embeddings)


def encode(clip: Any, text: str) -> Any:
    """The stock CLIP Text Encode."""
    return host_nodes.CLIPTextEncode().encode(clip, text)[0]


def table_in(conditioning: Any) -> TokenTable:
    """The table that a conditioning carries."""
    return conditioning[0][1][TOKENS_KEY]


def test_a_conditioning_carries_its_words_and_is_otherwise_the_same(clip):
    """Oracle: the conditioning of the untraced CLIP, bit for bit."""
    prompt = "a (red:1.3) Cat, embedding:bad-hands_5 " + "dog " * 80
    plain, traced = encode(clip, prompt), encode(trace_words(clip), prompt)
    assert torch.equal(plain[0][0], traced[0][0])
    assert torch.equal(plain[0][1]["pooled_output"], traced[0][1]["pooled_output"])
    assert set(traced[0][1]) - set(plain[0][1]) == {TOKENS_KEY}
    assert table_in(traced) == table_from_prompt(clip, prompt)
    assert len(table_in(traced).tokens) == traced[0][0].shape[1] == 154


def _as(kind: type, clip: Any) -> Any:
    """Make a fresh clone one of another pack's class."""
    clip.__class__ = kind
    return clip


def test_the_users_clip_is_untouched(clip):
    """Oracle: its attributes before, and a conditioning without words after."""
    before, kind = dict(vars(clip)), type(clip)
    traced = trace_words(clip)
    encode(traced, "cat")
    assert type(clip) is kind is comfy.sd.CLIP
    assert isinstance(traced, comfy.sd.CLIP)
    assert dict(vars(clip)) == before
    assert TOKENS_KEY not in encode(clip, "cat")[0][1]


def test_tracing_lasts_through_the_hosts_own_clip_nodes(clip):
    """Oracle: the same nodes on the untraced CLIP, bit for bit, and the words."""
    lora = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.randn(64, 1)}
    lora["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = torch.randn(1, encoders.WIDTH)

    def through(start: Any) -> Any:
        _, patched = comfy.sd.load_lora_for_models(None, start, lora, 0.0, 1.0)
        return encode(host_nodes.CLIPSetLastLayer().set_last_layer(patched, -2)[0], "a Cat")

    plain, traced = through(clip), through(trace_words(clip))
    late = through(clip.clone())
    assert torch.equal(plain[0][0], traced[0][0])
    assert torch.equal(plain[0][0], late[0][0])
    assert not torch.equal(plain[0][0], encode(clip, "a Cat")[0][0])
    assert find_words(table_in(traced), "cat")[0].columns == (2,)


def test_tracing_twice_is_tracing_once(clip):
    """Oracle: an invariant."""
    once, twice = trace_words(clip), trace_words(trace_words(clip))
    assert type(once) is type(twice)
    assert table_in(encode(twice, "cat")) == table_in(encode(once, "cat"))


def test_another_packs_clip_keeps_its_own_ways(clip):
    """Oracle: a real subclass whose tokenizer adds a word; its clones stay its own."""

    class Louder(comfy.sd.CLIP):
        def clone(self, *args, **kwargs):
            return _as(Louder, super().clone(*args, **kwargs))

        def tokenize(self, text, return_word_ids=False, **kwargs):
            return super().tokenize(f"{text} loud", return_word_ids, **kwargs)

    louder = _as(Louder, clip.clone())
    traced = trace_words(louder).clone()
    assert isinstance(traced, Louder)
    assert torch.equal(encode(traced, "cat")[0][0], encode(louder, "cat")[0][0])
    # The prompt does not spell the tokens, so the words are read off the tokens.
    assert [word.text for word in table_in(encode(traced, "Cat")).words()] == ["cat", "loud"]


def test_what_the_hosts_conditioning_nodes_do_to_the_words(clip):
    """Oracle: by hand: Combine keeps both, Set Area keeps, Concat and Average keep the first one's."""
    traced = trace_words(clip)
    cat, dog = encode(traced, "a cat"), encode(traced, "a red dog")
    both = host_nodes.ConditioningCombine().combine(cat, dog)[0]
    assert [find_words(options[TOKENS_KEY], "a")[0].columns for _, options in both] == [(1,), (1,)]
    area = host_nodes.ConditioningSetArea().append(cat, 64, 64, 0, 0, 1.0)[0]
    assert table_in(area) is table_in(cat)
    joined = host_nodes.ConditioningConcat().concat(cat, dog)[0]
    assert joined[0][0].shape[1] == 154
    assert table_in(joined) is table_in(cat)
    mixed = host_nodes.ConditioningAverage().addWeighted(cat, dog, 0.5)[0]
    assert table_in(mixed) is table_in(cat)


def test_tokens_of_two_calls_put_together_keep_what_is_known(clip):
    """Oracle: by hand: chunks appended to a prompt's chunks, as the host's SDXL node pads; each knows its prompt."""
    traced = trace_words(clip)
    tokens = traced.tokenize("a Cat")
    tokens["l"] += traced.tokenize("a Dog")["l"]
    (_, options) = traced.encode_from_tokens_scheduled(tokens)[0]
    assert [word.text for word in options[TOKENS_KEY].words()] == ["a", "Cat", "a", "Dog"]
    foreign = {"l": [list(chunk) for chunk in clip.tokenize("a Cat")["l"]]}
    assert [word.text for word in traced.encode_from_tokens_scheduled(foreign)[0][1][TOKENS_KEY].words()] == [
        "a",
        "cat",
    ]


def test_the_dictionary_form_carries_the_words_and_the_tuple_form_stays_the_hosts(clip):
    """Oracle: the host's own return types."""
    traced = trace_words(clip)
    tokens = traced.tokenize("cat")
    assert TOKENS_KEY in traced.encode_from_tokens(tokens, return_dict=True)
    columns, pooled = traced.encode_from_tokens(tokens, return_pooled=True)
    assert isinstance(columns, torch.Tensor)
    assert isinstance(pooled, torch.Tensor)
    assert traced.tokenize("cat") == clip.tokenize("cat")
    assert traced.tokenize("cat", return_word_ids=True) == clip.tokenize("cat", return_word_ids=True)


def test_an_embedding_of_another_width_is_dropped_as_the_host_drops_it(clip):
    """Oracle: the host's numbers: the word after it stands where it stands without the embedding."""
    traced = trace_words(clip)
    with_wide, without = encode(traced, "red embedding:wide cat"), encode(traced, "red cat")
    torch.testing.assert_close(with_wide[0][0][:, :3], without[0][0][:, :3])
    assert with_wide[0][0].shape[1] == len(table_in(with_wide).tokens) == 77
    assert find_words(table_in(with_wide), "cat")[0].columns == find_words(table_in(without), "cat")[0].columns == (2,)
    assert find_words(table_from_prompt(clip, "red embedding:wide cat"), "cat")[0].columns == (2,)


def test_an_encoder_that_gives_other_columns_than_tokens_gets_no_words(clip):
    """Oracle: by hand: a real subclass that puts one more column behind the text."""

    class Longer(comfy.sd.CLIP):
        def clone(self, *args, **kwargs):
            return _as(Longer, super().clone(*args, **kwargs))

        def encode_from_tokens(self, tokens, return_pooled=False, return_dict=False):
            encoded = super().encode_from_tokens(tokens, return_pooled=return_pooled, return_dict=return_dict)
            encoded["cond"] = torch.cat([encoded["cond"], encoded["cond"][:, :1]], dim=1)
            return encoded

    conditioning = encode(trace_words(_as(Longer, clip.clone())), "cat")
    assert conditioning[0][0].shape[1] == 78
    assert TOKENS_KEY not in conditioning[0][1]


def test_both_encoders_of_sdxl_name_the_columns(clip_xl):
    """Oracle: by hand; different prompts for the two leave a column unnamed where they differ."""
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    traced = trace_words(clip_xl)
    assert find_words(table_in(encode(traced, "a Cat embedding:moss")), "cat, moss")[1].columns == (3,)
    assert [token.kind for token in table_in(encode(traced, "cat")).tokens[:4]] == ["start", "text", "end", "padding"]
    long = "dog " * 80
    result = CLIPTextEncodeSDXL.execute(traced, 64, 64, 0, 0, 64, 64, "a red Cat", f"a blue Cat {long}").result[0]
    table = result[0][1][TOKENS_KEY]
    assert len(table.tokens) == result[0][0].shape[1] == 154
    assert find_words(table, "a, cat")[1].columns == (3,)
    with pytest.raises(WordError, match="tokens of unknown words"):
        find_words(table, "red")


class _Several:
    """A CLIP of another family: its columns are those of several encoders in a row."""

    def __init__(self, clip: Any) -> None:
        self._clip, self.tokenizer = clip, clip.tokenizer

    def tokenize(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Any:
        tokens = self._clip.tokenize(text, return_word_ids, **kwargs)
        return tokens | {"t5xxl": tokens["l"]}

    def encode_from_tokens_scheduled(self, tokens: Any, **kwargs: Any) -> Any:
        return self._clip.encode_from_tokens_scheduled({"l": tokens["l"]}, **kwargs)

    def clone(self) -> Any:
        return _Several(self._clip)


def test_other_families_are_left_alone(clip):
    """Oracle: the conditioning of the untraced CLIP; asking for words is a clear error."""
    other = _Several(clip)
    assert not can_trace(other)
    assert can_trace(clip)
    traced = trace_words(other)
    assert encode(traced, "cat")[0][1].keys() == encode(clip, "cat")[0][1].keys()
    assert type(traced.tokenize("cat")["l"]) is list
    with pytest.raises(HostError, match="l, t5xxl"):
        table_from_prompt(other, "cat")


def test_the_node_gives_a_traced_clip_and_leaves_other_families_alone(clip):
    """Oracle: the words of the prompt; the conditioning of the untraced CLIP."""
    node = TraceWords.PREPARE_CLASS_CLONE(None)
    assert find_words(table_in(encode(node.execute(clip).result[0], "a Cat")), "cat")[0].columns == (2,)
    assert TOKENS_KEY not in encode(node.execute(_Several(clip)).result[0], "a Cat")[0][1]


def test_the_words_reach_the_sampler(clip):
    """Oracle: what the host makes of a conditioning when sampling begins."""
    conditioning = encode(trace_words(clip), "a Cat")
    (item,) = comfy.sampler_helpers.convert_cond(conditioning)
    assert item[TOKENS_KEY] is table_in(conditioning)
