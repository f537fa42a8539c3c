"""Under `--gpu-only` pictures, masks and latents come on the GPU; they are taken from anywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.host.concepts.generate import empty_latent
from pack.host.prompts.text import trace_words
from pack.host.recording.unet import record_attention
from pack.nodes.heatmap import HeatmapOverlay
from pack.nodes.masks import MapToMask
from pack.nodes.record import GetAttentionMaps
from pack.nodes.scene import BuildScene
from pack.scenescope.attention.record.selection import Selection
from pack.tests.rehearsal.recorded import assert_on_host, encode, sampled
from pack.tests.rehearsal.simulated.device import DEVICE
from pack.tests.rehearsal.simulated.host import keep_all_on_device
from pack.tests.rehearsal.supply import result_of

PICTURE = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
MASK = (torch.rand(1, 64, 96, generator=torch.Generator().manual_seed(2)) > 0.5).float()
PLACES = [("cpu", DEVICE), (DEVICE, "cpu"), (DEVICE, DEVICE)]


@pytest.fixture(autouse=True)
def gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host as with `--gpu-only`."""
    keep_all_on_device(monkeypatch)


@pytest.mark.parametrize(("first", "second"), PLACES)
def test_overlay_takes_picture_and_mask_from_anywhere(first: Any, second: Any):
    """Oracle: the same on the CPU."""
    near = result_of(HeatmapOverlay, image=PICTURE, mask=MASK, opacity=0.7, colours="inferno")[0]
    made = result_of(HeatmapOverlay, image=PICTURE.to(first), mask=MASK.to(second), opacity=0.7, colours="inferno")[0]
    assert torch.equal(made, near)


@pytest.mark.parametrize(("first", "second"), PLACES)
@pytest.mark.parametrize("method", ["fraction", "otsu"])
def test_masks_are_cut_and_measured_from_anywhere(method: str, first: Any, second: Any):
    """Oracle: the same on the CPU."""
    values = {"method": method, "threshold": 0.5, "refine": 0}
    near = result_of(MapToMask, mask=PICTURE[..., 0], truth=MASK, **values)
    made = result_of(MapToMask, mask=PICTURE[..., 0].to(first), truth=MASK.to(second), **values)
    assert torch.equal(made[0], near[0])
    assert made[1] == near[1]


@pytest.mark.parametrize(("first", "second"), PLACES)
def test_a_scene_is_built_from_anywhere(first: Any, second: Any):
    """Oracle: the scene built on the CPU has the same digest."""
    texts = {"handles": "", "words": "cat", "background": "<bg>", "resolution": 64}
    near = result_of(BuildScene, image=PICTURE, masks={"mask0": MASK}, **texts)[0]
    made = result_of(BuildScene, image=PICTURE.to(first), masks={"mask0": MASK.to(second)}, **texts)
    assert made[0].digest == near.digest
    assert_on_host(made[0].pictures, made[0].masks)


@pytest.mark.parametrize("place", ["cpu", DEVICE])
def test_pictures_in_half_precision_are_taken_too(place: Any):
    """Oracle: the same in single precision: with `--fp16-intermediates` the host's own nodes give halves."""
    image, mask = (part.half().to(place) for part in (PICTURE, MASK))
    near = result_of(HeatmapOverlay, image=image.float(), mask=mask.float(), opacity=0.7, colours="inferno")[0]
    assert torch.equal(result_of(HeatmapOverlay, image=image, mask=mask, opacity=0.7, colours="inferno")[0], near)
    texts = {"handles": "", "words": "cat", "background": "<bg>", "resolution": 64}
    near = result_of(BuildScene, image=image.float(), masks={"mask0": mask.float()}, **texts)[0]
    assert result_of(BuildScene, image=image, masks={"mask0": mask}, **texts)[0].digest == near.digest


def test_a_run_is_found_by_its_latent_on_the_device(demo: tuple[Any, ...]):
    """Oracle: the run says that it made this latent, and its picture is shown beside its maps."""
    model, clip, _ = demo
    clip = trace_words(clip)
    watched, book = record_attention(model, Selection())
    latents = sampled(watched, encode(clip, "a photo of a red circle"), encode(clip, "")).latents
    assert latents.device == DEVICE
    assert book.find(latents)[1] == "run 1 of 1, the one that made this latent"
    assert_on_host(*(run.output for run in book.runs))  # runs are remembered, and would keep the device's memory
    picture = torch.rand(1, 64, 96, 3).to(DEVICE)
    maps, passed_on = result_of(GetAttentionMaps, recorder=book, result=picture, run=0)
    assert maps.maps
    assert passed_on is picture
    assert empty_latent(64, 64)["samples"].device == DEVICE
