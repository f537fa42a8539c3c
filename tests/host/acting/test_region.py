"""A word's region in the real host: what it gates, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region
from pack.scenescope.attention.act.region import RegionTrack, region_of
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, WordError
from pack.tests.host.acting.test_steering import apart, hooks, prompt, run, table
from pack.tests.support.host.runs import Run, conditioning, sample

SETTINGS = Run(steps=4)
OTHER = conditioning(seed=5)


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
    assert hooks(model) == 0
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
