"""A run that was broken off: what it needs to go on, in a file, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ..attention.plain import MisfitError
from ..errors import FileError, InputError
from .settings import Settings
from .storage import read_value, write_value

FORMAT = "scenescope-training 1"


@dataclass(frozen=True)
class State:
    """A run between two steps. There is no random state: a step's numbers depend on the seed and the step alone.

    Args:
        step: steps taken; the phase follows from it.
        settings: of the run.
        base: a name for the base model's weights.
        scene: the scene's digest.
        rows: (concept channel) float32.
        weights: what phase 2 trains, by name; empty in phase 1.
        moments: the optimiser's, by parameter and kind, such as `rows exp_avg`.
        scale: the gradient scaler's factor and its count of good steps; None without one.
    """

    step: int
    settings: Settings
    base: str
    scene: str
    rows: Tensor
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    scale: tuple[float, int] | None

    def __post_init__(self) -> None:
        if not 0 <= self.step <= self.settings.steps:
            raise MisfitError(f"step is {self.step}; expected at most {self.settings.steps}")
        tensors = (self.rows, *self.weights.values(), *self.moments.values())
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise MisfitError("a number is not finite; expected finite ones")


def save_state(state: State, path: Path) -> None:
    """Write a state to one file, which is there whole or not at all.

    Raises:
        FileError: it cannot be written; an earlier state is as it was.
    """
    write_value(state, path, FORMAT, "Train Concepts: the state")


def load_state(path: Path) -> State:
    """Read a state, on the CPU.

    Raises:
        FileError: the file is damaged, hostile, foreign, or of another format.
    """
    return read_value(State, path, FORMAT, f"Train Concepts: {path.name}")


def check_same_run(state: State, settings: Settings, base: str, scene: str) -> None:
    """Refuse to go on with a run that was begun differently.

    Raises:
        InputError: settings, base model or scene are others.
    """
    pairs = [
        (field.name, getattr(state.settings, field.name), getattr(settings, field.name)) for field in fields(Settings)
    ]
    pairs += [("the base model", state.base, base), ("the scene", state.scene, scene)]
    for name, then, now in pairs:
        if then != now:
            raise InputError(
                f"Train Concepts: {name} is {now!r}; expected {then!r}, with which the run that is to go on was begun "
                f"{state.step} steps ago. Set it back, or begin anew under another name."
            )


@torch.no_grad()
def put_back(saved: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Write saved tensors over a run's own.

    Raises:
        FileError: names or shapes differ.
    """
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (saved, into)]
    if shapes[0] != shapes[1]:
        odd = min(shapes[0].items() ^ shapes[1].items())[0]
        raise FileError(
            f"Train Concepts: the saved state does not fit the model at {odd}; expected the shapes of this run. "
            "Begin anew under another name."
        )
    for name, tensor in into.items():
        tensor.copy_(saved[name])
