"""A run of training in a process of its own that may be ended at any moment, and what it leaves behind."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the optimiser imports it at its first step, which would cost each fork seconds
from pack.scenescope.errors import SceneScopeError
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.run.state import load_state
from pack.scenescope.training.run.trainer import StateStore
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.tests.support.toy_runs import bits, learned

RUN = Path("training", "run")
"""The run's folder below the output folder."""
STATE = "state.safetensors"
SAVE_EVERY = 3  # steps
Train = Callable[[Settings, Path, Callable[[], None], float | None], Concepts]
"""Trains below an output folder, tells when a step is taken, and is cancelled after so many seconds, None for never."""


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: a digest of what was learned, when its first step was taken, its end, and forward calls."""

    digest: str
    begun: float
    seconds: float
    calls: int


class BrokenOff(Exception):
    """What ends a run by an error."""


class Child:
    """A fork of this process, which has the models already; it says (kind, what), and last `failed` for an error."""

    def __init__(self, work: Callable[[Connection], None]) -> None:
        fork = multiprocessing.get_context("fork")
        self.heard, there = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_to_its_end, args=(work, there))
        self._process.start()
        there.close()

    def kill(self) -> None:
        """End it by a signal that it cannot catch."""
        os.kill(self._process.pid or 0, signal.SIGKILL)
        self._process.join()

    def end(self) -> None:
        """Wait for its end."""
        self._process.join()


def _to_its_end(work: Callable[[Connection], None], there: Connection) -> None:
    try:
        work(there)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
        there.send(("failed", f"{type(error).__name__}: {error}"[:300]))
    there.close()
    os._exit(0)  # a timer that has not gone off yet is nobody's concern


def in_child(work: Callable[[], Whole], kill_after: float | None = None) -> Whole | str:
    """Do it in a fork, and end that by a signal perhaps: what it gave, or how it ended."""
    child = Child(lambda there: there.send(("done", work())))
    if kill_after is not None and not child.heard.poll(kill_after):
        child.kill()
    try:
        return child.heard.recv()[1]
    except EOFError:
        return "killed"
    finally:
        child.end()


def learn(
    train: Train, mode: str, steps: int, folder: Path, error_at: int | None = None, cancel_after: float | None = None
) -> Whole:
    """Train, and end by an error at some module's forward call, or by the host's cancel after some seconds."""
    preset = {"lora": lora_settings, "full": full_settings}[mode]
    settings = preset(phase1_steps=steps, phase2_steps=steps, prior="frozen", rank=4, seed=1)
    begun: list[float] = []
    calls = 0

    def count(module: torch.nn.Module, inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == error_at:
            raise BrokenOff

    began = time.monotonic()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    concepts = train(settings, folder, lambda: begun.append(time.monotonic() - began), cancel_after)
    handle.remove()
    digest = hashlib.sha256(repr(sorted(bits(concepts).items())).encode()).hexdigest()
    return Whole(digest, begun[0] if begun else 0.0, time.monotonic() - began, calls)


def node_training(parts: Any) -> Train:
    """Training on MODEL, CLIP and VAE, as the node does it."""

    def train(settings: Settings, folder: Path, on_step: Callable[[], None], cancel_after: float | None) -> Concepts:
        import comfy.model_management as manage
        import folder_paths
        from pack.host.training.plan import Plan
        from pack.host.training.run import train_concepts
        from pack.tests.support.host.learning import small_scene

        folder_paths.set_output_directory(str(folder))
        if cancel_after is not None:
            threading.Timer(cancel_after, manage.interrupt_current_processing).start()
        asked = manage.throw_exception_if_processing_interrupted

        def question() -> None:
            on_step()
            asked()

        manage.throw_exception_if_processing_interrupted = question
        plan = Plan(run_name=RUN.name, sample_count=0, save_every=SAVE_EVERY)
        with torch.inference_mode():
            return train_concepts(parts, small_scene(), settings, plan, node=None).concepts

    return train


def toy_training(settings: Settings, folder: Path, on_step: Callable[[], None], cancel_after: float | None) -> Concepts:
    """Training of the tests' toy model: the trainer and its files alone."""
    (folder / RUN).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def step(report: Any) -> None:
        on_step()
        if cancel_after is not None and time.monotonic() - began >= cancel_after:
            raise BrokenOff

    return learned(settings, on_step=step, keeping=StateStore(folder / RUN / STATE, SAVE_EVERY))


def kept_step(folder: Path) -> tuple[int, str]:
    """The step of the state that is left below an output folder, and what is wrong with it."""
    state = folder / RUN / STATE
    try:
        return (load_state(state).step if state.exists() else 0), ""
    except SceneScopeError as error:
        return 0, f"the state is broken: {error}"


def left_over(folder: Path, sweeping: bool = True) -> str:
    """What else lies in the run's folder than may at its end; the trainer alone leaves its temporary files there."""
    found = {path.name for path in (folder / RUN).iterdir() if sweeping or path.suffix != ".tmp"}
    odd = ", ".join(sorted(found - {STATE, "curves.safetensors", "dashboard.json"}))
    return f"left over: {odd}" if odd else ""
