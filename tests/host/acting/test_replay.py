"""An earlier run's attention in the real host: exact, on every sampler, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from pack.host.acting.run import with_act
from pack.host.prompts.text import TOKENS_KEY
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.align import align_columns
from pack.scenescope.attention.act.blend import region_of_words
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError, RecordingError
from pack.tests.host.acting.test_steering import replaced
from pack.tests.support.host.layouts import SD15, build
from pack.tests.support.host.runs import Run, conditioning, sample

pytestmark = pytest.mark.filterwarnings("ignore:Should have t:UserWarning:torchsde")
EVERYTHING = Selection(keep_queries=True, keep_self_queries=True, precision=torch.float32, evaluations="all")
BOTH = ("positive", "negative")
WHOLE = Playing(cross=1, self_attention=1, branches=BOTH)


def table(words: str, tokens: int) -> TokenTable:
    """A prompt of plain words, then padding."""
    text = [Token(at + 1, 0, at + 1, "text", word, at) for at, word in enumerate(words.split())]
    rest = [Token(at, at // 77, at % 77, "padding", "", None) for at in range(1 + len(text), tokens)]
    return TokenTable(words, (Token(0, 0, 0, "start", "", None), *text, *rest))


def prompt(words: str = "a red circle", tokens: int = 77, seed: int = 1, **options: Any) -> Any:
    """A random prompt that carries its words."""
    return conditioning(tokens, seed=seed, **{TOKENS_KEY: table(words, tokens)}, **options)


def run(model: Any, settings: Run, positive: Any = None, negative: Any = None, **more: Any) -> torch.Tensor:
    """Sample; the prompts are the same every time."""
    return sample(model, positive or prompt(), negative or prompt("", seed=2), settings, **more)


def recorded(model: Any, settings: Run, selection: Selection = EVERYTHING, **more: Any) -> tuple[Recording, Any]:
    """Sample and record."""
    watched, book = record_attention(model, selection)
    latent = run(watched, settings, **more)
    return book.find(latent)[0], latent


def replaying(model: Any, recording: Recording, playing: Playing = WHOLE) -> Any:
    """The model with a replay."""
    return with_act(model, Replay(recording, playing))


SAMPLERS = (
    "euler",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "euler_ancestral",
    "dpmpp_sde",
    "lcm",
    "uni_pc",
    "ddim",
    "res_multistep",
)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "dpmpp_3m_sde", "heunpp2", "ipndm"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_replayed_onto_itself_is_the_same_bit_for_bit(sd15, sampler: str, steps: int):
    """Oracle: the recorded run's own latent."""
    settings = Run(sampler=sampler, steps=steps, size=(8, 8))
    recording, latent = recorded(sd15, settings)
    assert torch.equal(run(replaying(sd15, recording), settings), latent)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (Run(batch=2), {}),
        (Run(cfg=1.0), {}),
        (Run(size=(8, 8)), {"positive": prompt("a red circle", 154)}),
        (Run(), {"positive": prompt(area=(4, 12, 2, 0)) + prompt(seed=5)}),
    ],
)
def test_batches_long_prompts_areas_and_no_guidance_replay_exactly(sd15, settings: Run, more: dict):
    """Oracle: the recorded run's own latent."""
    recording, latent = recorded(sd15, settings, **more)
    branches = BOTH if settings.cfg > 1 else BOTH[:1]
    playing = replace(WHOLE, branches=branches)
    assert torch.equal(run(replaying(sd15, recording, playing), settings, **more), latent)


def test_half_precision_replays_exactly_from_half_and_closely_from_int8(sd15_half):
    """Oracle: the recorded run's own latent; int8 by its rounding, a part in a hundred of the latent's spread."""
    settings = Run(steps=2)
    recording, latent = recorded(sd15_half, settings, replace(EVERYTHING, query_precision="half"))
    assert torch.equal(run(replaying(sd15_half, recording), settings), latent)
    eighth = {at: pair.kept_as(torch.int8) for at, pair in recording.projections.items()}
    near = run(replaying(sd15_half, replace(recording, projections=eighth)), settings)
    assert float((near - latent).abs().mean() / latent.std()) < 0.05


@pytest.mark.parametrize("playing", [Playing(cross=0), Playing(strength=0), Playing(cross=0, self_attention=0)])
def test_a_replay_of_nothing_leaves_the_run_as_it_is(sd15, playing: Playing):
    """Oracle: the run without it, bit for bit."""
    settings = Run()
    recording, _ = recorded(sd15, settings)
    other = prompt("a blue circle", seed=3)
    plain = run(sd15, settings, other)
    assert torch.equal(run(replaying(sd15, recording, playing), settings, other), plain)


def test_a_changed_prompt_is_drawn_to_the_recorded_run_and_the_recorder_sees_what_was_played(sd15):
    """Oracle: the recorded queries, which a recorder behind or before the replay records again."""
    settings = Run(steps=3)
    recording, latent = recorded(sd15, settings)
    other = prompt("a blue circle", seed=3)
    plain = run(sd15, settings, other)
    for order in (0, 1):
        replay = replace(WHOLE, branches=("positive",))
        model = replaying(sd15, recording, replay) if order else sd15
        watched, book = record_attention(model, EVERYTHING)
        played = run(watched if order else replaying(watched, recording, replay), settings, other)
        assert float((played - latent).abs().mean()) < float((plain - latent).abs().mean())
        seen = book.find(played)[0]
        for at, pair in recording.projections.items():
            if at.branch == "positive":
                assert torch.equal(seen.projections[at].query, pair.query)


def test_nothing_is_left_behind_also_after_an_error(sd15):
    """Oracle: hooks counted, and the plain run afterwards."""
    settings = Run()
    plain = run(sd15, settings)
    recording, _ = recorded(sd15, settings)
    run(replaying(sd15, recording), settings)
    with pytest.raises(InputError, match="has 8x12 latent cells, and this run has 8x8"):
        run(replaying(sd15, recording), replace(settings, size=(8, 8)))

    def stop(*_: Any) -> None:
        raise RuntimeError("stopped by hand")

    with pytest.raises(RuntimeError, match="stopped by hand"):
        run(replaying(sd15, recording), settings, callback=stop)
    unet = sd15.model.diffusion_model
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()) == 0
    assert torch.equal(run(sd15, settings), plain)


def test_a_recording_without_queries_is_refused_before_anything_is_sampled(sd15):
    """Oracle: the sentence, and a callback that is never called."""
    settings = Run()
    recording, _ = recorded(sd15, settings, Selection())
    steps: list[int] = []
    with pytest.raises(RecordingError, match="Switch on keep_queries"):
        run(replaying(sd15, recording, Playing()), settings, callback=lambda step, *_: steps.append(step))
    assert steps == []


def beside_an_override(model: Any) -> Any:
    """A node that owns the override slot, and turns attention's output down."""
    owner = model.clone()

    def override(function: Any, *args: Any, **kwargs: Any) -> Any:
        return 0.9 * function(*args, **kwargs)

    owner.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
    return owner


BESIDE = {
    "sag": lambda model: SelfAttentionGuidance.execute(model, 0.5, 2.0)[0],
    "pag": lambda model: PerturbedAttentionGuidance.execute(model, 3.0)[0],
    "owner": replaced,
    "override": beside_an_override,
}


@pytest.mark.parametrize("name", list(BESIDE))
def test_beside_other_patches_a_run_replayed_onto_itself_is_the_same_bit_for_bit(sd15, name: str):
    """Oracle: the recorded run's own latent, with the other patch put on before the replay, or after it."""
    settings, patched = Run(size=(16, 16), steps=3), BESIDE[name]
    recording, latent = recorded(patched(sd15), settings)
    assert torch.equal(run(replaying(patched(sd15), recording), settings), latent)
    assert torch.equal(run(patched(replaying(sd15, recording)), settings), latent)


def test_an_owner_of_a_slot_is_handed_the_recorded_queries(sd15):
    """Oracle: the recording, for an owner that keeps what it is given, while another prompt is sampled."""
    settings, given = Run(steps=2), []
    recording, _ = recorded(sd15, settings)
    owner = sd15.clone()

    def keeping(q: Any, k: Any, v: Any, extra: dict[str, Any]) -> Any:
        given.append(q.clone())
        return optimized_attention(q, k, v, extra["n_heads"])

    owner.set_model_attn2_replace(keeping, "output", 9)
    run(replaying(owner, recording, replace(WHOLE, branches=("positive",))), settings, prompt("a blue circle", seed=3))
    wanted = [
        pair.query
        for at, pair in sorted(recording.projections.items(), key=lambda item: item[0].step)
        if (at.branch, at.kind, at.block) == ("positive", "cross", "output 9")
    ]
    assert len(given) == len(wanted) == 2
    assert all(torch.equal(whole[1:], row) for whole, row in zip(given, wanted, strict=True))  # the negative is first


def test_a_longer_prompt_and_a_batch_play_what_one_picture_of_a_short_prompt_recorded(sd15):
    """Oracle: the recorded queries in each picture, which a recorder sees; nothing is skipped."""
    settings = Run(steps=2)
    recording, _ = recorded(sd15, settings)
    model = replaying(sd15, recording, replace(WHOLE, branches=("positive",)))
    watched, book = record_attention(model, EVERYTHING)
    long = prompt(" ".join(["a big red circle", *(f"word{at}" for at in range(80))]), 154, seed=3)
    latent = run(watched, replace(settings, batch=2), long)
    seen = book.find(latent)[0]
    assert latent.isfinite().all()
    assert not seen.skipped
    for at, pair in recording.projections.items():
        if at.branch == "positive":
            assert torch.equal(seen.projections[at].query, pair.query.expand(2, -1, -1))


@pytest.mark.parametrize(
    ("steps", "changes", "said"),
    [
        (20, {}, ""),
        (20, {"seed": 5}, "The seed is 5, the recorded run's was 0"),
        (20, {"steps": 40, "sampler": "dpmpp_2m"}, ""),
        (4, {"steps": 20}, "The schedules differ"),
    ],
)
def test_another_seed_or_a_schedule_that_is_far_is_told(sd15, monkeypatch, steps: int, changes: dict, said: str):
    """Oracle: the sentences, and none where there is nothing to say: forty steps have near ones on a tape of twenty."""
    told: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: told.append(text))
    settings = Run(steps=steps, scheduler="karras", size=(8, 8), cfg=1.0)
    few = replace(EVERYTHING, keep_self_queries=False, blocks="middle 0")
    recording, _ = recorded(sd15, settings, few)
    run(replaying(sd15, recording, Playing()), replace(settings, **changes))
    assert said in told[-1]
    assert ("The schedules differ" in told[-1], "The seed is" in told[-1]) == ("schedules" in said, "seed" in said)


def test_a_recording_of_other_weights_is_told(sd15, monkeypatch):
    """Oracle: the sentence, and none for the model that was recorded."""
    told: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: told.append(text))
    recording, _ = recorded(sd15, Run())
    for model in (sd15.clone(), build(SD15, seed=1)):
        run(replaying(model, recording), Run())
    assert ["a model with other weights" in text for text in told] == [False, True]


def test_around_free_words_the_recorded_queries_are_played_to_the_end(sd15):
    """Oracle: the recorded queries, cell by cell, at the last step, which cross_until leaves free."""
    settings = Run(steps=4)
    recording, _ = recorded(sd15, settings)
    entry = recording.entry("positive", 0)
    free = region_of_words(recording, entry, entry, align_columns(77, 77), "circle")[0].flatten() > 0
    assert 0 < free.sum() < free.numel()
    playing = Playing(cross=0.25, free_words="circle")
    watched, book = record_attention(replaying(sd15, recording, playing), EVERYTHING)
    seen = book.find(run(watched, settings, prompt("a blue circle", seed=3)))[0]
    (at,) = (
        at
        for at in recording.projections
        if (at.branch, at.kind, at.block, at.step) == ("positive", "cross", "input 1", 3)
    )
    own, theirs = seen.projections[at].query[0], recording.projections[at].query[0]
    assert torch.equal((own == theirs).all(dim=-1), ~free)
