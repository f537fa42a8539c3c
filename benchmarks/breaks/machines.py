"""Two machines that train one run in a shared folder, killed in turn: what does each kill cost, and what comes out?

A machine is a process with its own name, its own path to the folder and a clock of its own, hours away from the
other's; both ask for the run all the time, and the lease lets one in. After a kill either the other machine goes on,
when the lease has been silent long enough, or the same one comes back first.
"""

from __future__ import annotations

import functools
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pack.benchmarks.breaks.run import RUN, SAVE_EVERY, Child, kept_step, left_over
from pack.scenescope.errors import InputError
from pack.scenescope.training.run.lease import Lease

HOURS = {"north": 0.0, "south": -7.0}
"""The machines, and how far their clocks are off."""
BEAT, PATIENCE = 0.5, 6.0  # seconds; a tenth and a fifth of what the node takes, so that takeovers are soon
SILENT = 600.0  # seconds without a word from either machine are a fault
TURNED_AWAY = ("is being trained by", "has taken this run over")


@dataclass(frozen=True)
class Kill:
    """One kill: the machine, the last step that it had reported, the step of the state that was left, and a fault."""

    machine: str
    reached: int
    kept: int
    wrong: str


class Machine(Child):
    """A process that asks for the run until it has finished it."""

    def __init__(self, name: str, root: Path, learn: Callable[[Path], str]) -> None:
        self.name, self.reached = name, 0
        super().__init__(functools.partial(_work, name, _mounted(name, root), learn))

    def kill(self) -> None:
        """End it, and hear its last words."""
        super().kill()
        while self.heard.poll():
            try:
                kind, what = self.heard.recv()
            except EOFError:
                return
            if kind == "step":
                self.reached = what


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
            return
        except InputError as error:  # noqa: PERF203  the machine asks again
            if not any(words in str(error) for words in TURNED_AWAY):
                raise
            there.send(("refused", str(error)))


def two_machines(learn: Callable[[Path], str], digest: str, kills: int, chance: random.Random) -> bool:
    """Kill until there were enough kills, in as many runs as that takes, let each run end, and say what that cost.

    Args:
        learn: trains the run below an output folder; gives a digest of what was learned.
        digest: the undisturbed run's.
        kills: how many in all.
        chance: when, and who goes on.

    Returns:
        Whether every run ended as the undisturbed one, and nothing was wrong on the way.
    """
    done: list[Kill] = []
    moved = refused = 0
    wrong: list[str] = []
    while len(done) < kills and not wrong:
        with tempfile.TemporaryDirectory() as place:
            run = _Run(Path(place), learn, chance)
            run.go(done, kills)
            moved, refused, wrong = moved + run.moved, refused + run.refused, run.faults(digest)
    lost = [kill.reached - kill.kept for kill in done]
    wrong = [kill.wrong for kill in done if kill.wrong] + wrong
    print(
        f"{len(done)} kills of two machines on one folder; {moved} times the other machine took over, {refused} times "
        f"one was turned away while the other worked. A kill cost {max(lost)} steps at most (saved every "
        f"{SAVE_EVERY}), {sum(lost) / len(lost):.1f} on average. "
        + ("Wrong: " + "; ".join(wrong) if wrong else "Every run ended with the undisturbed run's weights.")
    )
    return not wrong


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
            self._come_back()
            self._due -= 1
            if self._due <= 0 and len(done) < kills:
                time.sleep(self.chance.random() * 0.5)  # into the next step, or a save
                done.append(self._kill(machine))
                print(f"{len(done)}/{kills} {done[-1]}", flush=True)
        else:
            self.ends.append((kind, what))
            machine.end()
            del self.machines[machine.name]
            self._come_back()

    def _come_back(self) -> None:
        if self._away is not None and self._away not in self.machines:
            self._start(self._away)

    def _start(self, name: str) -> None:
        self.machines[name], self._away = Machine(name, self.root, self.learn), None

    def _kill(self, machine: Machine) -> Kill:
        machine.kill()
        folder = self.root / "shared"
        kept, wrong = kept_step(folder)
        for path in (folder / RUN).iterdir():  # as the other machine's clock would have written them
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
        return [*wrong, *filter(None, [left_over(self.root / "shared")])]
