"""Under `--gpu-only` pictures, masks and latents come on the GPU; every node takes them, and mixed ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_api.latest import io
from pack.host.concepts.generate import empty_latent
from pack.host.prompts.text import trace_words
from pack.host.recording.unet import record_attention
from pack.nodes import NODES
from pack.nodes.heatmap import HeatmapOverlay
from pack.nodes.masks import MapToMask
from pack.nodes.record import GetAttentionMaps
from pack.nodes.scene import BuildScene
from pack.scenescope.attention.record.selection import Selection
from pack.tests.rehearsal.device import DEVICE
from pack.tests.rehearsal.host import keep_all_on_device
from pack.tests.rehearsal.recorded import assert_on_host, encode, sampled

PICTURE = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
MASK = (torch.rand(1, 64, 96, generator=torch.Generator().manual_seed(2)) > 0.5).float()
PLACES = [("cpu", DEVICE), (DEVICE, "cpu"), (DEVICE, DEVICE)]


@pytest.fixture(autouse=True)
def gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host as with `--gpu-only`."""
    keep_all_on_device(monkeypatch)


def run(node: Any, **inputs: Any) -> tuple[Any, ...]:
    """Execute a node as the host does: on a prepared clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).execute(**inputs).result


@pytest.mark.parametrize(("first", "second"), PLACES)
def test_overlay_takes_picture_and_mask_from_anywhere(first: Any, second: Any):
    """Oracle: the same on the CPU."""
    near = run(HeatmapOverlay, image=PICTURE, mask=MASK, opacity=0.7, colours="inferno")[0]
    made = run(HeatmapOverlay, image=PICTURE.to(first), mask=MASK.to(second), opacity=0.7, colours="inferno")[0]
    assert torch.equal(made, near)


@pytest.mark.parametrize(("first", "second"), PLACES)
@pytest.mark.parametrize("method", ["fraction", "otsu"])
def test_masks_are_cut_and_measured_from_anywhere(method: str, first: Any, second: Any):
    """Oracle: the same on the CPU."""
    values = {"method": method, "threshold": 0.5, "refine": 0}
    near = run(MapToMask, mask=PICTURE[..., 0], truth=MASK, **values)
    made = run(MapToMask, mask=PICTURE[..., 0].to(first), truth=MASK.to(second), **values)
    assert torch.equal(made[0], near[0])
    assert made[1] == near[1]


@pytest.mark.parametrize(("first", "second"), PLACES)
def test_a_scene_is_built_from_anywhere(first: Any, second: Any):
    """Oracle: the scene built on the CPU has the same digest."""
    texts = {"handles": "", "words": "cat", "background": "<bg>", "resolution": 64}
    near = run(BuildScene, image=PICTURE, masks={"mask0": MASK}, **texts)[0]
    made = run(BuildScene, image=PICTURE.to(first), masks={"mask0": MASK.to(second)}, **texts)
    assert made[0].digest == near.digest
    assert_on_host(made[0].pictures, made[0].masks, made[1])


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
    assert run(GetAttentionMaps, recorder=book, result=picture, run=0)[0].maps
    assert empty_latent(64, 64)["samples"].device == DEVICE


def test_every_node_with_pictures_brings_them_to_the_cpu_at_its_entrance():
    """Oracle: the schemas: a node that has a picture or a mask among its inputs has the entrance."""
    without = []
    for node in NODES:
        inputs = [part for one in node.define_schema().inputs for part in one.get_all()]
        if any(isinstance(part, io.Image.Input | io.Mask.Input) for part in inputs):
            without += [] if hasattr(node.execute.__func__, "__wrapped__") else [node.__name__]
    assert without == []
