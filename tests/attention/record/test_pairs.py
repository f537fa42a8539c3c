"""Layers that wait to be looked at together, on a toy U-Net."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.scenescope.attention.record import pairs, recorder, reducers
from pack.scenescope.attention.record.recording import Entry
from pack.tests.support.toyrun import EVERYTHING, IMAGES, LATENT, NEGATIVE, POSITIVE, SINGLE, ToyRun

MIXED = {
    "both prompts": ((NEGATIVE, POSITIVE),),
    "one after the other": ((NEGATIVE,), (POSITIVE,)),
    "of one length": ((replace(POSITIVE, branch="negative"), POSITIVE),),
    "an area too": ((NEGATIVE, POSITIVE), (Entry("positive", 1, 3, area=(3, 4, 1, 2)),)),
}
"""Calls of an evaluation by name."""


@pytest.mark.parametrize("room", [1, 2000, pairs.WAITING_BYTES])
@pytest.mark.parametrize("calls", MIXED)
@pytest.mark.parametrize("more", [{}, {"heads": "each", "keep_queries": True}, {"branches": ("positive",)}])
def test_layers_looked_at_together_show_what_each_shows_alone(
    more: dict[str, Any], calls: str, room: int, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: each layer looked at when it is called, as on a CPU; queries and keys bit for bit."""
    alone, together = (ToyRun(replace(EVERYTHING, **more), planned=sum(MIXED[calls], ())) for _ in range(2))
    truth = alone.sample(*MIXED[calls])
    monkeypatch.setattr(recorder, "gains", lambda query: True)
    monkeypatch.setattr(pairs, "WAITING_BYTES", room)
    recording = together.sample(*MIXED[calls])
    assert [item.address for item in recording.maps] == [item.address for item in truth.maps]
    for made, true in zip(recording.maps, truth.maps, strict=True):
        assert torch.allclose(made.maps, true.maps, atol=1e-6)
        assert (made.query_grid, made.key_grid) == (true.query_grid, true.key_grid)
    assert recording.projections.keys() == truth.projections.keys()
    assert all(torch.equal(pair.key, truth.projections[at].key) for at, pair in recording.projections.items())
    assert all(torch.equal(pair.query, truth.projections[at].query) for at, pair in recording.projections.items())
    assert recording.bytes_held == truth.bytes_held


def test_layers_of_one_size_are_looked_at_once(monkeypatch: pytest.MonkeyPatch):
    """Oracle: by hand: as many times as there are sizes, with all rows."""
    asked: list[int] = []
    monkeypatch.setattr(recorder, "gains", lambda query: True)
    of_cross = reducers.MapMaker.of_cross
    monkeypatch.setattr(
        reducers.MapMaker,
        "of_cross",
        lambda self, pair, *more: (asked.append(len(pair.query)), of_cross(self, pair, *more))[1],
    )
    entries = (replace(POSITIVE, branch="negative"), POSITIVE)
    run = ToyRun(SINGLE, steps=1, planned=entries)
    run.sample(entries)
    assert sum(asked) == len(run.seen) * IMAGES * len(entries)
    assert len(asked) == len({(layer.heads, query.shape) for layer, query, _, _ in run.seen}) < len(run.seen)


def test_where_there_is_no_room_for_all_each_is_looked_at_alone(monkeypatch: pytest.MonkeyPatch):
    """Oracle: the recording of a device with room; the third layer has an error of its own, and it alone is counted."""
    entries = (replace(POSITIVE, branch="negative"), POSITIVE)
    truth = ToyRun(SINGLE, planned=entries).sample(entries)
    run = ToyRun(SINGLE, planned=entries)
    broken = [item.layer for item in run.found if item.layer.kind == "cross"][2]
    of_cross = reducers.MapMaker.of_cross

    def small(self: Any, pair: Any, layer: Any, *more: Any) -> Any:
        if len(pair.query) > IMAGES or layer == broken:
            raise torch.OutOfMemoryError("no room")
        return of_cross(self, pair, layer, *more)

    monkeypatch.setattr(recorder, "gains", lambda query: True)
    monkeypatch.setattr(reducers.MapMaker, "of_cross", small)
    recording = run.sample(entries)
    assert dict(recording.skipped) == {f"{broken.name}: OutOfMemoryError: no room": run.steps}
    left = [item for item in truth.maps if item.address.order != broken.order]
    assert [item.address for item in recording.maps] == [item.address for item in left]
    for made, true in zip(recording.maps, left, strict=True):
        assert torch.allclose(made.maps, true.maps, atol=1e-6)


@pytest.mark.parametrize("branches", [("positive",), ("negative", "positive")])
def test_what_waits_is_counted_with_what_it_keeps(branches: tuple[str, ...]):
    """Oracle: by hand: a part of a batch keeps the whole of it."""
    run = ToyRun(replace(SINGLE, branches=branches))
    (layer, *_) = (item.layer for item in run.found if item.layer.kind == "cross")
    query, key = torch.zeros(4, 35, 8), torch.zeros(4, 6, 8)
    seen = pairs.Seen(layer, query, key, layer.grid(LATENT), (NEGATIVE, POSITIVE))
    parts, waiting = seen.parts(IMAGES, run.selection.keeps), pairs.Waiting()
    assert len(parts) == len(branches)
    assert sum(part.query.untyped_storage().nbytes() for part in parts) == query.nbytes * len(parts)
    calls = -(-pairs.WAITING_BYTES // (query.nbytes + key.nbytes))
    told = [waiting.add(parts, query.nbytes + key.nbytes) for _ in range(calls)]
    assert told == [False] * (calls - 1) + [True]


@pytest.mark.parametrize("waits", [False, True])
def test_an_error_while_looking_is_counted_and_logged_once(
    waits: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Oracle: by hand: every layer with its reason, self-attention recorded, one line in the log."""

    def fails(*_: object) -> None:
        raise ValueError("no room")

    monkeypatch.setattr(recorder, "gains", lambda query: waits)
    monkeypatch.setattr(reducers.MapMaker, "of_cross", fails)
    run, entries = ToyRun(EVERYTHING), (replace(POSITIVE, branch="negative"), POSITIVE)
    recording = run.sample(entries)
    crosses = [item.layer for item in run.found if item.layer.kind == "cross"]
    assert dict(recording.skipped) == {f"{layer.name}: ValueError: no room": 2 for layer in crosses}
    assert {item.address.kind for item in recording.maps} == {"self"}
    assert len([line for line in caplog.messages if "could not be recorded" in line]) == 1
