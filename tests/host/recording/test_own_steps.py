"""Samplers that make steps of their own: each map has the sigma that it was made at, and the last step is the last."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.host.recording.unet import record_attention
from pack.nodes.record import GetAttentionMaps, SampleAndRecord
from pack.scenescope.attention.draw.figure import Layouting, draw
from pack.scenescope.attention.draw.render import Style
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import POSITIVE, Selection
from pack.scenescope.dims import Grid
from pack.scenescope.errors import SelectionError
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import every_projection, slow_softmax
from pack.tests.support.recordings import match

OWN = ("dpm_fast", "dpm_adaptive")
# Gentle: of any schedule here dpm_adaptive makes 13 steps, where the sampler's own defaults would make 50.
GENTLE = {"cfg": 1.1, "denoise": 0.2}
BLOCK = "middle 0"
# The host's own: torchsde rounds the ends of a schedule; dpm_fast, dpm_adaptive and deis copy tensors, deis by numpy.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Should have t:UserWarning:torchsde"),
    pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]


def selection(**choices: Any) -> Selection:
    """One block's positive maps, in single precision."""
    return Selection(**{"precision": torch.float32, "blocks": BLOCK, "branches": (POSITIVE,)} | choices)


def listened(model: Any) -> tuple[Any, list[float], list[int]]:
    """A clone that notes, without the pack, at which sigmas it is asked; and a list for the steps that are reported."""
    asked: list[float] = []
    clone = model.clone()

    def note(executor: Any, x: Any, timestep: torch.Tensor, *rest: Any, **more: Any) -> Any:
        asked.append(float(timestep.flatten()[0]))
        return executor(x, timestep, *rest, **more)

    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "listening", note)
    return clone, asked, []


def recorded(
    model: Any, sampler: str, steps: int = 5, record: str = "all", **choices: Any
) -> tuple[Recording, list[float], list[int]]:
    """Sample, and note beside the pack what the sampler did: sigmas asked at, and the steps it reported."""
    listening, asked, reported = listened(model)
    watched, book = record_attention(listening, selection(steps=record, **choices))
    run = Run(steps=steps, sampler=sampler, **GENTLE)
    latent = sample(
        watched, conditioning(seed=1), conditioning(seed=2), run, callback=lambda step, *_: reported.append(step)
    )
    return book.find(latent)[0], asked, reported


@pytest.mark.parametrize("sampler", OWN)
@pytest.mark.parametrize("steps", [2, 5, 9])
def test_every_map_has_the_sigma_that_it_was_made_at(sd15: Any, sampler: str, steps: int) -> None:
    """Oracle: a wrapper of the test's own, which notes every sigma that the model is asked at."""
    recording, asked, reported = recorded(sd15, sampler, steps, evaluations="all")
    assert [recording.sigma_of(item.address) for item in recording.maps] == pytest.approx(asked)
    assert {item.address.step for item in recording.maps} == set(reported)
    assert recording.steps == len(reported)
    first = [item for item in recording.maps if item.address.evaluation == 0]
    assert [recording.sigmas[item.address.step] for item in first] == [recording.sigma_of(one.address) for one in first]


COUNTED = {
    "last": lambda made: {made - 1},
    "-2": lambda made: {made - 2},
    "first, last": lambda made: {0, made - 1},
    "all": lambda made: set(range(made)),
    "every 2": lambda made: set(range(0, made, 2)),
    "1-2, -1": lambda made: {1, 2, made - 1} & set(range(made)),
}
"""Choices of steps, and what they are of so many."""


@pytest.fixture(scope="module", params=OWN)
def counted(request: pytest.FixtureRequest, small_models: Any) -> tuple[dict[str, Recording], list[int]]:
    """One run with a recorder for each choice, and the steps that the sampler reported.

    Recorders on one model each keep their own selection, as test_coexistence.py shows.
    """
    watched, _, reported = listened(small_models["sd15"].clone())
    books = {}
    for text in COUNTED:
        watched, books[text] = record_attention(watched, selection(steps=text))
    run, prompts = Run(steps=7, sampler=request.param, **GENTLE), (conditioning(seed=1), conditioning(seed=2))
    with torch.inference_mode():
        latent = sample(watched, *prompts, run, callback=lambda step, *_: reported.append(step))
        return {text: book.find(latent)[0] for text, book in books.items()}, reported


@pytest.mark.parametrize("text", list(COUNTED))
def test_steps_are_counted_as_the_sampler_made_them(counted: Any, text: str) -> None:
    """Oracle: the steps that the sampler reported to the host's own callback."""
    recordings, reported = counted
    recording = recordings[text]
    assert {item.address.step for item in recording.maps} == COUNTED[text](len(reported))
    assert recording.bytes_held == sum(item.maps.numel() * 4 for item in recording.maps)


@pytest.mark.parametrize("sampler", OWN)
def test_the_last_map_is_the_softmax_of_the_last_steps_own_queries_and_keys(sd15: Any, sampler: str) -> None:
    """Oracle: queries and keys of a run without the pack, in float64: those at the last step's own sigma."""
    listening, asked, reported = listened(sd15)
    with every_projection(listening) as calls:
        sample(
            listening,
            conditioning(seed=1),
            conditioning(seed=2),
            Run(steps=7, sampler=sampler, **GENTLE),
            callback=lambda step, *_: reported.append(step),
        )
    recording, _, _ = recorded(sd15, sampler, 7, "last")
    (item,) = recording.maps
    assert item.address.step == max(reported)
    when = max(at for at, sigma in enumerate(asked) if sigma == pytest.approx(recording.sigma_of(item.address)))
    middle = [call for call in calls if call["name"].endswith("middle_block.1.transformer_blocks.0.attn2")]
    truth = slow_softmax(middle[when]["query"], middle[when]["key"], middle[when]["heads"])[1:]
    truth = truth.mean(dim=1, keepdim=True)
    assert float((item.maps.double() - truth).abs().max()) < 2e-6


def test_the_last_step_of_a_schedule_is_counted_from_it(sd15: Any) -> None:
    """Oracle: by hand: four steps; a sampler that follows its schedule is not recorded until the last."""
    recording, asked, _ = recorded(sd15, "euler", 4, "last")
    assert {item.address.step for item in recording.maps} == {3}
    assert recording.sigmas[:4] == pytest.approx(asked)


@pytest.mark.parametrize("steps", ["3", "1-3", "last"])
def test_a_sampler_of_another_pack_may_make_more_or_fewer_steps(sd15: Any, steps: str) -> None:
    """Oracle: by hand: of a schedule of six steps a foreign sampler makes four."""

    def foreign(model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, **_: Any) -> Any:
        for step, sigma in enumerate(sigmas[:4]):
            x = model(x, sigma * x.new_ones(len(x)), **(extra_args or {}))
            callback({"x": x, "i": step, "sigma": sigma, "denoised": x})
        return x

    watched, book = record_attention(sd15, selection(steps=steps))
    guider = comfy.samplers.CFGGuider(watched)
    guider.set_conds(conditioning(seed=1), conditioning(seed=2))
    guider.set_cfg(7.0)
    sigmas = comfy.samplers.calculate_sigmas(sd15.get_model_object("model_sampling"), "normal", 6)
    latent = torch.zeros(1, 4, 8, 12)
    guider.sample(torch.randn(1, 4, 8, 12), latent, comfy.samplers.KSAMPLER(foreign), sigmas, disable_pbar=True, seed=0)
    recording = book.find(None)[0]
    assert recording.steps == 4
    assert max(item.address.step for item in recording.maps) == 3
    assert recording.sigmas[:4] == pytest.approx(sigmas[:4].tolist())


def test_heatmaps_and_captions_count_the_steps_that_were_made(sd15: Any) -> None:
    """Oracle: the number of steps that the sampler reported."""
    recording, _, reported = recorded(sd15, "dpm_adaptive", 5)
    view = View("latent/8", steps="last")
    figure = draw(recording, [match("star", (5,))], view, Layouting(Style(size=Grid(64, 96))))
    assert f'"steps of the run": {len(reported)}' in figure.report
    assert len(reported) > 5


def widgets(**changes: Any) -> dict[str, Any]:
    """Sample and Record's widgets."""
    sampler = {"seed": 0, "steps": 5, "cfg": 7.0, "sampler_name": "dpm_fast", "scheduler": "normal", "denoise": 1.0}
    what = {"attention": "cross", "blocks": "all", "heads": "mean", "record_steps": "last", "branch": "both"}
    more = {"budget": 100, "evaluations": "first", "precision": "half", "self_resolution": "latent"}
    more["keep_queries"] = False
    return sampler | what | more | changes


class Hidden:
    """Stands for what the host hides in a node."""

    unique_id = "1"


@pytest.mark.parametrize("steps", ["90", "40-50"])
def test_steps_that_were_never_made_cost_no_picture(sd15: Any, monkeypatch: Any, steps: str) -> None:
    """Oracle: the latent of the stock sampler; the maps are withheld, with the reason."""
    monkeypatch.setattr(SampleAndRecord, "hidden", Hidden(), raising=False)
    monkeypatch.setattr(GetAttentionMaps, "hidden", Hidden(), raising=False)
    conds = conditioning(seed=1), conditioning(seed=2)
    blank = {"samples": torch.zeros(1, 4, 8, 12)}
    plain = sample(sd15, *conds, Run(steps=5, sampler="dpm_fast"))
    latent, maps = SampleAndRecord.execute(sd15, *conds, blank, **widgets(record_steps=steps)).result
    assert torch.equal(latent["samples"], plain)
    assert "never evaluated: the sampler made 2 steps" in maps.message
    watched, book = record_attention(sd15, selection(steps=steps))
    result = {"samples": sample(watched, *conds, Run(steps=5, sampler="dpm_fast"))}
    withheld, passed_on = GetAttentionMaps.execute(book, result, 0).result
    assert "never evaluated" in withheld.message
    assert passed_on is result


def test_a_step_that_no_schedule_has_is_refused_before_anything_is_sampled(sd15: Any) -> None:
    """Oracle: the message; a sampler that follows its schedule makes just that many steps."""
    with pytest.raises(SelectionError, match=r"matches no step of this run, which has 5 steps \(0 to 4\)"):
        recorded(sd15, "euler", 5, "90")
    with pytest.raises(SelectionError, match="'sometimes' is not a choice of steps"):
        recorded(sd15, "dpm_fast", 5, "sometimes")


@pytest.mark.parametrize("place", ["evaluate", "step_done", "finish", "note_shapes"])
def test_what_fails_while_looking_on_never_costs_the_picture(sd15: Any, monkeypatch: Any, place: str) -> None:
    """Oracle: the picture without the recorder; the reason stands where the maps would."""
    import pack.host.recording.unet as host_unet

    kept = host_unet.Recorder

    def fail(self: Any, *_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(host_unet, "Recorder", type("Broken", (kept,), {place: fail}))
    conds = conditioning(seed=1), conditioning(seed=2)
    watched, book = record_attention(sd15, selection())
    latent = sample(watched, *conds, Run(steps=3))
    assert torch.equal(latent, sample(sd15, *conds, Run(steps=3)))
    assert "no room" in str(book.runs[0].recording)
