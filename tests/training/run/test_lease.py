"""One worker at a time on a run, on any machine, whatever its clock says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pack.scenescope.errors import InputError
from pack.scenescope.training.run.lease import NAME, Lease

ROOT = Path(__file__).resolve().parents[3]
QUICK = {"beat": 0.01, "patience": 0.2}
FOREIGN = {"machine": "another", "process": 1, "owner": "x", "beats": 7}


def test_a_second_worker_is_refused_while_the_first_lives_and_welcome_after(tmp_path: Path):
    """Oracle: by hand: the sentence, and the folder empty at the end."""
    with Lease(tmp_path, "Train Concepts", **QUICK):
        second = Lease(tmp_path, "Train Concepts", **QUICK, machine="another")
        told = rf"^Train Concepts: this run is being trained by .*, process {os.getpid()}\. Let it finish, or give"
        with pytest.raises(InputError, match=told), second:
            pass
    with Lease(tmp_path, "Train Concepts", **QUICK):
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_another_machine_that_stays_silent_is_taken(tmp_path: Path):
    """Oracle: by hand: nobody writes to it; its file's time, which another clock set, says nothing."""
    (tmp_path / NAME).write_text(json.dumps(FOREIGN), "utf-8")
    os.utime(tmp_path / NAME, (4e9, 4e9))  # far in the future
    waited: list[int] = []
    with Lease(tmp_path, "x", **QUICK, on_wait=lambda: waited.append(1)):
        assert json.loads((tmp_path / NAME).read_text("utf-8"))["owner"] != "x"
    assert waited


def test_what_a_killed_worker_of_this_machine_left_is_taken_at_once(tmp_path: Path):
    """Oracle: a process that was killed while it held the lease; there is no waiting."""
    code = "import os, pathlib, sys; sys.path.insert(0, sys.argv[2])\n"
    code += "from scenescope.training.run.lease import Lease\n"
    code += "with Lease(pathlib.Path(sys.argv[1]), 'x'): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path, ROOT], check=False)
    assert (tmp_path / NAME).exists()

    def fail() -> None:
        raise AssertionError("it waits")

    with Lease(tmp_path, "x", beat=0.01, patience=60, on_wait=fail if os.name == "posix" else lambda: None):
        assert str(os.getpid()) in (tmp_path / NAME).read_text("utf-8")


def test_waiting_can_be_cancelled(tmp_path: Path):
    """Oracle: what the host raises to stop a run comes through, and the lease is as it was."""
    (tmp_path / NAME).write_text(json.dumps(FOREIGN), "utf-8")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Lease(tmp_path, "x", patience=60, on_wait=stop):
        pass
    assert json.loads((tmp_path / NAME).read_text("utf-8")) == FOREIGN


def test_a_worker_that_slept_learns_that_its_run_is_anothers(tmp_path: Path):
    """Oracle: the lease is written over by hand; the worker stops, and leaves the other's lease alone."""
    lease = Lease(tmp_path, "Train Concepts", **QUICK)
    with lease:
        lease.check()
        (tmp_path / "new").write_text(json.dumps(FOREIGN), "utf-8")
        heart = next(thread for thread in threading.enumerate() if thread.name == "scenescope lease")
        while heart.is_alive():  # a beat that was under way may write once more
            (tmp_path / "new").write_text(json.dumps(FOREIGN), "utf-8")
            (tmp_path / "new").replace(tmp_path / NAME)
            heart.join(0.05)
        with pytest.raises(InputError, match="another worker has taken this run over"):
            lease.check()
    assert json.loads((tmp_path / NAME).read_text("utf-8")) == FOREIGN


def test_of_many_that_come_at_once_one_gets_a_lease_that_was_left(tmp_path: Path):
    """Oracle: counted: never two inside at the same time, and everyone else is refused or comes later."""
    (tmp_path / NAME).write_text(json.dumps(FOREIGN), "utf-8")
    inside, most, lock, refused = [0], [0], threading.Lock(), [0]
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        try:
            with Lease(tmp_path, "x", beat=0.01, patience=0.3, machine=f"machine {number}"):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1
        except InputError:
            with lock:
                refused[0] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most[0] == 1
