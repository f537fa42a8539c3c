"""An interrupted run: what it needs to resume, kept in a file, and whether it may resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from ...dims import counted
from ...errors import FileError, InputError
from ...files.dataclass_file import read_value, write_value
from ...files.dataclass_json import MisfitError
from ...host_copies import to_host
from ..settings import Settings

FORMAT = "scenescope-training 1"


@dataclass(frozen=True)
class State:
    """A run between two steps. There is no random state: a step's random numbers depend only on the seed and the step.

    Args:
        step: steps taken; the phase follows from it.
        settings: of the run.
        base: a name for the base model's weights.
        scene: the scene's digest.
        class_pictures: their digest; "" without.
        embeddings: (concept channel) float32.
        weights: what phase 2 trains, by name; empty in phase 1.
        moments: the optimiser's, by parameter and kind, such as `rows exp_avg`.
        scale: the gradient scaler's factor and its count of good steps; None without one.
        others: what else the run learns from, as in `Ports`; empty in older files.
    """

    step: int
    settings: Settings
    base: str
    scene: str
    class_pictures: str
    embeddings: Tensor = field(metadata={"key": "rows"})  # files of every version name them so
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    scale: tuple[float, int] | None
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.step <= self.settings.steps:
            raise MisfitError(f"step is {self.step}, but the run has only {self.settings.steps}")
        tensors = (self.embeddings, *self.weights.values(), *self.moments.values())
        finite = to_host([tensor.isfinite().all() for tensor in tensors])  # read once; small moments are on the CPU
        if not bool(torch.stack(finite).all()):
            raise MisfitError("a number is not finite")


def save_state(state: State, path: Path) -> None:
    """Write a state to one file, completely or not at all.

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


@dataclass(frozen=True)
class Origin:
    """What a run begins with, beside its settings: what `State` says of them."""

    base: str
    scene: str
    class_pictures: str
    others: Mapping[str, str] = field(default_factory=dict)


def check_same_run(state: State, settings: Settings, origin: Origin) -> None:
    """Refuse to resume a run that began with other settings.

    Raises:
        InputError: anything that the run learns from is another: settings, base model, scene, class pictures, or what
            the host named beside them.
    """
    pairs = [
        (field.name, getattr(state.settings, field.name), getattr(settings, field.name)) for field in fields(Settings)
    ]
    pairs += [(name, then, origin.others.get(name, "")) for name, then in state.others.items()]
    pairs += [("the base model", state.base, origin.base), ("the scene", state.scene, origin.scene)]
    pairs.append(("the set of class pictures", state.class_pictures, origin.class_pictures))
    for name, then, now in pairs:
        if then != now:
            raise InputError(
                f"Train Concepts: this run can't be resumed, because {name} is {_shown(now)} now and was "
                f"{_shown(then)} when it began ({counted(state.step, 'step')} ago). Set it back, or start afresh under "
                "another run_name."
            )


def _shown(value: object) -> str:
    return "as usual" if value == "" else repr(value)


def check_shapes(saved: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse saved tensors that are not those of this run.

    Raises:
        FileError: names or shapes differ.
    """
    if saved != wanted:
        odd = min(saved.items() ^ wanted.items())[0]
        raise FileError(
            f"Train Concepts: the saved state doesn't fit this model at {odd}. Start afresh under another run_name."
        )


def check_count(name: str, count: float) -> None:
    """Refuse a step count that no optimiser can have, because it divides by a number computed from it.

    Raises:
        FileError: it is below 0, or no whole number.
    """
    if count < 0 or count != int(count):
        raise FileError(
            f"Train Concepts: the saved state counts {count:g} steps of {name}, which can't be. Start afresh under "
            "another run_name."
        )


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class StateStore:
    """Where a run's state is kept.

    Args:
        path: the file; an existing state is resumed.
        every: steps from one writing to the next.
        check: called before each writing; raises where the run is another worker's by now.
    """

    path: Path
    every: int
    check: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"Train Concepts: the state can't be kept every {self.every} steps. Choose 1 or more.")

    def save(self, state: State) -> None:
        """Write a state, unless the run is another worker's."""
        self.check()
        save_state(state, self.path)
