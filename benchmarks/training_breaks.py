"""Two machines that train one run in a shared folder, killed in turn: what does each kill cost, and what comes out?

A machine is a process on the demo model with its own name, its own path to the folder and a clock of its own, hours
away from the other's; both ask for the run all the time, and the lease lets one in. It is killed at any moment, by a
signal that it cannot catch. Then either the other machine goes on, when the lease has been silent long enough, or the
same one comes back first. The state that is left must be whole, the weights must be those of an undisturbed run bit for
bit, and nothing else may lie in the folder at the end. Processes are forks, which have the model (Linux and macOS).

    python dev.py bench training_breaks
    python dev.py bench training_breaks --kills 5 --mode full
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the optimiser imports it at its first step, which would cost each fork seconds
from pack.devtools.comfyui import need_comfyui, use_comfyui
from pack.scenescope.errors import InputError, SceneScopeError
from pack.scenescope.training.run.lease import Lease
from pack.scenescope.training.run.state import load_state
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.tests.support.toy_runs import bits

RUN = Path("training", "run")
"""The run's folder below the output folder."""
STATE = "state.safetensors"
LEFT = {STATE, "curves.safetensors", "dashboard.json"}
"""What lies in it when the run has ended."""
SAVE_EVERY = 3  # steps
HOURS = {"north": 0.0, "south": -7.0}
"""The machines, and how far their clocks are off."""
BEAT, PATIENCE = 0.5, 6.0  # seconds; a tenth and a fifth of what the node takes, so that takeovers are soon
SILENT = 600.0  # seconds without a word from either machine are a fault
TURNED_AWAY = ("is being trained by", "has taken this run over")
Learn = Callable[[Path], str]
"""Trains the run below an output folder; gives a digest of what was learned."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(prog="dev.py bench training_breaks", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--kills", type=int, default=34, help="in all (34)")
    reader.add_argument("--mode", choices=("lora", "full"), default="lora", help="what is trained (lora)")
    reader.add_argument("--steps", type=int, default=8, help="of each phase (8)")
    reader.add_argument("--seed", type=int, default=0, help="for when to kill, and who resumes (0)")
    return reader.parse_args()


def node_training(settings: Settings) -> Learn:
    """Training of the demo model as the node does it."""
    import folder_paths
    from pack.host.demo import load_demo_model
    from pack.host.training.plan import Plan
    from pack.host.training.run import train_concepts
    from pack.tests.support.host.learning import small_scene

    with torch.inference_mode():
        parts = load_demo_model()

    def learn(folder: Path) -> str:
        folder_paths.set_output_directory(str(folder))
        plan = Plan(run_name=RUN.name, sample_count=0, save_every=SAVE_EVERY)
        with torch.inference_mode():
            concepts = train_concepts(parts, small_scene(), settings, plan, node=None).concepts
        return hashlib.sha256(repr(sorted(bits(concepts).items())).encode()).hexdigest()

    return learn


def kept_step(folder: Path) -> tuple[int, str]:
    """The step of the state that is left below an output folder, and what is wrong with it."""
    state = folder / RUN / STATE
    try:
        return (load_state(state).step if state.exists() else 0), ""
    except SceneScopeError as error:
        return 0, f"the state is broken: {error}"


@dataclass(frozen=True)
class Kill:
    """One kill: the machine, the last step that it had reported, the step of the state that was left, and a fault."""

    machine: str
    reached: int
    kept: int
    wrong: str


class Machine:
    """A process that asks for the run until it has finished it; it says (kind, what), and last `done` or `failed`."""

    def __init__(self, name: str, root: Path, learn: Learn) -> None:
        self.name, self.reached = name, 0
        fork = multiprocessing.get_context("fork")
        self.heard, there = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_to_its_end, args=(name, _mounted(name, root), learn, there))
        self._process.start()
        there.close()

    def said(self) -> tuple[str, Any]:
        """Its next word; it notes the step by itself."""
        try:
            kind, what = self.heard.recv()
        except EOFError:
            kind, what = "failed", "ended without a word"
        if kind == "step":
            self.reached = what
        return kind, what

    def end(self) -> None:
        """Wait for its end."""
        self._process.join()

    def kill(self) -> None:
        """End it by a signal that it cannot catch, and hear its last words."""
        os.kill(self._process.pid or 0, signal.SIGKILL)
        self.end()
        while self.said()[0] not in ("done", "failed"):
            pass


def _mounted(name: str, root: Path) -> Path:
    """Where a machine has the shared folder: a path that only it knows."""
    mount = root / name / ("output" if name == "north" else "mnt/farm/output")
    mount.parent.mkdir(parents=True, exist_ok=True)
    if not mount.is_symlink():
        (root / "shared").mkdir(exist_ok=True)
        mount.symlink_to(root / "shared", target_is_directory=True)
    return mount


def _to_its_end(name: str, folder: Path, learn: Learn, there: Connection) -> None:
    try:
        _work(name, folder, learn, there)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
        there.send(("failed", f"{type(error).__name__}: {error}"[:300]))
    there.close()
    os._exit(0)


def _work(name: str, folder: Path, learn: Learn, there: Connection) -> None:
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


class SharedRun:
    """One run, from its beginning to its end.

    Args:
        root: an empty folder.
        learn: what a machine does.
        chance: when a machine is killed, and who goes on.
    """

    def __init__(self, root: Path, learn: Learn, chance: random.Random) -> None:
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
        kind, what = machine.said()
        if kind == "refused":
            self.refused += 1
        elif kind == "step":
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
        odd = ", ".join(sorted({path.name for path in (self.root / "shared" / RUN).iterdir()} - LEFT))
        return [*wrong, f"left over: {odd}"] if odd else wrong


def main() -> int:
    """Kill until there were enough kills, in as many runs as that takes, let each run end, and say what that cost."""
    options = arguments()
    torch.set_num_threads(1)
    use_comfyui(need_comfyui("training_breaks"))
    preset = {"lora": lora_settings, "full": full_settings}[options.mode]
    settings = preset(phase1_steps=options.steps, phase2_steps=options.steps, prior="frozen", rank=4, seed=1)
    learn, chance = node_training(settings), random.Random(options.seed)
    done: list[Kill] = []
    digest, moved, refused = "", 0, 0
    wrong: list[str] = []
    while (len(done) < options.kills or not digest) and not wrong:
        with tempfile.TemporaryDirectory() as place:
            run = SharedRun(Path(place), learn, chance)
            run.go(done, options.kills if digest else 0)  # nothing happens to the first one
            digest = digest or run.ends[0][1]
            moved, refused, wrong = moved + run.moved, refused + run.refused, run.faults(digest)
    lost = [kill.reached - kill.kept for kill in done] or [0]
    wrong = [kill.wrong for kill in done if kill.wrong] + wrong
    print(
        f"{len(done)} kills of two machines on one folder; {moved} times the other machine took over, {refused} times "
        f"one was turned away while the other worked. A kill cost {max(lost)} steps at most (saved every "
        f"{SAVE_EVERY}), {sum(lost) / len(lost):.1f} on average. "
        + ("Wrong: " + "; ".join(wrong) if wrong else "Every run ended with the undisturbed run's weights.")
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
