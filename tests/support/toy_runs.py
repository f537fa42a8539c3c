"""Short runs over the toy ports, and what they leave, as bytes."""

from __future__ import annotations

from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.run.trainer import StepReport, train
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.tests.support.toy_training import toy_ports, toy_scene

SHORT = {"phase1_steps": 4, "phase2_steps": 5, "seed": 6}
LORA = lora_settings(**SHORT, rank=2)
FULL = full_settings(**SHORT)


class BrokenOff(Exception):
    """What a host raises to cancel."""


def bits(concepts: Concepts) -> dict[str, bytes]:
    """All that was learned, as bytes."""
    tensors = {"rows": concepts.embeddings, **concepts.differences}
    for name, pair in concepts.low_rank.items():
        tensors |= {f"{name} down": pair.down, f"{name} up": pair.up}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def learned(settings: Settings, **options) -> Concepts:
    """A run over fresh toy ports."""
    scene = toy_scene()
    return train(scene, toy_ports(scene), settings, **options)


def breaking_at(step: int):
    """An `on_step` that raises after some step."""

    def on_step(report: StepReport) -> None:
        if report.step == step:
            raise BrokenOff

    return on_step
