"""Training on a CUDA device: all that is learned comes back whole, and the host waits twice a step at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pack.host.concepts.apply import apply_concepts
from pack.host.training.models import training_ports
from pack.scenescope.training.learned.concepts import Concepts, load_concepts, save_concepts
from pack.scenescope.training.run.trainer import StateStore, StepReport, train
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.tests.gpu.chosen import SIMULATED
from pack.tests.gpu.waits import counting_waits
from pack.tests.rehearsal.recorded import Sampled, assert_on_host, encode, sampled
from pack.tests.support.host.learning import small_scene

WAITS_A_STEP = 2
EACH = 1 if SIMULATED else 2
"""Steps of a phase; the second one is counted, by tests/rehearsal on the simulated device."""
LORA = {"phase1_steps": EACH, "phase2_steps": EACH, "rank": 2, "seed": 4, "outside_noise": 0.1}
FULL = {"phase1_steps": 1, "phase2_steps": 2, "seed": 4, "prior": "off"}

RUNS = {
    "lora float16": (lora_settings(**LORA, precision="float16"), False),
    "lora float32": (lora_settings(**LORA, precision="float32"), False),
    "lora bfloat16": (lora_settings(**LORA, precision="bfloat16"), True),
    "full float16": (full_settings(**FULL, precision="float16"), False),
}
"""Runs by name: settings, and checkpointing; the first is the one that several tests take, and the one rehearsed."""


class BreakOff(Exception):
    """Raised by a test from `on_step`."""


def learn(
    parts: tuple[Any, ...],
    settings: Settings,
    *,
    checkpointing: bool = False,
    store: StateStore | None = None,
    until: int | None = None,
) -> tuple[Concepts, list[Counter[str]]]:
    """Train on a small scene; the concepts, and the waits of each step."""
    scene, steps, counting = small_scene(), [], ExitStack()

    def on_step(report: StepReport) -> None:
        counting.close()
        if report.step == until:
            raise BreakOff
        steps.append(counting.enter_context(counting_waits()))

    with training_ports(*parts, scene, settings, checkpointing=checkpointing) as ports, counting:
        steps.append(counting.enter_context(counting_waits()))
        concepts = train(scene, ports, settings, on_step=on_step, keeping=store)
    assert_on_host(concepts.embeddings, *(part for pair in concepts.low_rank.values() for part in (pair.up, pair.down)))
    assert_on_host(*concepts.differences.values())
    return concepts, steps[: settings.steps]


Learned = Callable[[str], tuple[Concepts, list[Counter[str]]]]


@pytest.fixture(scope="module")
def learned(demo: tuple[Any, ...]) -> Learned:
    """What a run learned and the waits of its steps, by its name; each is run once, by the first test that asks."""
    kept: dict[str, tuple[Concepts, list[Counter[str]]]] = {}

    def of(name: str) -> tuple[Concepts, list[Counter[str]]]:
        if name not in kept:
            settings, checkpointing = RUNS[name]
            kept[name] = learn(demo, settings, checkpointing=checkpointing)
        return kept[name]

    return of


@pytest.mark.parametrize("name", RUNS)
def test_a_step_waits_for_the_device_twice_at_most(name: str, learned: Learned):
    """Oracle: the budget, counted in the second step of each phase; the first makes what is kept."""
    settings, (_, steps) = RUNS[name][0], learned(name)
    assert len(steps) == settings.steps
    for step, waits in enumerate(steps):
        if step and step != settings.phase1_steps:
            assert sum(waits.values()) <= WAITS_A_STEP, f"step {step}: {waits.most_common(6)}"


@pytest.mark.parametrize("until", [1, 3])
def test_a_run_that_was_broken_off_in_a_phase_goes_on(
    until: int, demo: tuple[Any, ...], learned: Learned, tmp_path: Path
):
    """Oracle: the run that was not broken off, within what half precision changes (the device adds in any order)."""
    settings, (whole, _) = RUNS["lora float16"][0], learned("lora float16")
    store = StateStore(tmp_path / "state.safetensors", 99)
    with pytest.raises(BreakOff):
        learn(demo, settings, store=store, until=until)
    again, _ = learn(demo, settings, store=store)
    assert (again.embeddings - whole.embeddings).abs().max() < 4e-3


def test_what_was_learned_is_saved_and_applied(demo: tuple[Any, ...], plain: Sampled, learned: Learned, tmp_path: Path):
    """Oracle: another latent than the plain run's, on the host and finite."""
    concepts, _ = learned("lora float16")
    save_concepts(concepts, tmp_path / "concepts.safetensors")
    model, clip = apply_concepts(*demo[:2], load_concepts(tmp_path / "concepts.safetensors"))
    run = sampled(model, encode(clip, "a photo of <asset0>"), plain.negative)
    assert_on_host(run.latents)
    assert not (run.latents == plain.latents).all()
