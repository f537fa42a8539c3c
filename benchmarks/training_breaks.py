"""Runs of Train Concepts interrupted at random points and queued again: do they end with the undisturbed run's weights?

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
import itertools
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pack.benchmarks.breaks.machines import two_machines
from pack.benchmarks.breaks.run import (
    Train,
    Whole,
    in_child,
    kept_step,
    learn,
    left_over,
    node_training,
    toy_training,
)
from pack.benchmarks.lab.markdown import table
from pack.devtools.comfyui import need_comfyui, use_comfyui

KINDS = ("kill", "cancel", "error")
MODES = ("lora", "full")


@dataclass(frozen=True)
class Broken:
    """One break: how, in which mode, the step of the state that was left, and what was found wrong, "" for nothing."""

    kind: str
    mode: str
    kept: int
    wrong: str


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


def broken(train: Train, kind: str, mode: str, share: float, whole: Whole, steps: int) -> Broken:
    """Break a run off at a share of its way, go on, and look."""
    moment = whole.begun + share * (whole.seconds - whole.begun)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        error = max(1, round(share * whole.calls)) if kind == "error" else None
        cancel, kill = (moment if kind == own else None for own in ("cancel", "kill"))
        in_child(lambda: learn(train, mode, steps, folder, error, cancel), kill)
        kept, wrong = kept_step(folder)
        if wrong:
            return Broken(kind, mode, kept, wrong)
        again = in_child(lambda: learn(train, mode, steps, folder))
        if isinstance(again, str):
            return Broken(kind, mode, kept, again)
        left = left_over(folder, sweeping=train is not toy_training)
    return Broken(kind, mode, kept, "other weights" if again.digest != whole.digest else left)


def demo_model() -> Any:
    """MODEL, CLIP and VAE in a ComfyUI."""
    use_comfyui(need_comfyui("training_breaks"))
    from pack.host.demo import load_demo_model

    with torch.inference_mode():
        return load_demo_model()


def undisturbed(train: Train, mode: str, steps: int) -> Whole:
    """A run that nothing happens to."""
    with tempfile.TemporaryDirectory() as place:
        whole = in_child(lambda: learn(train, mode, steps, Path(place)))
    if isinstance(whole, str):
        raise SystemExit(f"training_breaks: the undisturbed run failed: {whole}")
    return whole


def main() -> int:
    """Break, go on, and print a table."""
    options = arguments()
    torch.set_num_threads(1)
    train = toy_training if options.toy else node_training(demo_model())
    chance = random.Random(options.seed)
    if options.machines:
        digest = undisturbed(train, "lora", options.steps).digest
        return not two_machines(lambda f: learn(train, "lora", options.steps, f).digest, digest, options.kills, chance)
    wholes, found = {mode: undisturbed(train, mode, options.steps) for mode in MODES}, []
    others = options.points - options.kills
    kinds = ["kill"] * options.kills + ["cancel"] * (others // 2) + ["error"] * (others - others // 2)
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds):
        mode = MODES[number % len(MODES)]
        found.append(broken(train, kind, mode, chance.random(), wholes[mode], options.steps))
        print(f"{number + 1}/{len(kinds)} {found[-1]}", flush=True)
    rows = []
    for kind, mode in itertools.product(KINDS, MODES):
        if own := [one for one in found if (one.kind, one.mode) == (kind, mode)]:
            kept, good = [one.kept for one in own], sum(not one.wrong for one in own)
            rows.append([kind, mode, str(len(own)), f"{min(kept)} to {max(kept)} of {2 * options.steps}", str(good)])
    print(table(["ended by", "mode", "breaks", "state left at step", "same weights, nothing left over"], rows))
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main())
