"""What steps the weights: torch's own AdamW, however many parameters it takes at a time."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.training.run import optimiser
from pack.scenescope.training.run.optimiser import Optimiser
from pack.scenescope.training.settings import lora_settings
from torch import nn

SIZES = [(3, 5), (7,), (4, 4), (2, 3, 2)]


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
