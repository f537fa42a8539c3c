"""Asking a finished run about other words: as if they had been keys in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.draw.figure import footer_of
from pack.scenescope.attention.read.ask import Question, ask, asked_columns
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View, viewed
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.attention.words.tokens import Token, fit_table
from pack.scenescope.errors import InputError, RecordingError
from pack.tests.support.recordings import HEAD_WIDTH, Run, entry, match, record, table

KEPT = Selection(heads="each", precision=torch.float32, keep_queries=True)
RUN = Run(selection=KEPT, entries=(entry(), entry("blurry", "negative")))


def question(words: str = "tall bird", heads: int = 2, seed: int = 5, branch: str = "positive") -> Question:
    """New words with a random key in every block."""
    generator = torch.Generator().manual_seed(seed)
    tokens = tuple(token for token in table(words).tokens if token.word is not None)
    keys = torch.randn(16, 1, len(tokens), heads * HEAD_WIDTH, generator=generator)
    blocks = dict.fromkeys(layer.block for layer in record(Run(steps=1)).layers)
    return Question(dict(zip(blocks, keys, strict=True)), tokens, branch)


def test_the_answer_is_the_softmax_over_old_and_new_keys():
    """Oracle: a slow float64 softmax over the prompt's keys and the new ones, cell by cell."""
    recording, asked = record(RUN), question()
    answer = ask(recording, asked)
    for at, kept in list(recording.projections.items())[::7]:
        if at.branch != "positive":
            continue
        (found,) = [item for item in answer.maps if item.address == at]
        for image in (0, 1):
            keys = torch.cat([kept.key[image], asked.keys[at.block][0]]).double()
            for head in (0, 1):
                part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
                logits = kept.query[image, :, part].double() @ keys[:, part].T / HEAD_WIDTH**0.5
                powers = (logits - logits.max()).exp()
                reference = powers / powers.sum(dim=-1, keepdim=True)
                torch.testing.assert_close(found.maps[image, head].double(), reference, rtol=0, atol=1e-6)


def test_asking_for_a_word_of_the_prompt_again_gives_it_half_of_what_it_had_and_a_bit():
    """Oracle: a closed form. A key that is there twice shares alike: p' = p / (1 + p) for both."""
    alone = record(replace(RUN, entries=(entry(),), images=1))
    cat = {at.block: item.key[:1, 2:3] for at, item in alone.projections.items() if at.step == 0}
    answer = ask(alone, Question(cat, (Token(1, 0, 1, "text", "cat", 0),)))
    for item in (item for item in alone.maps if item.address.step == 0):
        (found,) = [other.maps for other in answer.maps if other.address == item.address]
        share = item.maps[..., 2]
        torch.testing.assert_close(found[..., 2], share / (1 + share))
        torch.testing.assert_close(found[..., -1], found[..., 2])


def test_the_answer_is_a_recording_whose_table_says_what_was_asked():
    """Oracle: by hand. Eight columns of the prompt, then the two new ones, in a chunk of their own."""
    answer = ask(record(RUN), question())
    (positive,) = [item for item in answer.entries if item.branch == "positive"]
    assert positive.tokens == 10
    assert [(token.column, token.chunk, token.text) for token in positive.table.tokens[8:]] == [
        (8, 1, "tall"),
        (9, 1, "bird"),
    ]
    assert positive.table.prompt == "a cat and a dog [asked later, not in the prompt: tall bird]"
    assert answer.about["asked"] == "tall bird"
    (bird,) = find_words(positive.table, "bird")
    assert bird.columns == (9,)
    assert asked_columns(answer, bird.columns)
    assert not asked_columns(answer, (2,))
    found = find_words(fit_table(answer.entries[0].table, answer.entries[0].tokens), "bird")
    maps = heatmaps(answer, found, View("latent"))
    assert footer_of(viewed(answer, View("latent")), maps, found).endswith("; not in the prompt: bird")
    assert heatmaps(answer, [bird], View("latent/4")).values.shape == (2, 4, 6, 1)


def test_the_other_branch_and_the_other_words_order_stay_as_they_were():
    """Oracle: invariants. The negative's maps are the same tensors; rows still sum to one."""
    recording = record(RUN)
    answer = ask(recording, question())
    assert [item.address for item in answer.maps] == sorted(item.address for item in recording.maps)
    for item in answer.maps:
        if item.address.branch == "negative":
            assert any(item is other for other in recording.maps)
        else:
            torch.testing.assert_close(item.maps.sum(-1), torch.ones(item.maps.shape[:-1]))


def test_asking_twice_asks_for_both():
    """Oracle: an invariant. One question of three words and two questions of one and two give the same maps."""
    recording = record(RUN)
    one, two = question("red"), question("tall bird", seed=6)
    both = Question(
        {block: torch.cat([one.keys[block], two.keys[block]], dim=1) for block in one.keys},
        (*one.tokens, *(replace(token, word=(token.word or 0) + 1) for token in two.tokens)),
    )
    again, at_once = ask(ask(recording, one), two), ask(recording, both)
    for first, second in zip(again.maps, at_once.maps, strict=True):
        torch.testing.assert_close(first.maps, second.maps)
    assert again.about["asked"] == "red tall bird"
    columns = [word.columns for word in again.entries[0].table.words()]
    assert columns == [word.columns for word in at_once.entries[0].table.words()]


def test_heads_and_precision_are_those_of_the_recording():
    """Oracle: by hand. Half precision and the mean over heads, as was chosen for the run."""
    run = replace(RUN, selection=Selection(keep_queries=True))
    answer = ask(record(run), question())
    assert {(item.maps.dtype, item.maps.shape[1]) for item in answer.maps} == {(torch.float16, 1)}


def test_maps_without_their_queries_are_dropped_and_counted():
    """Oracle: counted by hand. Step 1's queries are gone: 16 maps less."""
    recording = record(RUN)
    kept = {at: item for at, item in recording.projections.items() if at.step == 0}
    answer = ask(replace(recording, projections=kept), question())
    assert sum(answer.skipped.values()) == 16
    assert {item.address.step for item in answer.maps if item.address.branch == "positive"} == {0}


def test_what_cannot_be_asked_is_refused_with_the_setting_to_change():
    """Oracle: the messages."""
    recording, asked = record(RUN), question()
    with pytest.raises(RecordingError, match="Switch on keep_queries"):
        ask(record(replace(RUN, selection=Selection())), asked)
    with pytest.raises(RecordingError, match="other 2 branch"):
        ask(recording, replace(asked, branch="other 2"))
    with pytest.raises(InputError, match="input 1 are missing"):
        ask(recording, replace(asked, keys={}))
    with pytest.raises(InputError, match="are 1 x 2 x 12, but this run needs 1 x 2 x 8"):
        ask(recording, question(heads=3))
    with pytest.raises(InputError, match="no words to ask about"):
        ask(recording, replace(asked, tokens=()))


def test_a_run_without_a_table_can_be_asked_too():
    """Oracle: by hand. The prompt's eight columns are unknown, the new words are found."""
    bare = replace(entry(), table=None)
    answer = ask(record(replace(RUN, entries=(bare,))), question())
    assert [token.kind for token in answer.entries[0].table.tokens] == ["unknown"] * 8 + ["text"] * 2
    torch.testing.assert_close(
        heatmaps(answer, find_words(answer.entries[0].table, "bird")).values, heatmaps(answer, [match("", (9,))]).values
    )
