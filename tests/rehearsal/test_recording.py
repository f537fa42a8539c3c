"""Recording on a GPU: the picture stays, the maps arrive whole, and the host waits once a step at most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.host.prompts.text import trace_words
from pack.host.recording.ask import question_of
from pack.scenescope import host_copies
from pack.scenescope.attention.read.ask import ask
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import find_words
from pack.tests.rehearsal.recorded import STEPS, Sampled, assert_on_host, encode, recorded

SELECTIONS = {
    "cross": Selection(),
    "all heads": Selection(heads="each"),
    "queries": Selection(keep_queries=True),
    "self, pooled": Selection(kinds=("self",), self_times=2),
    "self, whole": Selection(kinds=("self",), self_times=1, heads="each"),
    "self of a region": Selection(kinds=("self",), self_region=torch.ones(64, 96)),
    "everything": Selection(kinds=("cross", "self"), heads="each", keep_queries=True, precision=torch.float32),
}
ONCE = 16
"""Waits of a run, apart from its steps: the model's name, the schedule, the first step's sigma, constants' upload."""


LAUNCHES = {
    "cross": 137,
    "all heads": 125,
    "queries": 161,
    "self, pooled": 156,
    "self, whole": 125,
    "self of a region": 164,
    "everything": 235,
}
"""What recording adds to the launches of a run of three steps: 2 % over what was counted (134, 122, 158, 153, 122, 161
and 231), so that one more in each of the four sizes of layers is too many."""


def check_sound(recording: Recording) -> None:
    """Nothing was skipped, and all that was kept is on the host; the rows of maps sum to 1."""
    assert dict(recording.skipped) == {}
    assert_on_host(*(item.maps for item in recording.maps))
    assert_on_host(*(part for pair in recording.projections.values() for part in (pair.query, pair.key)))
    assert all(bool(((item.maps.float().sum(-1) - 1).abs() < 2e-2).all()) for item in recording.maps)
    assert {item.address.step for item in recording.maps} == set(range(STEPS))


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_recorded_step_waits_for_the_device_once_at_most(name: str, demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the plain run: its latents bit for bit, and its waits, to which a step may add one."""
    recording, run = recorded(demo[0], plain, SELECTIONS[name])
    assert torch.equal(run.latents, plain.latents)
    check_sound(recording)
    kept = {item.address for item in recording.maps if item.address.kind == "cross" and SELECTIONS[name].keep_queries}
    assert recording.projections.keys() == kept
    more = run.counts.minus(plain.counts)
    assert more.waited <= STEPS + ONCE, more.most()
    assert more.launches <= LAUNCHES[name], more.launches


def test_what_a_thread_takes_in_is_what_whoever_needs_it_would(
    demo: tuple[Any, ...], plain: Sampled, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: the recording whose copies are waited for where they are needed, bit for bit."""
    waited, _ = recorded(demo[0], plain, SELECTIONS["cross"])
    with ThreadPoolExecutor(1) as thread:
        monkeypatch.setattr(host_copies, "ARRIVALS", thread)
        taken, _ = recorded(demo[0], plain, SELECTIONS["cross"])
    check_sound(taken)
    assert len(taken.maps) == len(waited.maps) > 0
    assert all(torch.equal(one.maps, other.maps) for one, other in zip(taken.maps, waited.maps, strict=True))


@pytest.mark.parametrize("sampler", ["heun", "uni_pc"])
def test_second_order_samplers_give_whole_maps(sampler: str, demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the recording of the first-order sampler has as many maps a step; each is whole and on the host."""
    recording, _ = recorded(demo[0], plain, replace(SELECTIONS["cross"], evaluations="all"), sampler)
    check_sound(recording)
    assert len(recording.maps) >= STEPS * 2 * 16


def test_maps_are_those_of_the_cpu(demo: tuple[Any, ...], plain: Sampled):
    """Oracle: the softmax of queries and keys that were kept, computed on the host."""
    recording, _ = recorded(demo[0], plain, SELECTIONS["everything"])
    for item in recording.maps:
        if item.address.kind == "cross":
            pair = recording.projections[item.address]
            query, key = (part.unflatten(-1, (pair.heads, -1)).transpose(1, 2) for part in (pair.query, pair.key))
            truth = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
            assert torch.allclose(item.maps, truth, atol=1e-6)


def test_other_words_can_be_asked_for_afterwards(demo: tuple[Any, ...], plain: Sampled):
    """Oracle: everything is on the host and finite."""
    model, clip, _ = demo
    recording, _ = recorded(model, plain, SELECTIONS["queries"])
    asked = ask(recording, question_of(model, recording, encode(trace_words(clip), "star"), "positive"))
    assert_on_host(*(item.maps for item in asked.maps))
    table = next(entry.table for entry in asked.entries if entry.table is not None)
    assert_on_host(heatmaps(asked, find_words(table, "circle, star"), View(resolution="all")).values)
