"""What a strength did is told on the node and kept with the recording."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.host.acting.run import with_act
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.acts import SHARES
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.selection import POSITIVE
from pack.tests.host.acting.test_steering import COLUMNS, EACH, PLACED, recording_of, steered


def test_the_node_is_told_what_a_strength_did(sd15: Any, monkeypatch: Any) -> None:
    """Oracle: shares of the recorded maps of the same run, before and after."""
    said: list[str] = []
    monkeypatch.setattr("pack.host.acting.run.say_on_node", lambda node, text: said.append(text))
    steering = replace(PLACED, end=0.5)  # of two steps the first
    watched, before_book = record_attention(with_act(sd15, steering, "7"), replace(EACH, steered=False))
    after, latent = recording_of(watched)
    shares = []
    for recording in (before_book.find(latent)[0], after):
        maps = [
            m.maps[..., list(COLUMNS)].sum(-1).mean(1).unflatten(-1, (8, 12))
            for m in recording.maps
            if m.query_grid == (8, 12) and m.address.branch == POSITIVE and m.address.step == 0
        ]
        shares.append(torch.stack(maps).mean(dim=(0, 1)))
    inside, outside = ([float(share[:, part].mean()) for share in shares] for part in (slice(0, 6), slice(6, 12)))
    assert said == [
        (
            "red circle: +6 (odds x403) inside, -6 (odds x0.00248) outside, steps 0 to 0\n"
            f"share in the place: {inside[0]:.3f} -> {inside[1]:.3f}, elsewhere: {outside[0]:.3f} -> {outside[1]:.3f} "
            "(first and last steered step)"
        )
    ]
    (kept,) = json.loads(str(after.about[SHARES]))
    assert kept["inside"] == pytest.approx(inside, abs=1e-4)
    assert kept["elsewhere"] == pytest.approx(outside, abs=1e-4)
    told = {"words": "red circle", "branch": POSITIVE, "entry": 0, "columns": [2, 3], "strength": 6.0, "outside": -6.0}
    assert kept.items() >= (told | {"steps": [0, 0]}).items()


def test_a_recording_keeps_every_strength_with_its_shares_and_none_where_nothing_was_done(sd15: Any) -> None:
    """Oracle: by hand: two words lifted have no place, so no share elsewhere; a strength of 0 did nothing."""
    lifted = Steering("red circle", 2.0), Steering("square", -3.0), Steering("blue", 0.0)
    after, _ = recording_of(steered(sd15, *lifted))
    kept = json.loads(str(after.about[SHARES]))
    assert [(one["words"], one["strength"], one["elsewhere"]) for one in kept] == [
        ("red circle", 2.0, None),
        ("square", -3.0, None),
    ]
    assert kept[0]["inside"][0] < kept[0]["inside"][1]
    assert kept[1]["inside"][0] > kept[1]["inside"][1]
    assert SHARES not in recording_of(steered(sd15, lifted[2]))[0].about
