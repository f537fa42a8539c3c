"""Which step of the schedule an act is asked for, by the sampler that runs."""

from __future__ import annotations

from typing import Any

import pytest
from pack.host.acting.run import with_act
from pack.scenescope.attention.act.acts import Act, LayerWrite, ModelCall
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.layers import AttentionLayer
from pack.tests.host.acting.test_steering import run
from pack.tests.host.recording.test_own_steps import GENTLE, OWN, listened, pytestmark  # noqa: F401 - its filters
from pack.tests.support.host.runs import Run


class Noting(Act):
    """Writes nothing, and notes the step of each evaluation; it is its own instruction."""

    who = "Noting"

    def __init__(self) -> None:
        self.sigmas: tuple[float, ...] = ()
        self.steps: dict[int, int] = {}

    def begin(self, run: RunSpec) -> Noting:
        """Take the schedule."""
        self.sigmas = run.sigmas
        return self

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """Note."""
        self.steps[call.evaluation] = call.step
        return None


@pytest.mark.parametrize("sampler", [*OWN, "euler"])
def test_a_sampler_with_steps_of_its_own_is_acted_on_by_the_noise_that_is_left(sd15: Any, sampler: str) -> None:
    """Oracle: the sigmas that the host asks at, noted beside the pack: the last step that began with no less noise."""
    noting, (listening, asked, _) = Noting(), listened(sd15)
    run(with_act(listening, noting), Run(steps=5, sampler=sampler, **GENTLE))
    begun = noting.sigmas[:-1]
    wanted = [sum(level >= sigma * (1 - 1e-5) for level in begun) - 1 for sigma in asked]
    assert list(noting.steps.values()) == wanted
    assert len(set(wanted)) > 2
