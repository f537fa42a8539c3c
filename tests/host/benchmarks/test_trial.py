"""One trial of the lab: broken off and gone on with, and what is told and kept meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pack.benchmarks.lab.probe import Looked, look
from pack.benchmarks.lab.progress import Progress
from pack.benchmarks.lab.trial import Course, learn
from pack.host.training.models import training_ports
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.run.trainer import Run, StateStore, StepReport
from pack.scenescope.training.settings import lora_settings
from pack.scenescope.training.step.objective import StepResult
from pack.tests.support.host.learning import SHORT, small_scene
from pack.tests.support.toy_runs import bits


class BrokenOffError(Exception):
    """Stands for the user's Ctrl-C."""


class BreakOff:
    """Breaks off after a step, once."""

    def __init__(self, at: int) -> None:
        self.at, self.begun = at, []

    def __call__(self, report: StepReport) -> None:
        if report.step == self.at:
            self.at = 0
            raise BrokenOffError


@dataclass(frozen=True)
class Whole:
    """A run that was not broken off: its looks before and after, and what it learned."""

    first: Looked
    last: Looked
    wanted: Concepts


@pytest.fixture(scope="module")
def whole(demo: Any) -> Whole:
    """The run step by step, without the lab."""
    scene = small_scene()

    def seen(ports: Any, concepts: Concepts) -> Looked:
        return look(ports, scene, dict(zip(concepts.handles, concepts.embeddings, strict=True)))

    with torch.inference_mode(), training_ports(*demo, scene, SHORT) as ports, Run(scene, ports, SHORT) as run:
        first = seen(ports, run.concepts())
        for _ in range(SHORT.steps):
            run.advance()
        return Whole(first, seen(ports, run.concepts()), run.concepts())


@pytest.mark.parametrize("at", [2, 5, 6])
def test_a_way_that_was_broken_off_ends_with_the_same_bits(tmp_path, at, demo, whole):
    """Oracle: a run step by step without all that; broken off in each phase and after the last step."""
    scene, breaking, file = small_scene(), BreakOff(at), tmp_path / "kept.state"
    course = Course(on_begin=breaking.begun.append, on_step=breaking, keeping=StateStore(file, 50))
    with training_ports(*demo, scene, SHORT) as ports:
        with pytest.raises(BrokenOffError):
            learn(ports, scene, SHORT, course)
        before, after, concepts = learn(ports, scene, SHORT, course)
    assert breaking.begun == [0, at]
    assert bits(concepts) == bits(whole.wanted)
    assert torch.equal(before.maps, whole.first.maps)
    assert torch.equal(after.maps, whole.last.maps)
    assert (before.masked, after.masked) == (whole.first.masked, whole.last.masked)


def test_lines_come_now_and_then():
    """Oracle: by hand: ten steps of 9 seconds: the first, the last, and at most one in 20 seconds between."""
    lines, times = [], iter(range(0, 900, 9))
    progress = Progress(lora_settings(phase1_steps=5, phase2_steps=5), lines.append, lambda: float(next(times)))
    progress.picture("class picture", 1, 1)
    progress.begin(0)
    for step in range(1, 11):
        told = StepResult(0.25, 0.5, None if step < 6 else 0.125, {}, {})
        progress.step(StepReport(step, 10, 1 if step < 6 else 2, told, 0.0, lambda: None, {}))
    assert lines == [
        "  class picture 1 of 1",
        "  step 1 of 10, phase 1, loss 0.2500, attention 0.5000",
        "  step 4 of 10, phase 1, loss 0.2500, attention 0.5000, 2 min 24 s left",
        "  step 7 of 10, phase 2, loss 0.2500, attention 0.5000, prior 0.1250, 27 s left",
        "  step 10 of 10, phase 2, loss 0.2500, attention 0.5000, prior 0.1250",
    ]
