"""Training state on disk: tensors and a step in one safetensors file, written aside and moved into place."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from ..scenescope.files.atomic import write_whole


@dataclass(frozen=True)
class Job:
    """One run of a stage.

    Args:
        folder: where the state lives; a run goes on from what is there.
        seed: of weights, pictures and noise.
        minutes: how long.
        batch: pictures or crops a step.
        device: `cpu` or `cuda`.
        start: a model file to begin from where the folder has no state; None begins from nothing.
        on_save: called after each writing of the state.
    """

    folder: Path
    seed: int
    minutes: float
    batch: int
    device: str
    start: Path | None = None
    on_save: Callable[[], None] = lambda: None


class Progress:
    """A stage's clock: prints a line every few seconds, says when to save, and ends early when asked to.

    Args:
        name: of the stage.
        minutes: how long it may take.
    """

    def __init__(self, name: str, minutes: float) -> None:
        self.name, self.seconds = name, 60 * minutes
        self.begun = self.printed = self.saved = time.monotonic()
        self.past: dict[str, list[torch.Tensor]] = {}
        self.spent, self.asked = 0.0, False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def after_step(self, step: int, **values: torch.Tensor) -> bool:
        """Note a step's values; returns whether it is time to save."""
        now = time.monotonic()
        self.spent = 1.0 if self.asked else (now - self.begun) / self.seconds
        for name, value in values.items():
            self.past.setdefault(name, []).append(value)
        if now - self.printed > 20 or self.spent >= 1:
            means = " ".join(f"{name} {torch.stack(past).mean().item():.4f}" for name, past in self.past.items())
            left = max(0, math.ceil((1 - self.spent) * self.seconds / 60))
            print(f"{self.name} {step} {means}; {left} min left", file=sys.stderr, flush=True)
            self.past.clear()
            self.printed = now
        if now - self.saved > 120 or self.spent >= 1:
            self.saved = now
            return True
        return False


@torch.no_grad()
def load_part(path: Path, prefix: str, module: torch.nn.Module) -> None:
    """Read those weights of a model file that begin with `prefix` into a module that has all of them."""
    with safe_open(path, "pt") as file:
        for name, value in module.state_dict().items():
            value.copy_(file.get_tensor(prefix + name))


class Averaged:
    """A running mean of a module's parameters, warmed up so that early steps do not linger."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def add(self, module: torch.nn.Module, step: int) -> None:
        """Blend the parameters in; at `step` at most the last tenth of the run counts."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = dict(module.named_parameters())
        torch._foreach_lerp_(list(self.values.values()), [live[name].detach() for name in self.values], 1 - decay)


def save_state(
    path: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Averaged, notes: dict[str, float]
) -> None:
    """Write weights, their mean, both Adam moments and `notes` (such as the step)."""
    tensors = {f"weight.{k}": v.detach().contiguous() for k, v in module.named_parameters()}
    tensors |= {f"mean.{k}": v.contiguous() for k, v in average.values.items()}
    for name, parameter in module.named_parameters():
        moments = optimiser.state.get(parameter, {})
        tensors |= {f"{key}.{name}": moments[key].contiguous() for key in ("exp_avg", "exp_avg_sq") if key in moments}
    content = save({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata={"notes": json.dumps(notes)})
    write_whole(lambda file: file.write(content), path, "train")


def load_state(
    path: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Averaged
) -> dict[str, float]:
    """Read what `save_state` wrote, in place; returns the notes, empty when there is no such file."""
    if not path.exists():
        return {}
    with safe_open(path, "pt") as file, torch.no_grad():
        notes: dict[str, float] = json.loads(file.metadata()["notes"])
        names = set(file.keys())
        for name, parameter in module.named_parameters():
            parameter.copy_(file.get_tensor(f"weight.{name}"))
            average.values[name].copy_(file.get_tensor(f"mean.{name}"))
            if f"exp_avg.{name}" in names:
                counted = parameter.device if optimiser.defaults.get("fused") else "cpu"  # as torch keeps its counts
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(notes["step"]), device=counted),
                    "exp_avg": file.get_tensor(f"exp_avg.{name}").to(parameter.device, copy=True),
                    "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").to(parameter.device, copy=True),
                }
    return notes


@torch.no_grad()
def load_weights(path: Path, module: torch.nn.Module, *, averaged: bool) -> int:
    """Read only weights into `module`, the averaged or the last; returns their step, 0 when there is no such file."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        for name, parameter in module.named_parameters():
            parameter.copy_(file.get_tensor(f"{'mean' if averaged else 'weight'}.{name}"))
        return int(json.loads(file.metadata()["notes"])["step"])
