"""Steering and regions in one graph with all else: LoRAs, adapters, areas, masks, other sizes, more passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.hooks
import comfy.sd
import pytest
import torch
from comfy.controlnet import ControlBase
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from pack.host.acting.region import GatingRegion, gated, with_region
from pack.host.acting.run import with_act
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.place import Place
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.recording import AttentionMap, Recording
from pack.scenescope.attention.record.selection import POSITIVE, Selection
from pack.scenescope.errors import HostError, InputError
from pack.tests.host.acting.test_region import Held, half
from pack.tests.host.acting.test_replay import BESIDE
from pack.tests.host.acting.test_steering import (
    COLUMNS,
    EACH,
    FINEST,
    LEFT,
    PLACED,
    apart,
    bias_on_latent,
    by_override,
    closed_form,
    prompt,
    recording_of,
    replaced,
    run,
    steered,
)
from pack.tests.host.recording.test_ask import lora
from pack.tests.support.host.layouts import SD15, build
from pack.tests.support.host.runs import Run, conditioning
from pack.tests.support.host.watching import hooks_left


def before_and_after(model: Any, settings: Run | None = None, **more: Any) -> tuple[Recording, Recording]:
    """One steered run, recorded as it would have been and as it was."""
    watched, book = record_attention(model, replace(EACH, steered=False))
    after, latent = recording_of(watched, EACH, settings, **more)
    return book.find(latent)[0], after


def positive_pairs(before: Recording, after: Recording) -> list[tuple[AttentionMap, AttentionMap]]:
    """The maps of the positive prompt, before and after."""
    assert not after.skipped
    pairs = [pair for pair in zip(before.maps, after.maps, strict=True) if pair[0].address.branch == POSITIVE]
    assert pairs
    return pairs


PROMPTS: dict[str, Callable[[], Any]] = {
    "combined": lambda: prompt() + prompt(154),
    "masked": lambda: prompt(mask=torch.ones(1, 8, 12).triu()) + prompt(mask=torch.ones(1, 8, 12).tril()),
    "ranges": lambda: prompt(start_percent=0.0, end_percent=0.4) + prompt(start_percent=0.4, end_percent=1.0),
    "strengths": lambda: prompt(strength=0.3) + prompt(strength=2.0),
}


@pytest.mark.parametrize("name", list(PROMPTS))
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_every_conditioning_of_a_prompt_is_steered_exactly(sd15: Any, name: str, cfg: float) -> None:
    """Oracle: the closed form of odds, head by head, on the maps of the same run."""
    settings = Run(cfg=cfg, batch=2, steps=3)
    pairs = positive_pairs(*before_and_after(steered(sd15, PLACED), settings, positive=PROMPTS[name]()))
    assert {one.address.entry for one, _ in pairs} == {0, 1}
    assert all(torch.allclose(closed_form(one), other.maps, atol=3e-6) for one, other in pairs)


def test_the_second_of_two_equal_words_is_steered_alone(sd15: Any) -> None:
    """Oracle: the closed form with the column of the prompt's second `a`, counted by hand."""
    columns = [5]  # start, a red circle and a
    act = Steering("a#2", 3.0)
    for one, other in positive_pairs(*before_and_after(steered(sd15, act))):
        shares = one.maps.double()
        own = shares[..., columns]
        grown = 1 + own * (math.exp(3.0) - 1)
        assert torch.allclose(other.maps[..., columns].double(), own * math.exp(3.0) / grown, atol=3e-6)


@pytest.mark.parametrize("total", [48.0, -48.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_four_of_the_strongest_in_half_precision_stay_finite(total: float, dtype: torch.dtype) -> None:
    """Oracle: an invariant: finite pictures; the words have all of the attention, or none."""
    model = build(SD15, dtype=dtype)
    acts = [Steering("red circle", total / 4)] * 4
    after, latent = recording_of(steered(model, *acts))
    assert latent.isfinite().all()
    assert not after.skipped
    for item in after.maps:
        assert item.maps.isfinite().all()
        if item.address.branch == POSITIVE:
            share = item.maps[..., list(COLUMNS)].sum(dim=-1)
            assert float((share - float(total > 0)).abs().max()) < 1e-3


def test_a_lora_before_or_after_and_clones_in_between_make_no_difference(sd15: Any) -> None:
    """Oracle: the other order, bit for bit; and the LoRA does something."""
    weights = lora(sd15)
    patched = comfy.sd.load_lora_for_models(sd15, None, weights, 1.0, 1.0)[0]
    wanted = run(steered(patched, PLACED))
    later = comfy.sd.load_lora_for_models(steered(sd15, PLACED).clone().clone(), None, weights, 1.0, 1.0)[0]
    assert torch.equal(run(later), wanted)
    assert apart(run(steered(sd15, PLACED)), wanted) > 1e-3


def test_a_size_that_is_no_multiple_of_64_is_steered_exactly(sd15: Any, monkeypatch: Any) -> None:
    """Oracle: the host's override with the mask on the latent's own grid, 17x23 cells of 136x184 pixels; where
    coarser grids are steered too, the node names no layer as left out.
    """
    said: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: said.append(text))
    mask = torch.zeros(1, 17, 23)
    mask[..., :10] = 1
    bias = torch.zeros(1, 17, 23, 77)
    for column in COLUMNS:
        bias[:, :, :10, column], bias[:, :, 10:, column] = 6.0, -6.0
    settings = Run(size=(17, 23))
    wanted = run(by_override(sd15, bias.flatten(1, 2)), settings)
    assert apart(run(steered(sd15, replace(FINEST, place=Place(mask))), settings), wanted) < 1e-4
    run(steered(sd15, PLACED), settings)
    assert len(said) == 2
    assert not [text for text in said if "Error" in text or "cross" in text], said


def test_image_to_image_with_a_noise_mask_and_a_batch_is_steered_exactly(sd15: Any) -> None:
    """Oracle: the host's override with the mask written by hand."""
    options = {
        "latent_image": torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(3)),
        "noise_mask": torch.ones(2, 1, 64, 96).tril(),
    }
    settings = Run(batch=2, steps=4, denoise=0.5)
    bias = bias_on_latent(6.0, -6.0)
    batch = torch.cat([bias, bias])
    wanted = run(by_override(sd15, batch), settings, **options)
    assert apart(run(steered(sd15, FINEST), settings, **options), wanted) < 1e-4
    assert apart(run(sd15, settings, **options), wanted) > 0.01


def test_one_steered_model_serves_a_second_pass_at_another_size(sd15: Any) -> None:
    """Oracle: models steered for each size alone, bit for bit."""
    model, large = steered(sd15, PLACED), Run(size=(16, 24), denoise=0.5)
    alone = [run(steered(sd15, PLACED)), run(steered(sd15, PLACED), large)]
    assert torch.equal(run(model), alone[0])
    assert torch.equal(run(model, large), alone[1])
    assert torch.equal(run(model), alone[0])


class Control(ControlBase):
    """A ControlNet that adds one constant to the middle block; it has no attention of its own."""

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any) -> Any:
        """Residuals, as the host takes them."""
        return {"input": [], "middle": [torch.full((x_noisy.shape[0], 128, 1, 2), 0.5)], "output": []}

    def get_models(self) -> list[Any]:
        """None to load."""
        return []

    def copy(self) -> Control:
        """As the host copies it."""
        return self


def test_a_controlnet_works_on_and_the_node_says_what_it_does_not_steer(sd15: Any, monkeypatch: Any) -> None:
    """Oracle: the host's override with the mask, under the same ControlNet; and the sentence."""
    said: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: said.append(text))
    controlled = prompt(control=Control(), control_apply_to_uncond=True)
    wanted = run(by_override(sd15, bias_on_latent(6.0, -6.0)), positive=controlled)
    assert apart(run(steered(sd15, FINEST), positive=controlled), wanted) < 1e-4
    assert apart(run(steered(sd15, FINEST)), wanted) > 0.01
    assert ["ControlNet" in text for text in said] == [True, False]


@pytest.mark.parametrize("guidance", ["sag", "pag", "owner"])
def test_zero_strength_beside_other_patches_is_bit_identical(sd15: Any, guidance: str) -> None:
    """Oracle: the patched run without acts."""
    if guidance == "owner":
        model = replaced(sd15)
    else:
        node = SelfAttentionGuidance.execute(sd15, 0.5, 2.0) if guidance == "sag" else None
        model = (node or PerturbedAttentionGuidance.execute(sd15, 3.0))[0]
    settings = Run(size=(16, 24))
    nothing = replace(PLACED, strength=0.0, outside=0.0)
    assert torch.equal(run(steered(model, nothing), settings), run(model, settings))


def hooked(model: Any) -> Any:
    """A prompt of its own with a LoRA's hook, as Set CLIP Hooks leaves it."""
    return conditioning(seed=5, hooks=comfy.hooks.create_hook_lora(lora(model), 1.0, 1.0))


def test_a_region_gates_a_lora_as_the_hosts_masks_do(sd15: Any) -> None:
    """Oracle: the host's own conditioning masks and hooks; the LoRA does something; nothing is left on the model."""
    track = Held(half())
    model = with_region(sd15, GatingRegion("circle", track, freeze=0.0), None)
    gatings = run(model, Run(steps=3), positive=gated(prompt(), hooked(sd15), track, 1.0))
    left, right = half(), 1 - half()
    by_host = hooked(sd15)
    by_host[0][1]["mask"] = left
    wanted = run(sd15, Run(steps=3), positive=prompt(mask=right) + by_host)
    assert apart(gatings, wanted) < 1e-5
    without = run(sd15, Run(steps=3), positive=prompt(mask=right) + conditioning(seed=5, mask=left))
    assert apart(without, wanted) > 1e-3
    assert hooks_left(model) == 0


def test_a_live_region_gates_a_lora_from_the_second_evaluation_on(sd15: Any) -> None:
    """Oracle: a strength of 0, where the host evaluates the LoRA and gives it no place; and the run without it."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("circle", track, start=0.0), None)
    positive = gated(prompt(), hooked(sd15), track, 1.0)
    latent = run(model, Run(steps=4), positive=positive)
    assert 0 < float(track.mask().mean()) < 1
    plain = run(sd15, Run(steps=4))
    assert apart(latent, plain) > 1e-3
    none = RegionTrack()
    unseen = with_region(sd15, GatingRegion("circle", none, start=0.0), None)
    assert apart(run(unseen, Run(steps=4), positive=gated(prompt(), hooked(sd15), none, 0.0)), plain) < 1e-5


def test_after_a_cancel_a_region_holds_nothing_and_the_next_run_begins_anew(sd15: Any) -> None:
    """Oracle: the run that was never cancelled, bit for bit."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("circle", track, start=0.0), None)
    positive = gated(prompt(), conditioning(seed=5), track, 1.0)
    wanted = run(model, Run(steps=4), positive=positive)

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(model, Run(steps=4), positive=positive, callback=stop)
    assert track.now is None
    assert not track.steps
    assert torch.equal(run(model, Run(steps=4), positive=positive), wanted)


def test_words_are_steered_in_a_region_that_they_make_themselves(sd15: Any) -> None:
    """Oracle: an invariant: steering and region in either order give one picture, and the region is the steered one."""
    tracks = RegionTrack(), RegionTrack()
    one = steered(with_region(sd15, GatingRegion("circle", tracks[0], start=0.0), None), PLACED)
    other = with_region(steered(sd15, PLACED), GatingRegion("circle", tracks[1], start=0.0), None)
    latents = [
        run(model, Run(steps=3), positive=gated(prompt(), conditioning(seed=5), track, 1.0))
        for model, track in zip((one, other), tracks, strict=True)
    ]
    assert torch.equal(*latents)
    assert torch.equal(tracks[0].mask(), tracks[1].mask())
    assert float(tracks[0].mask()[..., 7:].mean()) == 0


@pytest.mark.parametrize("spoilt", ["nan", "inf"])
def test_a_mask_with_numbers_that_are_none_is_refused_with_the_reason(sd15: Any, spoilt: str) -> None:
    """Oracle: the sentence; one cell is enough."""
    mask = LEFT.clone()
    mask[0, 3, 3] = float(spoilt)
    with pytest.raises(InputError, match=r"the mask has values that are not numbers"):
        run(steered(sd15, replace(PLACED, place=Place(mask))))


def test_another_kind_of_model_is_refused_by_the_name_of_what_was_asked() -> None:
    """Oracle: the sentence, for a network without the U-Net's transformer blocks."""
    model, other = build(SD15), torch.nn.Sequential(torch.nn.Linear(2, 2))
    other.dtype = torch.float32  # the host asks every network for it
    model.model.diffusion_model = other
    with pytest.raises(HostError, match=r"^Steer Words: this model \(Sequential\) has no transformer blocks"):
        with_act(model, PLACED)


@pytest.mark.parametrize("order", ["recorder first", "act first"])
def test_a_recorder_keeps_what_the_acts_of_its_run_say(sd15: Any, order: str, monkeypatch: Any) -> None:
    """Oracle: what is said on the node."""
    said: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: said.append(text))
    watched, book = record_attention(sd15 if order == "recorder first" else steered(sd15, PLACED), EACH)
    latent = run(watched if order == "act first" else steered(watched, PLACED))
    recording = book.find(latent)[0]
    assert [recording.about["acts"]] == said
    assert "share in the place" in said[0]
    assert said[0] in recording.describe()
    plain, book = record_attention(sd15, EACH)
    assert "acts" not in book.find(run(plain))[0].about


def test_cells_are_held_together_in_self_attention_exactly_and_the_recorder_sees_it(sd15: Any) -> None:
    """Oracle: the softmax of the recorded queries and keys with the whole mask, in double precision, layer by layer."""
    own = Selection(
        kinds=("self",), keep_self_queries=True, self_times=1, heads="each", precision=torch.float32, steps="0"
    )
    holding = Steering("red circle", 0.0, place=Place(LEFT), together=2.0)
    recording, latent = recording_of(steered(sd15, holding), own)
    assert not recording.skipped
    for item in recording.maps:
        pair, grid = recording.projections[item.address], item.query_grid
        inside = (12 / grid.width * torch.arange(grid.width) < 6).double()
        if grid.width % 2:
            inside[grid.width // 2] = 0.5
        side = (2 * inside - 1).expand(grid).flatten()
        mask = 2.0 * side[:, None] * side[None] * (item.address.branch == POSITIVE)
        query, key = (each.double().unflatten(-1, (item.heads, -1)).transpose(1, 2) for each in (pair.query, pair.key))
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        assert torch.allclose((logits + mask).softmax(dim=-1).float(), item.maps, atol=1e-5)
    assert apart(latent, run(sd15)) > 1e-3
    assert torch.equal(run(steered(sd15, replace(holding, together=0.0))), run(sd15))


@pytest.mark.parametrize("name", ["sag", "pag", "owner", "override", "half"])
def test_holding_together_goes_on_beside_other_patches(sd15: Any, sd15_half: Any, name: str) -> None:
    """Oracle: an invariant: finite, another picture than without, and no hook left."""
    model = sd15_half if name == "half" else {**BESIDE, "half": lambda model: model}[name](sd15)
    settings = Run(size=(16, 24) if name == "sag" else (8, 12), batch=2)  # SAG blurs with nine cells
    latent = run(steered(model, replace(PLACED, together=1.0)), settings)
    assert latent.isfinite().all()
    assert apart(latent, run(steered(model, PLACED), settings)) > 1e-3
    assert hooks_left(model) == 0
