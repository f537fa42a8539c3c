"""Layers that wait to be looked at together, on a toy U-Net."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.scenescope.attention.record import pairs, recorder, reducers
from pack.scenescope.attention.record.layers import AttentionLayer
from pack.scenescope.attention.record.pairs import Added
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.scores import OuterBias
from pack.scenescope.dims import Grid
from pack.tests.support.toyrun import EVERYTHING, IMAGES, LATENT, NEGATIVE, POSITIVE, SINGLE, ToyRun

MIXED = {
    "both prompts": ((NEGATIVE, POSITIVE),),
    "one after the other": ((NEGATIVE,), (POSITIVE,)),
    "of one length": ((replace(POSITIVE, branch="negative"), POSITIVE),),
    "an area too": ((NEGATIVE, POSITIVE), (Entry("positive", 1, 3, area=(3, 4, 1, 2)),)),
}
"""Calls of an evaluation by name."""
QUANTISED = {"heads": "each", "keep_queries": True, "keep_self_queries": True, "query_precision": "int8"}


def random_odds(layer: AttentionLayer, grid: Grid, entry: Entry) -> Added:
    """Odds that differ from layer to layer: for the positive prompt alone, or for self-attention of other ranks."""
    generator = torch.Generator().manual_seed(layer.order)
    if layer.kind == "self":
        sizes = ((1, grid.cells, rank) for rank in (2 if entry.branch == "positive" else 1,) * 2)
        return OuterBias(*(torch.randn(size, generator=generator) for size in sizes))
    if entry.branch != "positive":
        return None
    return torch.randn(IMAGES, 1 + layer.order % 2 * (layer.heads - 1), grid.cells, entry.tokens, generator=generator)


def check_alike(made: Recording, truth: Recording) -> None:
    """Maps but for the last digits, which depend on the size of a product; queries and keys bit for bit."""
    assert [item.address for item in made.maps] == [item.address for item in truth.maps]
    for one, true in zip(made.maps, truth.maps, strict=True):
        assert torch.allclose(one.maps, true.maps, atol=1e-6)
        assert (one.query_grid, one.key_grid) == (true.query_grid, true.key_grid)
    assert made.projections.keys() == truth.projections.keys()
    for at, pair in made.projections.items():
        kept = zip(pair.tensors, truth.projections[at].tensors, strict=True)
        assert all(torch.equal(own, true) for own, true in kept)
    assert made.bytes_held == truth.bytes_held
    assert dict(made.skipped) == dict(truth.skipped) == {}


@pytest.mark.parametrize("room", [1, 2000, pairs.WAITING_BYTES])
@pytest.mark.parametrize("calls", MIXED)
@pytest.mark.parametrize("more", [{}, {"heads": "each", "keep_queries": True}, {"branches": ("positive",)}])
def test_layers_looked_at_together_show_what_each_shows_alone(
    more: dict[str, Any], calls: str, room: int, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: each layer looked at when it is called, as on a CPU."""
    alone, together = (ToyRun(replace(EVERYTHING, **more), planned=sum(MIXED[calls], ())) for _ in range(2))
    truth = alone.sample(*MIXED[calls])
    monkeypatch.setattr(recorder, "gains", lambda query: True)
    monkeypatch.setattr(pairs, "WAITING_BYTES", room)
    check_alike(together.sample(*MIXED[calls]), truth)


@pytest.mark.parametrize("calls", ["both prompts", "an area too"])
@pytest.mark.parametrize("acts", [None, random_odds])
@pytest.mark.parametrize("more", [{"self_times": 2}, {"self_region": torch.ones(10, 14)}, QUANTISED])
def test_steered_pooled_and_kept_layers_looked_at_together_show_what_each_shows_alone(
    more: dict[str, Any], acts: Any, calls: str, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: as above; odds are added to the rows of their own entry and layer."""
    alone, together = (ToyRun(replace(EVERYTHING, **more), planned=sum(MIXED[calls], ()), acts=acts) for _ in range(2))
    truth = alone.sample(*MIXED[calls])
    monkeypatch.setattr(recorder, "gains", lambda query: True)
    check_alike(together.sample(*MIXED[calls]), truth)


@pytest.mark.parametrize("acts", [None, random_odds])
def test_layers_of_one_size_are_looked_at_once(acts: Any, monkeypatch: pytest.MonkeyPatch):
    """Oracle: by hand: as many times as there are sizes, with all rows."""
    asked: list[int] = []
    monkeypatch.setattr(recorder, "gains", lambda query: True)
    chunks = reducers.attention_in_chunks

    def counted(query: torch.Tensor, *more: Any, **named: Any) -> Any:
        asked.append(len(query))
        return chunks(query, *more, **named)

    monkeypatch.setattr(reducers, "attention_in_chunks", counted)
    entries = (replace(POSITIVE, branch="negative"), POSITIVE)
    run = ToyRun(EVERYTHING, steps=1, planned=entries, acts=acts)
    run.sample(entries)
    assert sum(asked) == len(run.seen) * IMAGES * len(entries)
    sizes = {(layer.kind, layer.heads, query.shape) for layer, query, _, _ in run.seen}
    assert len(asked) == len(sizes) < len(run.seen)


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
    seen = pairs.Seen(layer, query, key, layer.grid(LATENT), (NEGATIVE, POSITIVE), (None, None))
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


def test_a_map_waits_where_eight_of_its_size_are_one_piece():
    """Oracle: by hand: rows x heads x queries x keys x 4 bytes."""
    run = ToyRun(EVERYTHING)
    layer = next(item.layer for item in run.found if item.layer.kind == "self")
    grid = layer.grid(LATENT)
    rows = torch.zeros(4, grid.cells, layer.heads * layer.head_width)
    seen = pairs.Seen(layer, rows, rows, grid, (NEGATIVE, POSITIVE), (None, None))
    eight = 8 * 4 * layer.heads * grid.cells**2 * 4
    for room, large in ((eight, False), (eight - 1, True)):
        assert reducers.MapMaker(run.run, EVERYTHING, room).is_large(seen) is large
