"""What benchmarks measure on a GPU is the GPU's."""

from __future__ import annotations

import argparse
import json

import pytest
from pack.benchmarks.training import take_room
from pack.tests.rehearsal.backend import Backend


def test_the_room_that_training_takes_is_read_from_the_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Oracle: what the device says."""
    monkeypatch.setattr(Backend, "max_memory_allocated", lambda *_: 123456)
    take_room(argparse.Namespace(variant="lora", steps=1, pixels=64, demo=True, checkpointing=False))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["peak"] == 123456
