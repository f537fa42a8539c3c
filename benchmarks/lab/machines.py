"""Two machines that train one run in a shared folder, killed by turns: what does each kill cost, and what comes out?

A machine is a process with its own name, its own path to the folder and a clock of its own, hours away from the
other's; both ask for the run all the time, and the lease lets one in. After a kill either the other machine goes on,
when the lease has been silent long enough, or the same one comes back first.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pack.scenescope.errors import InputError, SceneScopeError
from pack.scenescope.training.run.lease import Lease
from pack.scenescope.training.run.state import load_state

HOURS = {"north": 0.0, "south": -7.0}
"""The machines, and how far their clocks are off."""
BEAT, PATIENCE = 0.5, 6.0  # seconds; a tenth and a fifth of what the node takes, so that takeovers are soon
SAVE_EVERY = 3  # steps
SILENT = 600.0  # seconds without a word from either machine are a fault
TURNED_AWAY = ("is being trained by", "has taken this run over")


@dataclass(frozen=True)
class Kill:
    """One kill: the machine, the last step that it had told of, the step of the state that was left, and a fault."""

    machine: str
    reached: int
    kept: int
    wrong: str


@dataclass(frozen=True)
class Shared:
    """What came of the runs: the kills, who went on after them, how often one was turned away, and faults at the end.

    Args:
        kills: in order.
        moved: how many were gone on with by the other machine.
        refused: how often a machine was turned away while the other worked.
        faults: of finished runs; empty where all ended with the undisturbed run's weights and nothing left over.
    """

    kills: tuple[Kill, ...]
    moved: int
    refused: int
    faults: tuple[str, ...]


class Machine:
    """A process that asks for the run until it has finished it."""

    def __init__(self, name: str, root: Path, learn: Callable[[Path], str]) -> None:
        self.name, self.reached = name, 0
        fork = multiprocessing.get_context("fork")
        self.heard, there = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_work, args=(name, _mounted(name, root), learn, there))
        self._process.start()
        there.close()

    def kill(self) -> None:
        """End it by a signal that it cannot catch, and hear its last words."""
        os.kill(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        while self.heard.poll():
            try:
                kind, what = self.heard.recv()
            except EOFError:
                return
            if kind == "step":
                self.reached = what

    def end(self) -> None:
        """Wait for its end."""
        self._process.join()


def _mounted(name: str, root: Path) -> Path:
    """Where a machine has the shared folder: a path that only it knows."""
    mount = root / name / ("output" if name == "north" else "mnt/farm/output")
    mount.parent.mkdir(parents=True, exist_ok=True)
    if not mount.is_symlink():
        (root / "shared").mkdir(exist_ok=True)
        mount.symlink_to(root / "shared", target_is_directory=True)
    return mount


def _work(name: str, folder: Path, learn: Callable[[Path], str], there: Connection) -> None:
    """What a machine does, in its own process, until it has finished the run."""
    from pack.host.training import run

    clock, train = time.time, run.train
    time.time = lambda: clock() + 3600 * HOURS[name]
    run.Lease = functools.partial(Lease, beat=BEAT, patience=PATIENCE, machine=name)  # type: ignore[misc, assignment]

    def told(*given: Any, on_step: Callable[[Any], None], **others: Any) -> Any:
        def tell(report: Any) -> None:
            on_step(report)
            there.send(("step", report.step))

        return train(*given, on_step=tell, **others)

    run.train = told
    while True:
        try:
            there.send(("done", learn(folder)))
            break
        except InputError as error:
            if not any(words in str(error) for words in TURNED_AWAY):
                there.send(("failed", str(error)))
                break
            there.send(("refused", str(error)))
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            there.send(("failed", f"{type(error).__name__}: {error}"[:300]))
            break
    there.close()
    os._exit(0)


def shared_runs(learn: Callable[[Path], str], digest: str, kills: int, chance: random.Random) -> Shared:
    """Kill until there were enough kills, in as many runs as that takes, and let each run end.

    Args:
        learn: trains the run named `run` below an output folder, saving every `SAVE_EVERY` steps; gives a digest of
            what was learned.
        digest: the undisturbed run's.
        kills: how many in all.
        chance: when, and who goes on.
    """
    done: list[Kill] = []
    moved = refused = 0
    faults: list[str] = []
    while len(done) < kills and not faults:
        with tempfile.TemporaryDirectory() as place:
            run = _Run(Path(place), learn, chance)
            run.go(done, kills)
            moved, refused = moved + run.moved, refused + run.refused
            faults += run.faults(digest)
    return Shared(tuple(done), moved, refused, tuple(faults))


class _Run:
    """One run, from its beginning to its end."""

    def __init__(self, root: Path, learn: Callable[[Path], str], chance: random.Random) -> None:
        self.root, self.learn, self.chance = root, learn, chance
        self.moved = self.refused = 0
        self.ends: list[tuple[str, str]] = []
        self.machines = {name: Machine(name, root, learn) for name in HOURS}
        self._due = self._steps_to_go()
        self._away: str | None = None  # killed, and not yet back
        self._killed: str | None = None  # the last one that was

    def go(self, done: list[Kill], kills: int) -> None:
        """Listen to both machines, kill the one that works when its time has come, until both have finished."""
        while len(self.ends) < len(HOURS):
            talking = {machine.heard: machine for machine in self.machines.values()}
            ready = wait(list(talking), SILENT)
            if not ready:
                self.ends = [("failed", f"no word for {SILENT:.0f} s")]
                break
            for heard in ready:
                self._hear(talking[heard], done, kills)  # type: ignore[index]
        for machine in self.machines.values():
            machine.kill()

    def _hear(self, machine: Machine, done: list[Kill], kills: int) -> None:
        try:
            kind, what = machine.heard.recv()
        except EOFError:
            kind, what = "failed", "ended without a word"
        if kind == "refused":
            self.refused += 1
        elif kind == "step":
            machine.reached = what
            self.moved += self._killed not in (None, machine.name)
            self._killed = None
            if self._away is not None and self._away not in self.machines:
                self._start(self._away)
            self._due -= 1
            if self._due <= 0 and len(done) < kills:
                time.sleep(self.chance.random() * 0.5)  # into the next step, or a save
                done.append(self._kill(machine))
                print(f"{len(done)}/{kills} {done[-1]}", flush=True)
        else:
            self.ends.append((kind, what))
            machine.end()
            del self.machines[machine.name]
            if self._away is not None and self._away not in self.machines:
                self._start(self._away)

    def _start(self, name: str) -> None:
        self.machines[name], self._away = Machine(name, self.root, self.learn), None

    def _kill(self, machine: Machine) -> Kill:
        machine.kill()
        wrong, kept = "", 0
        state = self.root / "shared" / "training" / "run" / "state.safetensors"
        try:
            kept = load_state(state).step if state.exists() else 0
        except SceneScopeError as error:
            wrong = f"the state is broken: {error}"
        for path in state.parent.iterdir():  # as the other machine's clock would have written them
            shift = 3600 * self.chance.choice(tuple(HOURS.values()))
            os.utime(path, (time.time() + shift, time.time() + shift))
        if machine.reached - kept > SAVE_EVERY:
            wrong = wrong or f"{machine.reached - kept} steps are lost"
        del self.machines[machine.name]
        self._due, self._killed, self._away = self._steps_to_go(), machine.name, machine.name
        if not self.machines or self.chance.random() < 0.25:
            self._start(machine.name)
        return Kill(machine.name, machine.reached, kept, wrong)

    def _steps_to_go(self) -> int:
        return self.chance.randint(1, 2 * SAVE_EVERY + 1)

    def faults(self, digest: str) -> list[str]:
        """What was wrong with the run's end."""
        wrong = [what for kind, what in self.ends if kind == "failed"]
        wrong += ["other weights" for kind, what in self.ends if kind == "done" and what != digest]
        left = {path.name for path in (self.root / "shared" / "training" / "run").iterdir()}
        odd = sorted(left - {"state.safetensors", "curves.safetensors", "dashboard.json"})
        return wrong + ([f"left over: {', '.join(odd)}"] if odd else [])


def summary(shared: Shared) -> str:
    """The runs in a sentence or two."""
    lost = [kill.reached - kill.kept for kill in shared.kills]
    wrong = [kill.wrong for kill in shared.kills if kill.wrong] + list(shared.faults)
    return (
        f"{len(shared.kills)} kills of two machines on one folder; {shared.moved} gone on with by the other machine, "
        f"{shared.refused} times one was turned away while the other worked. A kill cost {max(lost)} steps at most "
        f"(saved every {SAVE_EVERY}), {sum(lost) / len(lost):.1f} in the mean. "
        + ("Wrong: " + "; ".join(wrong) if wrong else "Every run ended with the undisturbed run's weights.")
    )
