"""Runs of Train Concepts broken off at random points and queued again: do they end with the undisturbed run's weights?

Each run is a process of its own on the demo model. It is ended in one of three ways, at a point that is drawn: `kill`,
a signal that it cannot catch, at any moment; `cancel`, the host's own, at any moment; `error`, at any module's forward
call. A second process goes on. The state that is left must be whole, the weights must be those of the undisturbed run
bit for bit, and nothing else may lie in the folder at the end.

    python dev.py bench training_breaks
    python dev.py bench training_breaks --points 20 --kills 5
    python dev.py bench training_breaks --toy       (the tests' toy model, without a ComfyUI: a few minutes)
    python dev.py bench training_breaks --machines  (two machines on one folder, ended by --kills alone)
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the optimiser imports it at its first step, which would cost each fork seconds
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

KINDS = ("kill", "cancel", "error")
MODES = ("lora", "full")


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: a digest of what was learned, when its first step was taken, its end, and forward calls."""

    digest: str
    begun: float
    seconds: float
    calls: int


@dataclass(frozen=True)
class Broken:
    """One break: how, in which mode, the step of the state that was left, and what was found wrong, "" for nothing."""

    kind: str
    mode: str
    kept: int
    wrong: str


class BrokenOff(Exception):
    """What ends a run by an error."""


class Ending:
    """Counts the forward calls of all modules, and raises at one of them.

    Args:
        at: which, None for none.
    """

    def __init__(self, at: int | None) -> None:
        self.calls, self._at = 0, at

    def __call__(self, module: torch.nn.Module, inputs: Any) -> None:
        self.calls += 1
        if self.calls == self._at:
            raise BrokenOff


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(prog="dev.py bench training_breaks", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--points", type=int, default=100, help="breaks in all (100)")
    reader.add_argument("--kills", type=int, default=34, help="of these, by kill -9 (34); the rest is halved")
    reader.add_argument("--steps", type=int, default=8, help="of each phase (8)")
    reader.add_argument("--toy", action="store_true", help="the tests' toy model; the trainer and its files alone")
    reader.add_argument("--machines", action="store_true", help="two machines share the run's folder; kills alone")
    reader.add_argument("--seed", type=int, default=0, help="of the points (0)")
    return reader.parse_args()


def learn(parts: Any, mode: str, steps: int, folder: Path, ending: Ending, cancel_after: float | None) -> Whole:
    """Train as the node does, with the state in a folder."""
    import comfy.model_management
    import folder_paths
    from pack.host.training.plan import Plan
    from pack.host.training.run import train_concepts
    from pack.scenescope.training.settings import full_settings, lora_settings
    from pack.tests.support.host.learning import learned_bits, small_scene

    folder_paths.set_output_directory(str(folder))
    preset = {"lora": lora_settings, "full": full_settings}[mode]
    settings = preset(phase1_steps=steps, phase2_steps=steps, prior="frozen", rank=4, seed=1)
    began = time.monotonic()
    begun: list[float] = []
    if cancel_after is not None:
        threading.Timer(cancel_after, comfy.model_management.interrupt_current_processing).start()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(ending)
    first = comfy.model_management.throw_exception_if_processing_interrupted

    def question() -> None:
        begun.append(time.monotonic() - began)
        first()

    comfy.model_management.throw_exception_if_processing_interrupted = question
    with torch.inference_mode():
        done = train_concepts(
            parts, small_scene(), settings, Plan(run_name="run", sample_count=0, save_every=3), node=None
        )
    handle.remove()
    digest = hashlib.sha256(repr(sorted(learned_bits(done.concepts).items())).encode()).hexdigest()
    return Whole(digest, begun[0] if begun else 0.0, time.monotonic() - began, ending.calls)


def learn_toy(parts: Any, mode: str, steps: int, folder: Path, ending: Ending, cancel_after: float | None) -> Whole:
    """Train the tests' toy model."""
    from pack.scenescope.training.run.trainer import StateStore
    from pack.scenescope.training.settings import full_settings, lora_settings
    from pack.tests.support.toy_runs import bits, learned

    (folder / "training" / "run").mkdir(parents=True, exist_ok=True)
    preset = {"lora": lora_settings, "full": full_settings}[mode]
    settings = preset(phase1_steps=steps, phase2_steps=steps, prior="frozen", rank=4, seed=1)
    began, begun = time.monotonic(), []

    def on_step(report: Any) -> None:
        begun.append(time.monotonic() - began)
        if cancel_after is not None and begun[-1] >= cancel_after:
            raise BrokenOff

    handle = torch.nn.modules.module.register_module_forward_pre_hook(ending)
    done = learned(settings, on_step=on_step, keeping=StateStore(folder / "training" / "run" / "state.safetensors", 3))
    handle.remove()
    digest = hashlib.sha256(repr(sorted(bits(done).items())).encode()).hexdigest()
    return Whole(digest, begun[0] if begun else 0.0, time.monotonic() - began, ending.calls)


Learn = Callable[[Any, str, int, Path, Ending, float | None], Whole]


def in_child(work: Callable[[], Whole], kill_after: float | None = None) -> Whole | str:
    """Do it in a fork of this process, which has the models already, and end that by a signal perhaps.

    Returns:
        What it gave, or how it ended.
    """
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    def run() -> None:
        try:
            there.send(work())
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            there.send(f"{type(error).__name__}: {error}"[:300])
        there.close()
        os._exit(0)  # a timer that has not gone off yet is nobody's concern

    child = fork.Process(target=run)
    child.start()
    there.close()
    if kill_after is not None and not here.poll(kill_after):
        os.kill(child.pid or 0, signal.SIGKILL)
    try:
        return here.recv()
    except EOFError:
        return "killed"
    finally:
        child.join()


def broken(way: tuple[Learn, Any], kind: str, mode: str, share: float, whole: Whole, steps: int) -> Broken:
    """Break a run off at a share of its way, go on, and look."""
    from pack.scenescope.errors import SceneScopeError
    from pack.scenescope.training.run.state import load_state

    train, parts = way
    moment = whole.begun + share * (whole.seconds - whole.begun)
    with tempfile.TemporaryDirectory() as place:
        folder, kept = Path(place), 0
        at = max(1, round(share * whole.calls)) if kind == "error" else None
        cancel = moment if kind == "cancel" else None
        in_child(lambda: train(parts, mode, steps, folder, Ending(at), cancel), moment if kind == "kill" else None)
        state = folder / "training" / "run" / "state.safetensors"
        if state.exists():
            try:
                kept = load_state(state).step
            except SceneScopeError as error:
                return Broken(kind, mode, kept, f"the state is broken: {error}")
        again = in_child(lambda: train(parts, mode, steps, folder, Ending(None), None))
        if isinstance(again, str):
            return Broken(kind, mode, kept, again)
        found = {path.name for path in state.parent.iterdir()}
        found -= {name for name in found if parts is None and name.endswith(".tmp")}  # the host's part sweeps them
    wrong = "" if again.digest == whole.digest else "other weights"
    odd = found - {"state.safetensors", "curves.safetensors", "dashboard.json"}
    return Broken(kind, mode, kept, wrong or (f"left over: {', '.join(sorted(odd))}" if odd else ""))


def demo_model() -> Any:
    """MODEL, CLIP and VAE in a ComfyUI."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit(f"training_breaks: no ComfyUI was found; expected one. {HOW_TO_GET_ONE}")
    use_comfyui(comfyui)
    from pack.host.demo import load_demo_model

    with torch.inference_mode():
        return load_demo_model()


def main() -> int:
    """Break, go on, and print a table."""
    options = arguments()
    torch.set_num_threads(1)
    train, parts = (learn_toy, None) if options.toy else (learn, demo_model())
    wholes: dict[str, Whole] = {}
    for mode in MODES[: 1 if options.machines else None]:
        with tempfile.TemporaryDirectory() as place:
            told = in_child(lambda: train(parts, mode, options.steps, Path(place), Ending(None), None))  # noqa: B023
        if isinstance(told, str):
            raise SystemExit(f"training_breaks: the undisturbed run failed: {told}")
        wholes[mode] = told
    if options.machines:
        return two_machines(parts, options, wholes["lora"].digest)
    chance, found = random.Random(options.seed), []
    others = options.points - options.kills
    kinds = ["kill"] * options.kills + ["cancel"] * (others // 2) + ["error"] * (others - others // 2)
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds):
        mode = MODES[number % len(MODES)]
        found.append(broken((train, parts), kind, mode, chance.random(), wholes[mode], options.steps))
        print(f"{number + 1}/{len(kinds)} {found[-1]}", flush=True)
    print(table(found, 2 * options.steps))
    return int(any(one.wrong for one in found))


def two_machines(parts: Any, options: argparse.Namespace, digest: str) -> int:
    """Kill two machines by turns that share a folder, and say what that cost."""
    from pack.benchmarks.lab.machines import shared_runs, summary

    def train(folder: Path) -> str:
        return learn(parts, MODES[0], options.steps, folder, Ending(None), None).digest

    shared = shared_runs(train, digest, options.kills, random.Random(options.seed))
    print(summary(shared))
    return int(bool(shared.faults) or any(kill.wrong for kill in shared.kills))


def table(found: list[Broken], steps: int) -> str:
    """A row for each way and mode."""
    lines = [
        "| ended by | mode | breaks | state left at step | same weights, nothing left over |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for mode in MODES:
            own = [one for one in found if (one.kind, one.mode) == (kind, mode)]
            if own:
                kept = [one.kept for one in own]
                good = sum(not one.wrong for one in own)
                lines.append(f"| {kind} | {mode} | {len(own)} | {min(kept)} to {max(kept)} of {steps} | {good} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
