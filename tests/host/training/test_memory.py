"""How much memory a run takes, said beforehand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.ops
import comfy.sd1_clip
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from pack.host.training.memory import memory_wanted, with_precision
from pack.scenescope.errors import InputError
from pack.scenescope.training.scene.scene import Concept, Scene
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.tests.support.host.checkpoint import FULL_UNET

GIB = 2**30
COUNTED = [
    (lora_settings(precision="float16"), 512, False, 3.19),
    (lora_settings(precision="float16"), 512, True, 2.20),
    (lora_settings(precision="float32"), 512, False, 5.54),
    (lora_settings(precision="float32"), 512, True, 4.15),
    (full_settings(precision="float16", prior="frozen"), 512, False, 10.11),
    (full_settings(precision="float16", prior="frozen"), 512, True, 9.20),
    (full_settings(precision="bfloat16"), 512, False, 11.87),
    (full_settings(precision="bfloat16"), 512, True, 9.44),
]
"""Peaks in GiB of the trainer itself, run at full size on tensors that have shapes and no numbers (torch's
FakeTensorMode), with every storage counted; checkpoint in half precision."""


@pytest.fixture(scope="module")
def full_size() -> tuple[Any, Any]:
    """MODEL and CLIP of SD1.5's size without numbers."""
    unet = UNetModel(**{**FULL_UNET, "dtype": torch.float16}, device="meta", operations=comfy.ops.disable_weight_init)
    encoder = comfy.sd1_clip.SDClipModel(device="meta", dtype=torch.float16)
    config = SimpleNamespace(unet_config={"model_channels": 320})
    core = SimpleNamespace(diffusion_model=unet, model_config=config)
    model = SimpleNamespace(model=core, load_device=torch.device("cpu"))
    return model, SimpleNamespace(cond_stage_model=SimpleNamespace(clip_l=encoder))


def scene_of(side: int) -> Scene:
    """Two things, side by side."""
    masks = torch.zeros(1, 2, side, side)
    masks[:, 0, :, : side // 2] = masks[:, 1, :, side // 2 :] = 1
    return Scene(torch.rand(1, side, side, 3), masks, (Concept("<a>", "cat"), Concept("<b>", "dog")))


@pytest.mark.parametrize(("settings", "side", "checkpointing", "counted"), COUNTED)
def test_the_memory_wanted_is_what_was_counted_from_shapes(settings, side, checkpointing, counted, full_size):
    """Oracle: the peaks counted; within 15 %."""
    wanted = memory_wanted(*full_size, scene_of(side), settings, checkpointing=checkpointing) / GIB
    assert wanted == pytest.approx(counted, rel=0.15)


def test_full_in_single_precision_wants_sixteen_bytes_for_each_weight(full_size):
    """Oracle: 859.5 million weights of the U-Net and 85.1 of the text encoder (123.06 without the table's 37.9)."""
    scene, settings = scene_of(512), full_settings(precision="float32", prior="off")
    without, twice = (memory_wanted(*full_size, scene, settings, checkpointing=on) for on in (False, True))
    assert without == twice
    assert without / GIB == pytest.approx((16 * (859.5e6 + 85.1e6) + 4 * (859.5e6 + 123e6)) / GIB, rel=0.05)


def test_full_in_half_precision_fits_a_card_of_twelve_gigabytes(full_size):
    """Oracle: the card's memory without 1.2 GiB for libraries and what lies unused."""
    assert (
        memory_wanted(*full_size, scene_of(512), full_settings(precision="bfloat16"), checkpointing=True) < 10.8 * GIB
    )


@pytest.mark.parametrize(
    ("bfloat16", "float16", "expected"),
    [(True, True, "bfloat16"), (False, True, "float16"), (False, False, "float32")],
)
def test_auto_is_the_devices_best(bfloat16, float16, expected, monkeypatch):
    """Oracle: what the host says of the device; a CPU computes in single precision, and a choice is kept."""
    monkeypatch.setattr(comfy.model_management, "should_use_bf16", lambda device: bfloat16)
    monkeypatch.setattr(comfy.model_management, "should_use_fp16", lambda device: float16)
    auto = lora_settings(precision="auto")
    assert with_precision(auto, torch.device("cuda:0")).precision == expected
    assert with_precision(auto, torch.device("cpu")) == lora_settings(precision="float32")
    assert with_precision(lora_settings(precision="float16"), torch.device("cpu")).precision == "float16"
    with pytest.raises(InputError, match="precision is auto"):
        _ = auto.dtype
