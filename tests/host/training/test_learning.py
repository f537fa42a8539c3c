"""Training learns: the demo model finds the things of a scene that it has never seen, and explains them better."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.benchmarks.lab.trial import learn, scene_of
from pack.benchmarks.lab.variants import Length, settings_of
from pack.host.demo import load_demo_model
from pack.host.training.models import training_ports
from pack.scenescope.world.scene import draw
from pack.scenescope.world.unseen import unseen_layout

LENGTH = Length(50, 50)


@pytest.fixture(scope="module")
def demo() -> Any:
    """MODEL, CLIP and VAE, loaded once for this file."""
    with torch.inference_mode():
        return load_demo_model()


@pytest.mark.parametrize(
    ("variant", "risen", "fallen"),
    [
        ("lora", 0.04, 0.7),
        ("full:prior=off,attention_weight=0.1", 0.08, 0.7),
    ],
    ids=["lora", "full"],
)
def test_the_maps_find_the_things_and_the_loss_falls(demo, variant, risen, fallen):
    """Oracle: a look at the scene with fixed noise before and after; the margins are half of what was seen."""
    scene = scene_of(draw(unseen_layout(1, 2), height=128, width=128))
    settings = settings_of(variant, LENGTH, 0)
    with training_ports(*demo, scene, settings) as ports:
        before, after, _, _ = learn(ports, scene, settings)
    assert after.iou > before.iou + risen
    assert after.masked < before.masked * fallen
