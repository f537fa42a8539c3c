"""A word's region in the real host: what it gates, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region
from pack.nodes.region import GetRegionMask
from pack.scenescope.attention.act.region import RegionTrack, margins_of, region_of
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, WordError
from pack.scenescope.resample import resize
from pack.tests.host.acting.test_steering import apart, prompt, run, table
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import hooks_left

SETTINGS = Run(steps=4)
OTHER = conditioning(seed=5)
GRIDS = (Grid(8, 12), Grid(4, 6), Grid(2, 3), Grid(1, 2))


class Held(RegionTrack):
    """A region that is given by hand, and stays."""

    def __init__(self, mask: torch.Tensor | None) -> None:
        super().__init__()
        self._held, self.now = mask, mask

    def restart(self) -> None:
        """A new run begins, with the same region."""
        self.now, self.steps = self._held, {}


def gating(model: Any, mask: torch.Tensor | None, strength: float = 1.0, settings: Run = SETTINGS) -> torch.Tensor:
    """Sample with the base prompt outside a region held by hand and another prompt inside."""
    track = Held(mask)
    model = with_region(model, GatingRegion("circle", track, freeze=0.0), None)
    return run(model, settings, positive=gated(prompt(), OTHER, track, strength))


def half() -> torch.Tensor:
    """The left half of the 8x12 latent."""
    mask = torch.zeros(1, 8, 12)
    mask[..., :6] = 1
    return mask


def test_a_region_of_everything_gives_the_gated_prompt_and_one_of_nothing_the_base(sd15: Any) -> None:
    """Oracle: each prompt alone."""
    inside, base = run(sd15, SETTINGS, positive=OTHER), run(sd15, SETTINGS)
    assert apart(gating(sd15, torch.ones(1, 8, 12)), inside) < 1e-5
    assert apart(gating(sd15, torch.zeros(1, 8, 12)), base) < 1e-5
    assert apart(gating(sd15, torch.ones(1, 8, 12), strength=0.0), base) < 1e-5


def test_a_region_gates_as_the_hosts_own_masks_do(sd15: Any) -> None:
    """Oracle: the host's conditioning masks, one half each."""
    left, right = half(), 1 - half()
    masked = prompt(mask=right) + conditioning(seed=5, mask=left)
    assert apart(gating(sd15, half()), run(sd15, SETTINGS, positive=masked)) < 1e-5


@pytest.mark.parametrize(("masks", "images"), [(3, 1), (2, 4), (1, 2)])
def test_a_batch_of_masks_on_a_gated_prompt_counts_as_the_host_counts_it(sd15: Any, masks: int, images: int) -> None:
    """Oracle: the host's own masks, one for each picture: too many are cut, too few begin afresh."""
    settings = Run(steps=2, batch=images)
    own = torch.rand(masks, 8, 12, generator=torch.Generator().manual_seed(4))
    track = Held(half().expand(images, -1, -1))
    model = with_region(sd15, GatingRegion("circle", track, freeze=0.0), None)
    found = run(model, settings, positive=gated(prompt(mask=own), OTHER, track, 1.0))
    each = own.repeat(images, 1, 1)[:images]
    by_host = prompt(mask=each * (1 - half())) + conditioning(seed=5, mask=half())
    assert apart(found, run(sd15, settings, positive=by_host)) < 1e-5


def in_one_pass(model: Any, mask: torch.Tensor, settings: Run = SETTINGS, other: Any = OTHER) -> torch.Tensor:
    """The same with the inside prompt mixed into the base's attention."""
    track = Held(mask)
    model = with_region(model, GatingRegion("circle", track, freeze=0.0, by_attention=True), None)
    return run(model, settings, positive=gated(prompt(), other, track, 1.0))


@pytest.mark.parametrize("tokens", [77, 154])
def test_in_one_pass_a_region_of_everything_or_nothing_is_one_prompt_alone(sd15: Any, tokens: int) -> None:
    """Oracle: each prompt alone; the inside prompt may be longer than the base's."""
    other = conditioning(tokens, seed=5)
    inside, base = run(sd15, SETTINGS, positive=other), run(sd15, SETTINGS)
    assert apart(in_one_pass(sd15, torch.ones(1, 8, 12), other=other), inside) < 1e-4
    assert apart(in_one_pass(sd15, torch.zeros(1, 8, 12), other=other), base) < 1e-5


def test_in_one_pass_each_cell_attends_to_its_own_prompt(sd15: Any) -> None:
    """Oracle: an owner of every block that computes both prompts and puts halves together; calls are counted."""
    calls: list[int] = []

    def wrapper(apply_model: Any, options: dict[str, Any]) -> Any:
        calls.append(len(options["cond_or_uncond"]))
        return apply_model(options["input"], options["timestep"], **options["c"])

    model = sd15.clone()
    model.set_model_unet_function_wrapper(wrapper)
    latent = in_one_pass(model, half())
    assert calls == [2] * SETTINGS.steps  # the negative and the base: no third row
    wanted = run(by_halves(sd15, OTHER[0][0]), SETTINGS)
    assert apart(latent, wanted) < 1e-4
    assert apart(latent, run(sd15, SETTINGS)) > 0.01


def by_halves(model: Any, text: torch.Tensor) -> Any:
    """The host's own replace slot on every block: the left half of the positive's cells looks at another prompt."""
    owner = model.clone()
    unet = owner.model.diffusion_model
    blocks = {("middle", 0): unet.middle_block}
    blocks |= {("input", number): unet.input_blocks[number] for number in (1, 2, 4, 5, 7, 8)}
    blocks |= {("output", number): unet.output_blocks[number] for number in range(3, 12)}
    for (section, number), block in blocks.items():
        (layer,) = (part.attn2 for part in block.modules() if hasattr(part, "attn2"))

        def replaced(q: Any, k: Any, v: Any, extra: dict[str, Any], layer: Any = layer) -> Any:
            own = attention_pytorch(q, k, v, extra["n_heads"])
            there = attention_pytorch(q[1:], layer.to_k(text), layer.to_v(text), extra["n_heads"])
            grid = next(grid for grid in GRIDS if grid.cells == q.shape[1])
            left = resize(half(), grid).flatten(1)[..., None]
            return torch.cat([own[:1], torch.lerp(own[1:], there, left)])  # the negative is first

        owner.set_model_attn2_replace(replaced, section, number)
    return owner


PASSES = {
    "a strength": {"strength": 0.5},
    "an area": {"area": (8, 6, 0, 0)},
    "a mask": {"mask": torch.ones(1, 64, 96)},
    "a range of steps": {"start_percent": 0.0, "end_percent": 0.6},
    "a mask, a strength": {"mask": torch.ones(1, 64, 96), "strength": 0.5},
    "a prompt for each picture": {"batch": 2},
}
"""What gives a prompt a pass of its own, by how the node says it."""


@pytest.mark.parametrize("why", PASSES)
def test_a_prompt_that_needs_a_pass_of_its_own_gets_it_and_the_node_says_why(
    why: str, sd15: Any, monkeypatch: Any
) -> None:
    """Oracle: the run that mixes predictions, bit for bit; the sentence."""
    said: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: said.append(text))
    other = conditioning(seed=5, **PASSES[why])
    latents = []
    for by_attention in (True, False):
        track = Held(half())
        model = with_region(sd15, GatingRegion("circle", track, freeze=0.0, by_attention=by_attention), None)
        latents.append(run(model, SETTINGS, positive=gated(prompt(), other, track, 1.0)))
    assert torch.equal(*latents)
    assert [f"has a pass of its own: it has {why}" in text for text in said] == [True, False]


def test_two_regions_in_one_pass_share_the_picture(sd15: Any) -> None:
    """Oracle: the second prompt alone where its region is everything, whatever the first one's is."""
    tracks = Held(half()), Held(torch.ones(1, 8, 12))
    model, positive = sd15, prompt()
    for track, seed in zip(tracks, (5, 6), strict=True):
        model = with_region(model, GatingRegion("circle", track, freeze=0.0, by_attention=True), None)
        positive = gated(positive, conditioning(seed=seed), track, 1.0)
    wanted = run(sd15, SETTINGS, positive=conditioning(seed=6))
    assert apart(run(model, SETTINGS, positive=positive), wanted) < 1e-4


def test_before_there_is_a_region_the_base_has_all_of_the_picture(sd15: Any) -> None:
    """Oracle: the base prompt alone, bit for bit, where the region never begins."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("circle", track, start=1.0), None)
    latent = run(model, SETTINGS, positive=gated(prompt(), OTHER, track, 1.0))
    assert torch.equal(latent, run(sd15, SETTINGS))
    with pytest.raises(InputError, match="there is no region"):
        track.mask()


def test_following_alone_changes_nothing_and_leaves_nothing(sd15: Any) -> None:
    """Oracle: the run without it, bit for bit; hooks counted."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("red circle", track), None)
    assert torch.equal(run(model, SETTINGS), run(sd15, SETTINGS))
    assert hooks_left(model) == 0
    assert track.now is None
    assert sorted(track.steps) == [1, 2, 3]  # 0.05 of four steps: from the second on


def test_the_region_is_cut_out_of_the_words_own_maps(sd15: Any) -> None:
    """Oracle: the recorded maps of the same step: up blocks of the grid nearest to 16x16, here the latent's own."""
    from pack.host.recording.unet import record_attention
    from pack.scenescope.attention.record.selection import Selection

    track = RegionTrack()
    watched, runs = record_attention(sd15, Selection(precision=torch.float32, branches=("positive",)))
    latent = run(with_region(watched, GatingRegion("red circle, square", track, cut=0.7), None), SETTINGS)
    recording = runs.find(latent)[0]
    for step in (1, 3):
        maps = [
            item.maps[:, 0, :, [2, 3, 7]].mean(dim=-1).unflatten(-1, (8, 12))
            for item in recording.maps
            if item.address.step == step and item.address.block in ("output 9", "output 10", "output 11")
        ]
        assert len(maps) == 3
        wanted = region_of(torch.stack(maps).mean(dim=0), None, 0.7, 0)
        assert torch.equal(track.mask(step), wanted)
    assert region_mask(track, Grid(64, 96), -2).shape == (3, 64, 96)


def test_a_batch_has_a_region_for_each_picture(sd15: Any) -> None:
    """Oracle: sizes; the pictures are gated apart."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("circle", track), None)
    latent = run(model, replace(SETTINGS, batch=3), positive=gated(prompt(), OTHER, track, 0.5))
    assert latent.isfinite().all()
    assert track.mask().shape == (3, 8, 12)
    assert not torch.equal(track.mask()[0], track.mask()[1])


def test_each_of_several_samplers_finds_the_region_of_its_own_run(sd15: Any) -> None:
    """Oracle: the region right after each run; of a latent that no run made it is the last one's."""
    track = RegionTrack()
    model = with_region(sd15, GatingRegion("circle", track, start=0.0), None)
    runs = {}
    for settings in (Run(seed=1), Run(seed=2), Run(seed=1, size=(16, 8))):
        latent = run(model, settings)
        runs[latent] = track.mask()
    assert not torch.equal(*list(runs.values())[:2])

    def stop(*_: Any) -> None:
        raise InterruptedError

    for latent, mask in runs.items():
        (found,) = GetRegionMask.execute(track, {"samples": latent}, -1).args
        height, width = latent.shape[-2:]
        assert torch.equal(found, region_mask(track.of(latent), Grid(8 * height, 8 * width), -1))
        assert torch.equal(track.of(latent).mask(), mask)
    assert torch.equal(track.of(latent + 1).mask(), mask)
    with pytest.raises(InterruptedError):
        run(model, callback=stop)
    assert torch.equal(track.of(latent).mask(), mask)


def test_every_pass_of_an_evaluation_is_gated_by_one_region(sd15: Any) -> None:
    """Oracle: by hand: the masks of the base prompt in both passes of PAG, noted beside the pack, are equal."""
    noted: list[torch.Tensor | None] = []
    track = RegionTrack()
    model = with_region(
        PerturbedAttentionGuidance.execute(sd15, 3.0)[0], GatingRegion("circle", track, start=0.0), None
    )

    def note(executor: Any, unet: Any, conds: Any, *rest: Any) -> Any:
        noted.append(conds[0][0].get("mask"))
        return executor(unet, conds, *rest)

    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "noting", note)
    run(model, SETTINGS, positive=gated(prompt(), OTHER, track, 1.0))
    assert noted[:2] == [None, None]
    assert len(noted) == 2 * SETTINGS.steps
    assert all(torch.equal(one, other) for one, other in zip(noted[2::2], noted[3::2], strict=True))
    assert not torch.equal(noted[2], noted[4])


def test_inpainting_happens_on_one_side_of_the_region_after_other_functions(sd15: Any) -> None:
    """Oracle: the latent given, which stays outside the region to rounding; Differential Diffusion is still asked."""
    track = Held(half())
    model = with_region(sd15, GatingRegion("circle", track, freeze=0.0), None, "inside")
    given = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 1, 64, 96)
    options = {"latent_image": given, "noise_mask": mask}
    latent = sample(model, prompt(), conditioning(seed=2), SETTINGS, **options)
    assert torch.allclose(latent[..., 6:], given[..., 6:], atol=1e-4)
    assert not torch.allclose(latent[..., :6], given[..., :6], atol=0.1)
    gradual = with_region(
        DifferentialDiffusion.execute(sd15)[0], GatingRegion("circle", track, freeze=0.0), None, "inside"
    )
    late = sample(gradual, prompt(), conditioning(seed=2), SETTINGS, **options | {"noise_mask": 0.5 * mask})
    assert torch.allclose(late[..., 6:], given[..., 6:], atol=1e-4)
    assert not torch.allclose(late[..., :6], latent[..., :6], atol=0.1)  # it lets the picture go halfway through


def test_words_that_are_not_there_are_refused_before_sampling(sd15: Any) -> None:
    """Oracle: the sentences."""
    with pytest.raises(WordError, match="dog"):
        run(with_region(sd15, GatingRegion("dog", RegionTrack()), None))
    with pytest.raises(WordError, match="Trace Words"):
        run(with_region(sd15, GatingRegion("circle", RegionTrack()), None), positive=conditioning(seed=1))
    with pytest.raises(WordError, match="no words were given"):
        run(with_region(sd15, GatingRegion(" ", RegionTrack()), None))
    assert "circle" in table().prompt


def test_a_region_is_widened_narrowed_and_beaten_by_rivals():
    """Oracle: drawn by hand."""
    own = torch.zeros(1, 5, 5)
    own[0, 1:4, 1:4] = 0.5
    own[0, 2, 2] = 1
    assert region_of(own, None, 0.4, 0).sum() == 9
    assert region_of(own, None, 0.4, 1).sum() == 25
    assert region_of(own, None, 0.4, -1).sum() == 1
    rival = torch.zeros(1, 1, 5, 5)
    rival[0, 0, :, 3] = 2
    assert region_of(own, rival, 0.4, 0)[0, :, 3].sum() == 0
    assert region_of(own, rival, 0.4, 0).sum() == 6


def test_the_edge_of_a_finished_region_runs_between_the_cells():
    """Oracle: by hand: a map that falls from 1 to 0 within two cells of 8 pixels is cut at 0.625 three eighths of the
    way between their middles, 7 pixels from the left; cut before it was enlarged, it would end at 8."""
    track = RegionTrack()
    track.steps = {0: margins_of(torch.tensor([[[1.0, 0.0]]]), None, 0.625, 0)}
    assert track.mask().tolist() == [[[1.0, 0.0]]]
    fine = region_mask(track, Grid(1, 16), -1)
    assert fine.tolist() == [[[1.0] * 7 + [0.0] * 9]]
