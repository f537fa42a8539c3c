"""Recording on a CUDA device: the picture stays, the maps arrive whole, and the host waits once a step at most."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.tests.gpu.waits import counting_waits
from pack.tests.rehearsal.recorded import STEPS, Sampled, recorded, sampled
from pack.tests.rehearsal.test_recording import ONCE, SELECTIONS, check_sound


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_recorded_step_waits_for_the_device_once_at_most(name: str, demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the plain run: its latents bit for bit, and its waits, to which a step may add one."""
    recorded(demo[0], plain, SELECTIONS[name])  # the first run makes what is kept
    with counting_waits() as before:
        sampled(demo[0], plain.positive, plain.negative)
    with counting_waits() as waits:
        recording, run = recorded(demo[0], plain, SELECTIONS[name])
    assert torch.equal(run.latents, plain.latents)
    check_sound(recording)
    more = waits - before
    assert sum(more.values()) <= STEPS + ONCE, more.most_common(6)


def test_maps_are_those_of_the_cpu(demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the softmax, on the host in float64, of queries and keys that were kept."""
    recording, _ = recorded(demo[0], plain, SELECTIONS["everything"])
    for item in recording.maps:
        if item.address.kind == "cross":
            pair = recording.projections[item.address]
            parts = (pair.query, pair.key)
            query, key = (part.double().unflatten(-1, (pair.heads, -1)).transpose(1, 2) for part in parts)
            truth = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
            assert (item.maps.double() - truth).abs().max() < 1e-2
