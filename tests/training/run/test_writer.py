"""Saving beside the next step: the order, what becomes of errors, and that the run goes on meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.run.state import State, StateStore, load_state
from pack.scenescope.training.run.trainer import Run
from pack.scenescope.training.run.writer import StateWriter
from pack.tests.support.toy_runs import LORA
from pack.tests.support.toy_training import toy_ports, toy_scene


@pytest.fixture(scope="module")
def state() -> State:
    """Of a run of one step."""
    scene = toy_scene()
    with Run(scene, toy_ports(scene), LORA) as run:
        run.advance()
        return run.state()


def check_until_it_raises(writer: StateWriter) -> None:
    """As a run does, step by step."""
    while True:
        writer.check()


def test_the_run_goes_on_while_a_state_is_written(state: State, tmp_path: Path):
    """Oracle: by hand: the writing is held up, and `save` comes back; the state is there when it was waited for."""
    held = threading.Event()
    writer = StateWriter(StateStore(tmp_path / "run.state", 1, held.wait), 0, beside=True)
    writer.save(lambda: state)
    writer.check()
    assert not (tmp_path / "run.state").exists()
    held.set()
    writer.finish()
    assert load_state(tmp_path / "run.state").step == 1


def test_states_are_written_in_their_order(state: State, tmp_path: Path):
    """Oracle: by hand: each is read back when the next is about to be written."""
    path, found = tmp_path / "run.state", []

    def look() -> None:
        found.append(load_state(path).step if path.exists() else 0)

    writer = StateWriter(StateStore(path, 1, look), 0, beside=True)
    for step in range(1, 6):
        writer.save(lambda step=step: replace(state, step=step))
    writer.finish()
    assert found == [0, 1, 2, 3, 4]
    assert load_state(path).step == 5


def test_what_a_writing_ended_with_is_raised_once_at_the_next_chance(state: State, tmp_path: Path):
    """Oracle: by hand: a folder that is not there, and a run that is another worker's by now."""
    writer = StateWriter(StateStore(tmp_path / "nowhere" / "run.state", 1), 0, beside=True)
    writer.save(lambda: state)
    with pytest.raises(FileError, match="can't be written"):
        writer.save(lambda: state)
    writer.finish()
    writer.save(lambda: state)
    with pytest.raises(FileError, match="can't be written"):
        check_until_it_raises(writer)
    writer.save(lambda: state)
    assert isinstance(writer.ended(), FileError)
    assert writer.ended() is None

    def lost() -> None:
        raise InputError("another worker has taken this run over")

    writer = StateWriter(StateStore(tmp_path / "run.state", 1, lost), 0, beside=True)
    writer.save(lambda: state)
    with pytest.raises(InputError, match="another worker"):
        writer.finish()
    assert list(tmp_path.iterdir()) == []
