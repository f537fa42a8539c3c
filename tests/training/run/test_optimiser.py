"""What steps the weights: torch's own AdamW, however many parameters it takes at a time."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.host_copies import HostCopies
from pack.scenescope.training.run import optimiser
from pack.scenescope.training.run.optimiser import Optimiser
from pack.scenescope.training.settings import full_settings, lora_settings
from torch import nn

SIZES = [(3, 5), (7,), (4, 4), (2, 3, 2)]


def test_moments_come_back_in_the_order_of_their_weights_in_memory():
    """Oracle: torch's own moments have their weights' strides, which a kernel for many at once demands on a GPU."""
    weight = nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
    rows = nn.Parameter(torch.randn(2, 5))
    trained, settings = {"rows": rows, "weight": weight}, full_settings()
    before = Optimiser(rows, {"weight": weight}, settings, 2)
    for one in trained.values():
        one.grad = torch.randn(one.shape).to(one)
    before.step(1.0)
    copies = HostCopies()
    moments = before.moments(copies)
    saved = {name: moment.contiguous() for name, moment in moments().items()}  # as a file gives them
    after = Optimiser(rows, {"weight": weight}, settings, 2)
    after.restore(saved, trained)
    kept = after.moments(copies)()
    assert kept["weight exp_avg"].stride() == weight.stride()
    assert torch.equal(kept["weight exp_avg"], saved["weight exp_avg"])


@pytest.mark.parametrize("at_once", [1, 100, optimiser.AT_ONCE])
def test_weights_that_are_stepped_together_are_those_that_are_stepped_one_by_one(
    at_once: int, monkeypatch: pytest.MonkeyPatch
):
    """Oracle: torch's loop over the parameters (`foreach=False`), bit for bit; one of them has no gradient."""
    monkeypatch.setattr(optimiser, "AT_ONCE", at_once)
    random = torch.Generator().manual_seed(0)
    values = [torch.randn(size, generator=random) for size in SIZES]
    ours, theirs = ([nn.Parameter(value.clone()) for value in values] for _ in range(2))
    settings = lora_settings(clip=0.0)
    steps = Optimiser(ours[0], {str(index): one for index, one in enumerate(ours[1:])}, settings, 2)
    groups = [
        {"params": theirs[:1], "lr": settings.phase2_rows_rate},
        {"params": theirs[1:], "lr": settings.weights_rate},
    ]
    rule = {"betas": (settings.beta1, settings.beta2), "eps": settings.adam_epsilon}
    oracle = torch.optim.AdamW(groups, **rule, weight_decay=settings.weight_decay, foreach=False)
    for step in range(5):
        for one, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(one.shape, generator=random)
            one.grad, other.grad = (None, None) if step == 2 and one is ours[2] else (gradient, gradient.clone())
        steps.step(1.0)
        oracle.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert not any(torch.equal(one, value) for one, value in zip(ours, values, strict=True))
