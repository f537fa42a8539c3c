"""Which of a run's prompts are steered: of one branch or of all, and each by its own words."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy.samplers import sampler_object
from comfy_extras.nodes_custom_sampler import DualCFGGuider
from pack.host.acting.run import with_act
from pack.host.prompts.text import TOKENS_KEY
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError, WordError
from pack.tests.host.acting.test_steering import EACH, PLACED, WORDS, prompt, recording_of, run, steered, table
from pack.tests.support.host.runs import Run, conditioning


def test_an_area_of_one_prompt_gives_its_words_to_no_other_prompt(sd15: Any) -> None:
    """Oracle: by hand: the host evaluates the negative prompt in the positive's area too; its words are its own."""
    own = TokenTable("blurry", (Token(0, 0, 0, "text", "blurry", 0), *table().tokens[8:]))
    prompts = {
        "positive": prompt() + prompt(area=(4, 6, 0, 0)),
        "negative": conditioning(seed=2, **{TOKENS_KEY: own}),
    }
    recording, _ = recording_of(sd15, EACH, **prompts)
    found = [(entry.branch, entry.area, entry.table.prompt) for entry in recording.entries]
    words, area = " ".join(WORDS), (4, 6, 0, 0)
    assert found == [
        (POSITIVE, None, words), (POSITIVE, area, words), (NEGATIVE, None, "blurry"), (NEGATIVE, area, "blurry")
    ]  # fmt: skip
    with pytest.raises(WordError, match="'dog' is not in the prompt. It has 'blurry'"):
        run(steered(sd15, Steering("dog", 2.0, branch="negative")), **prompts)


def test_the_negative_prompt_is_steered_where_it_is_asked_for(sd15: Any) -> None:
    """Oracle: prompts exchanged: the positive of one is the negative of the other, at step 0, to rounding."""
    one = with_act(sd15, replace(PLACED, branch="negative"))
    other = with_act(sd15, PLACED)
    first = replace(EACH, steps="0")
    negative = recording_of(one, first, positive=conditioning(seed=2), negative=prompt())[0]
    positive = recording_of(other, first)[0]
    pick = lambda recording, branch: [m for m in recording.maps if m.address.branch == branch]  # noqa: E731
    for a, b in zip(pick(negative, NEGATIVE), pick(positive, POSITIVE), strict=True):
        assert torch.allclose(a.maps, b.maps, atol=1e-5)


def test_both_takes_the_prompts_of_a_guider_with_more_than_two(sd15: Any) -> None:
    """Oracle: by hand: the second of DualCFG's three prompts has the words; without `both` they are missed."""
    prompts, noise = (conditioning(seed=3), prompt(), conditioning(seed=2)), torch.zeros(1, 4, 8, 12)
    for branch, reached in (("both", nullcontext()), ("positive", pytest.raises(WordError, match="doesn't carry"))):
        model = steered(sd15, Steering("red", 2.0, branch=branch))
        guider = DualCFGGuider.execute(model, *prompts, 7.0, 5.0, "regular")[0]
        with reached:
            guider.sample(noise, noise, sampler_object("euler"), torch.tensor([9.0, 0.0]), disable_pbar=True)


def test_at_cfg_1_the_negative_prompt_cannot_be_steered(sd15: Any) -> None:
    """Oracle: the sentence."""
    with pytest.raises(InputError, match="At cfg 1 the negative prompt is left out"):
        run(with_act(sd15, replace(PLACED, branch="negative")), Run(cfg=1.0), negative=prompt())
