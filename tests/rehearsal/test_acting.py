"""Acting on a GPU: no step of a steered or gated run waits for the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region
from pack.host.acting.run import with_act
from pack.host.acting.steer import Odds, places_of, steered, steerings_of
from pack.host.recording.sampling import SamplerSettings, sample
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.scenescope.resample import resize
from pack.tests.rehearsal.counts import Counts, counting
from pack.tests.rehearsal.device import DEVICE
from pack.tests.rehearsal.recorded import Sampled, assert_on_host

LEFT = torch.zeros(1, 64, 96)
LEFT[..., :48] = 1
LENGTHS = (3, 5)
"""Steps of the runs that are compared; the first two are read, to see how often the sampler asks."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What acts say at the ends of their runs: what raises is left out, and told, so that no picture is lost to it."""
    texts: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: texts.append(text))
    return texts


def run(model: Any, positive: Any, negative: Any, steps: int) -> tuple[torch.Tensor, Counts]:
    """Some steps at 64x96 pixels, and what they cost."""
    how = SamplerSettings(0, steps, 5.0, "euler", "normal")
    with counting() as counts:
        latents = sample(model, positive, negative, {"samples": torch.zeros(1, 4, 8, 12)}, how)["samples"]
    return latents, counts


@pytest.fixture(scope="module")
def costs(demo: tuple[Any, ...], plain: Sampled) -> dict[str, list[Counts]]:
    """What plain runs of each length cost, with the prompt alone and with both as the positive one."""
    prompts = {"one": plain.positive, "both": plain.positive + plain.negative}
    with torch.inference_mode():
        return {
            name: [run(demo[0], its, plain.negative, steps)[1] for steps in LENGTHS] for name, its in prompts.items()
        }


def check_steps_wait_for_nothing(before: list[Counts], acting: Any, positive: Any, negative: Any) -> torch.Tensor:
    """What acting adds to a run's waits is the same for a short and a longer run; gives the longer one's latent."""
    more = []
    for steps, its in zip(LENGTHS, before, strict=True):
        latents, after = run(acting, positive, negative, steps)
        more.append(after.minus(its))
    assert more[1].waited <= more[0].waited, more[1].most()
    return latents


@pytest.mark.parametrize("placed", [False, True])
def test_a_steered_step_waits_for_nothing(
    placed: bool, demo: tuple[Any, ...], plain: Sampled, costs: dict[str, list[Counts]], told: list[str]
):
    """Oracle: plain runs of as many steps; biases are uploaded once a run, and nothing was left out."""
    places = places_of("red circle", [LEFT] if placed else [], None)
    model = steered(demo[0], steerings_of("red circle", places, Odds(end=1.0)))
    latents = check_steps_wait_for_nothing(costs["one"], model, plain.positive, plain.negative)
    assert_on_host(latents)
    assert len(told) == 2
    assert all("share" in text and "not steered" not in text for text in told), told


@pytest.mark.parametrize("by_attention", [False, True])
def test_a_step_with_a_live_region_waits_for_nothing(
    by_attention: bool, demo: tuple[Any, ...], plain: Sampled, costs: dict[str, list[Counts]]
):
    """Oracle: as above, with the second prompt in both runs; the region is on the host afterwards."""
    track = RegionTrack()
    model = with_region(demo[0], GatingRegion("circle", track, by_attention=by_attention), None)
    joined = gated(plain.positive, plain.negative, track, 1.0)
    latents = check_steps_wait_for_nothing(costs["both"], model, joined, plain.negative)
    assert_on_host(latents, region_mask(track, Grid(64, 96), -2))
    assert len(track.steps) == LENGTHS[1] - 1


@pytest.fixture(scope="module")
def tape(demo: tuple[Any, ...], plain: Sampled) -> Recording:
    """A run whose queries and keys were kept."""
    with torch.inference_mode():
        selection = Selection(kinds=("cross", "self"), keep_queries=True, keep_self_queries=True)
        watched, book = record_attention(demo[0], selection)
        run(watched, plain.positive, plain.negative, LENGTHS[0])
        return book.find(None)[0]


@pytest.mark.parametrize("free", [None, LEFT], ids=["whole", "around a free region"])
def test_a_replayed_step_waits_for_nothing(
    free: torch.Tensor | None,
    tape: Recording,
    demo: tuple[Any, ...],
    plain: Sampled,
    costs: dict[str, list[Counts]],
    told: list[str],
):
    """Oracle: as above; every layer's queries and keys come from pinned memory, columns once a run."""
    playing = Playing(cross=0.5 if free is not None else 1.0, self_attention=0.5, free=free)
    model = with_act(demo[0], Replay(tape, playing), None, "Replay Attention")
    latents = check_steps_wait_for_nothing(costs["one"], model, plain.positive, plain.negative)
    assert_on_host(latents)
    assert len(told) == 2
    assert all("Replayed" in text and "not replayed" not in text for text in told), told


def test_maps_are_brought_to_another_grid_without_a_wait():
    """Oracle: the CPU's numbers; weights come over once."""
    maps = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(3))
    far = maps.to(DEVICE)
    resize(far, Grid(16, 24))
    with counting() as counts:
        larger = resize(far, Grid(16, 24))
    assert counts.waited == 0, counts.most()
    assert torch.allclose(larger.cpu(), resize(maps, Grid(16, 24)))
