"""The demo model's own training on a GPU: a run that was broken off goes on there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pack.demo.state import Averaged, load_state, save_state
from pack.tests.rehearsal.simulated.device import DEVICE
from torch import nn


def parts(fused: bool) -> tuple[nn.Module, torch.optim.Optimizer, Averaged]:
    """A small module on the device, its optimiser and its mean."""
    torch.manual_seed(1)
    module = nn.Linear(3, 2).to(DEVICE)
    return module, torch.optim.AdamW(module.parameters(), lr=0.1, fused=fused), Averaged(module, 0.9)


def step(module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """One step towards nothing."""
    optimiser.zero_grad(set_to_none=True)
    (module(torch.ones(1, 3).to(DEVICE)) ** 2).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("fused", [True, False], ids=["denoiser", "decoder"])
@torch.inference_mode(False)
def test_a_stage_goes_on_where_it_was(fused: bool, tmp_path: Path):
    """Oracle: the run that was not broken off, bit for bit; weights and moments come back to the device."""
    whole, its_optimiser, average = parts(fused)
    with torch.enable_grad():
        step(whole, its_optimiser)
        save_state(tmp_path / "state.safetensors", whole, its_optimiser, average, {"step": 1})
        step(whole, its_optimiser)
        again, optimiser, average = parts(fused)
        assert load_state(tmp_path / "state.safetensors", again, optimiser, average) == {"step": 1}
        step(again, optimiser)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.detach().cpu(), other.detach().cpu())
