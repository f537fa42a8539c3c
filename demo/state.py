"""Training state on disk: tensors and a step in one safetensors file, written aside and moved into place."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from ..scenescope.files.atomic import write_whole


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

    @torch.no_grad()
    def copy_to(self, module: torch.nn.Module) -> None:
        """Write the mean into a module of the same layout."""
        live = dict(module.named_parameters())
        for name, value in self.values.items():
            live[name].copy_(value)


def save_state(
    path: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Averaged, notes: dict[str, float]
) -> None:
    """Write weights, their mean, both Adam moments and `notes` (such as the step)."""
    tensors = {f"weight.{k}": v.detach().contiguous() for k, v in module.named_parameters()}
    tensors |= {f"mean.{k}": v.contiguous() for k, v in average.values.items()}
    for name, parameter in module.named_parameters():
        moments = optimiser.state.get(parameter, {})
        tensors |= {f"{key}.{name}": moments[key].contiguous() for key in ("exp_avg", "exp_avg_sq") if key in moments}
    content = save({k: v.contiguous() for k, v in tensors.items()}, metadata={"notes": json.dumps(notes)})
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
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(notes["step"])),
                    "exp_avg": file.get_tensor(f"exp_avg.{name}").clone(memory_format=torch.preserve_format),
                    "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").clone(memory_format=torch.preserve_format),
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
