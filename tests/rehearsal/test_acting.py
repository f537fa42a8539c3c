"""Acting on a GPU: no step of a steered or gated run waits for the device, and recording it costs little more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import torch
from pack.host.acting.region import GATES_KEY, Gate, GatingRegion, gated, region_mask, with_region
from pack.host.acting.run import with_act
from pack.host.acting.steer import Odds, places_of, steered, steerings_of
from pack.host.prompts.text import TOKENS_KEY
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.acts import ModelCall
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.layers import find_layers
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.scenescope.resample import resize
from pack.tests.rehearsal.recorded import Sampled, a_steps_cost, assert_on_host, sampled
from pack.tests.rehearsal.simulated.counts import Counts, counting
from pack.tests.rehearsal.simulated.device import DEVICE
from pack.tests.support.recordings import Run, entry, record

LEFT = torch.zeros(1, 64, 96)
LEFT[..., :48] = 1
EVERYTHING = Selection(kinds=("cross", "self"), keep_queries=True, keep_self_queries=True)
LAUNCHES = {"steered": 129, "placed": 129, "together": 355, "region": 25, "mixed": 296, "replayed": 99, "free": 147}
"""What acting adds to the launches of a step: 1 % over what was counted (128, 128, 352, 25, 293, 98 and 146), so that
one more in each layer, or each of a region's, is too many."""
RECORDED = {"placed": 234, "together": 490, "replayed": 192}
"""What acting and recording everything add: 232, 488 and 190, so that one more in each size of layers is too many."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What acts say at the ends of their runs: what raises is left out, and told, so that no picture is lost to it."""
    texts: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: texts.append(text))
    return texts


Costs = Callable[[str], Counts]


@pytest.fixture(scope="module")
def costs(demo: tuple[Any, ...], plain: Sampled) -> Costs:
    """What a plain step costs, with the prompt alone or with both as the positive one; each is run once, if asked."""
    prompts = {"one": plain.positive, "both": plain.positive + plain.negative}
    return cache(lambda name: a_steps_cost(demo[0], prompts[name], plain.negative)[1])


def check_step(
    before: Counts, model: Any, positive: Any, negative: Any, *, launches: int, waits: int = 0
) -> torch.Tensor:
    """What a step adds to a plain one; gives the run's latent."""
    latents, counts = a_steps_cost(model, positive, negative)
    more = counts.minus(before)
    assert more.waited <= waits, more.most()
    assert more.launches <= launches, (more.launches, counts.operations.most_common(6))
    return latents


def steering(name: str, model: Any) -> Any:
    """MODEL with two words steered, everywhere or in a place."""
    places = places_of("red circle", [] if name == "steered" else [LEFT], None)
    odds = Odds(end=1.0, together=2.0 if name == "together" else 0.0)
    return steered(model, steerings_of("red circle", places, odds))


def replaying(name: str, model: Any, tape: Recording) -> Any:
    """MODEL that replays a run, whole or, from its third step on, around a free region."""
    free = LEFT if name == "free" else None
    until = 1.0 if free is None else 0.4
    playing = Playing(cross=until, self_attention=until, free=free)
    return with_act(model, Replay(tape, playing))


@pytest.mark.parametrize("name", ["steered", "placed", "together"])
def test_a_steered_step_waits_for_nothing(
    name: str, demo: tuple[Any, ...], plain: Sampled, costs: Costs, told: list[str]
):
    """Oracle: a plain run's step; biases are uploaded once a run, and nothing was left out."""
    model = steering(name, demo[0])
    latents = check_step(costs("one"), model, plain.positive, plain.negative, launches=LAUNCHES[name])
    assert_on_host(latents)
    assert len(told) == 1
    assert all("share" in text and "not steered" not in text for text in told), told


@pytest.mark.parametrize("name", ["region", "mixed"])
def test_a_step_with_a_live_region_waits_for_nothing(name: str, demo: tuple[Any, ...], plain: Sampled, costs: Costs):
    """Oracle: as above, with the second prompt in both runs; the region is on the host afterwards."""
    track = RegionTrack()
    model = with_region(demo[0], GatingRegion("circle", track, by_attention=name == "mixed"), None)
    joined = gated(plain.positive, plain.negative, track, 1.0)
    latents = check_step(costs("both"), model, joined, plain.negative, launches=LAUNCHES[name])
    assert_on_host(latents, region_mask(track, Grid(64, 96), -2))
    assert len(track.steps) == 4


def test_a_region_is_brought_from_the_gpu_of_several_that_answered(demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the CPU, which stands for the run's own GPU here: the masks of the next evaluation lie there."""
    track, given = RegionTrack(), plain.positive[0][1]
    entry = Entry("positive", 0, tokens=77, table=given[TOKENS_KEY])
    layers = tuple(item.layer for item in find_layers(demo[0].model.diffusion_model))
    act = GatingRegion("circle", track, start=0.0).begin(RunSpec(layers, Grid(8, 12), 1, (9.0, 5.0, 0.0), (entry,)))
    call = ModelCall((entry,), 1, Grid(8, 12), step=0)
    for layer in (each for each in layers if act.watches(each, call)):
        query, key = (torch.rand(1, count, layer.heads * 8).to(DEVICE) for count in (96, 77))
        act.see(layer, query, key, Grid(8, 12), call, lambda position: None)
    items = [[{"uuid": 1, GATES_KEY: (Gate(track, "outside", 1.0),)}]]
    (masked,) = act.gate(items, {(0, 1): entry}, True, torch.device("cpu"))[0]
    assert_on_host(masked["mask"])
    act.finish({})
    assert_on_host(*track.steps.values())


@pytest.fixture(scope="module")
def tape(demo: tuple[Any, ...], plain: Sampled) -> Recording:
    """A run whose queries and keys were kept."""
    with torch.inference_mode():
        watched, book = record_attention(demo[0], EVERYTHING)
        sampled(watched, plain.positive, plain.negative, steps=5)
        return book.find(None)[0]


@pytest.mark.parametrize("name", ["replayed", "free"])
def test_a_replayed_step_waits_for_nothing(
    name: str,
    tape: Recording,
    demo: tuple[Any, ...],
    plain: Sampled,
    costs: Costs,
    told: list[str],
):
    """Oracle: as above; every layer's queries and keys come from pinned memory, columns once a run."""
    model = replaying(name, demo[0], tape)
    latents = check_step(costs("one"), model, plain.positive, plain.negative, launches=LAUNCHES[name])
    assert_on_host(latents)
    assert len(told) == 1
    assert all("Replayed" in text and "not replayed" not in text for text in told), told


@pytest.mark.parametrize("in_turn", [False, True])
def test_each_gpu_of_several_is_sent_what_is_its_own_in_one_upload(in_turn: bool):
    """Oracle: by hand: an upload for each call, whether its layers are asked for at once or in turn with the other's;
    the host gives each GPU a thread.
    """
    entries = entry("a red cat"), entry("", branch="negative")
    recording = record(Run(steps=1, selection=Selection(keep_queries=True), entries=entries))
    both = Playing(cross=1.0, branches=("positive", "negative"))
    act = Replay(recording, both).begin(RunSpec(recording.layers, recording.latent, 2, recording.sigmas, entries))
    calls = [ModelCall((each,), 2, recording.latent, step=0) for each in entries]
    places = [(at, layer) for at in range(2) for layer in recording.layers]
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        asked = sorted(places, key=lambda place: place[1].order) if in_turn else places
        writes = [(first, second)[at].submit(act.write, layer, calls[at]).result() for at, layer in asked]
    grids = [layer.grid(recording.latent) for _, layer in asked]
    given = [torch.rand(2, grid.cells, 8).to(DEVICE) for grid in grids]
    with counting() as counts:
        for write, query, grid in zip(writes, given, grids, strict=True):
            write.query(query, grid)
    assert counts.operations["aten.copy_.default"] == 2, counts.operations


@pytest.mark.parametrize("name", RECORDED)
def test_an_act_is_recorded_with_one_wait_a_step(
    name: str, tape: Recording, demo: tuple[Any, ...], plain: Sampled, costs: Costs
):
    """Oracle: a plain run's step, and the budget; nothing is skipped."""
    acting = replaying(name, demo[0], tape) if name == "replayed" else steering(name, demo[0])
    watched, book = record_attention(acting, EVERYTHING)
    check_step(costs("one"), watched, plain.positive, plain.negative, launches=RECORDED[name], waits=1)
    assert dict(book.find(None)[0].skipped) == {}


def test_maps_are_brought_to_another_grid_without_a_wait():
    """Oracle: the CPU's numbers; weights come over once."""
    maps = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(3))
    far = maps.to(DEVICE)
    resize(far, Grid(16, 24))
    with counting() as counts:
        larger = resize(far, Grid(16, 24))
    assert counts.waited == 0, counts.most()
    assert torch.allclose(larger.cpu(), resize(maps, Grid(16, 24)))
