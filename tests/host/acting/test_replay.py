"""An earlier run's attention in the real host: exact, on every sampler, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.host.acting.run import with_act
from pack.host.prompts.text import TOKENS_KEY
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError, RecordingError
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


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2", "dpmpp_2m", "euler_ancestral", "dpmpp_sde"])
def test_a_run_replayed_onto_itself_is_the_same_bit_for_bit(sd15, sampler: str):
    """Oracle: the recorded run's own latent."""
    settings = Run(sampler=sampler, steps=3)
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
    with pytest.raises(InputError, match="expected 8x8"):
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
