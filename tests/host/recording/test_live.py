"""What the front end is told while a run is sampled."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
import torch
from pack.host.recording import live
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.read.live import CANDIDATES
from pack.scenescope.attention.record.selection import Selection
from pack.tests.host.nodes.test_heatmap import traced
from pack.tests.support.host.listening import Listening
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import hooks_left
from server import PromptServer


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Listening:
    """A server with one client, which queued the prompt; every step is sent."""
    server = Listening("tab")
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    monkeypatch.setattr(live, "BETWEEN_EVENTS", 0.0)
    return server


def run_of(model: Any, *, node: str | None = "5:7", selection: Selection | None = None, **more: Any) -> torch.Tensor:
    """Sample four steps, recorded for a node."""
    watched, _ = record_attention(model, selection or Selection(), node)
    return sample(watched, conditioning(seed=1), conditioning(seed=2), Run(steps=4), **more)


def test_each_step_is_told_and_the_picture_stays_the_same(sd15: Any, told: Listening) -> None:
    """Oracle: the plain run's bits; the steps by hand; the last maps, and which they are, from the recording."""
    plain = sample(sd15, conditioning(seed=1), conditioning(seed=2), Run(steps=4))
    watched, book = record_attention(sd15, Selection(), "5:7")
    latent = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(steps=4))
    assert torch.equal(latent, plain)
    events = [json.loads(json.dumps(event)) for event in told.events(live.EVENT)]
    assert [(event["status"], event["step"], event["steps"], event["node"]) for event in events] == [
        *[("sampling", step, 4, "5:7") for step in (1, 2, 3, 4)],
        ("done", 4, 4, "5:7"),
    ]
    last = events[-1]
    assert (last["latent"], last["branch"]) == ([8, 12], "positive")
    recording = book.find(latent)[0]
    kept = [one for one in recording.maps if one.address.branch == "positive" and one.query_grid == (8, 12)]
    mean = torch.stack([one.maps[0, 0].float() for one in kept]).mean(dim=0)  # (query token)
    peaks = mean.amax(dim=0)[1 : 1 + CANDIDATES]
    largest = sorted(1 + int(column) for column in peaks.topk(6).indices)
    assert [item["label"] for item in last["maps"]] == [f"#{column}" for column in largest]
    for column, item in zip(largest, last["maps"], strict=True):
        assert tuple(item["grid"]) == (8, 12)
        shown = np.frombuffer(b64decode(item["cells"]), np.uint8).reshape(8, 12) * (item["top"] / 255)
        assert np.abs(shown - mean[:, column].reshape(8, 12).numpy()).max() <= item["top"] / 255


def test_at_most_five_events_a_second_are_sent(sd15: Any, told: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: with an hour between events only the first and the last of a run."""
    monkeypatch.setattr(live, "BETWEEN_EVENTS", 3600.0)
    run_of(sd15)
    assert [(event["status"], event["step"]) for event in told.events(live.EVENT)] == [("sampling", 1), ("done", 4)]


@pytest.mark.parametrize("nobody", ["no client", "client gone", "no node", "no cross-attention"])
def test_nothing_is_sent_where_nobody_looks(sd15: Any, told: Listening, nobody: str) -> None:
    """Oracle: no event."""
    if nobody == "no client":
        told.client_id = None
    if nobody == "client gone":
        told.sockets = {}
    selection = Selection(kinds=("self",)) if nobody == "no cross-attention" else None
    run_of(sd15, node=None if nobody == "no node" else "7", selection=selection)
    assert told.events(live.EVENT) == []


class Cancelled(Exception):
    """Stands for the host's interrupt."""


def test_a_cancelled_run_says_so_and_leaves_nothing_behind(sd15: Any, told: Listening) -> None:
    """Oracle: the last event; hooks counted; the next plain run's bits."""
    plain = sample(sd15, conditioning(seed=1), conditioning(seed=2))
    before = hooks_left(sd15)

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_of(sd15, callback=stop)
    events = told.events(live.EVENT)
    assert [(event["status"], event["step"]) for event in events] == [("sampling", 1), ("sampling", 2), ("stopped", 2)]
    assert hooks_left(sd15) == before
    assert torch.equal(sample(sd15, conditioning(seed=1), conditioning(seed=2)), plain)


def test_what_fails_while_showing_stops_no_run(sd15: Any, told: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """Oracle: the latent of a run that is not shown; one line in the log."""
    plain = run_of(sd15, node=None)
    told.fail_on = live.EVENT
    assert torch.equal(run_of(sd15), plain)
    assert len([line for line in caplog.messages if "no longer shown" in line]) == 1


def test_the_words_asked_for_are_shown(sd15: Any, told: Listening) -> None:
    """Oracle: the labels by hand; a word that is not in the prompt is told and the first words come instead."""
    for words, labels in (("dog, cat", ["dog", "cat"]), ("horse", ["cat", "dog"])):
        watched, _ = record_attention(sd15, Selection(), "7", words)
        sample(watched, traced("a cat and a dog", seed=1), conditioning(seed=2))
        last = told.events(live.EVENT)[-1]
        assert [item["label"] for item in last["maps"]] == labels
        assert ("'horse' is not in the prompt" in last["note"]) == (words == "horse")
