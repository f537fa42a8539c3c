"""AdamW with moments of a byte: what is kept of a number, and that it steps as AdamW does."""

from __future__ import annotations

import math

import pytest
import torch
from pack.scenescope.host_copies import HostCopies
from pack.scenescope.training.run.small_moments import AdamRule, SmallAdamW, dither_at, pack, unpack
from torch import Tensor, nn

RULE = AdamRule(1e-4, 0.9, 0.999, 1e-8, 1e-2)
HERE = torch.device("cpu")


def numbers(low: float = -10, high: float = 3) -> Tensor:
    """Blocks of very different size: (50 256) float32."""
    return torch.randn(50, 256, generator=torch.Generator().manual_seed(2)) * torch.logspace(low, high, 50)[:, None]


@pytest.mark.parametrize("signed", [True, False])
def test_a_number_keeps_its_sign_and_an_eighth_of_its_size(signed: bool):
    """Oracle: by hand: three bits of mantissa, rounded up or down, are within an eighth, in the octaves of a code."""
    values = numbers() if signed else numbers().abs()
    values = torch.where(values.abs() < values.abs().amax(dim=1, keepdim=True) / 2**15, 0.0, values)
    kept = unpack(pack(values, signed=signed, dither=dither_at(5, HERE)), signed=signed)
    assert ((kept - values).abs() <= values.abs() * 0.125).all()
    assert torch.equal(kept.sign(), values.sign())


@pytest.mark.parametrize("signed", [True, False])
def test_what_was_kept_is_kept_again_exactly_also_by_way_of_a_file(signed: bool):
    """Oracle: an invariant; a state holds moments as bfloat16."""
    values = numbers() if signed else numbers().abs()
    first = pack(values, signed=signed, dither=dither_at(5, HERE))
    through = unpack(first, signed=signed).to(torch.bfloat16).float()
    again = pack(through, signed=signed)
    assert torch.equal(again.codes, first.codes)
    assert torch.equal(unpack(again, signed=signed), through)


def test_rounding_is_fair_over_256_steps():
    """Oracle: by hand: every level once, so the mean is within a 256th of the eighth that a code is."""
    values = numbers()
    kept = torch.stack(
        [unpack(pack(values, signed=True, dither=dither_at(step, HERE)), signed=True) for step in range(256)]
    )
    large = values.abs() > values.abs().amax(dim=1, keepdim=True) / 1000
    assert ((kept.mean(dim=0) / values - 1).abs()[large]).max() < 0.125 / 128


def test_a_small_second_moment_is_never_zero():
    """Oracle: by hand: it is divided by; forty octaves below its block's largest it stands at the lowest code."""
    values = torch.ones(1, 256)
    values[0, 1], values[0, 2] = 2.0**-40, 0.0
    kept = unpack(pack(values, signed=False), signed=False)
    assert float(kept[0, 1]) > 0
    assert float(kept[0, 2]) == 0


def weights() -> dict[str, nn.Parameter]:
    """Three of them: one longer than a block, a vector, and one that is not reached."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"matrix": (64, 100), "vector": (33,), "idle": (5, 5)}
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def gradients(steps: int) -> list[dict[str, Tensor]]:
    """Noisy gradients of very different size."""
    generator = torch.Generator().manual_seed(3)
    drift, size = torch.randn(64, 100, generator=generator), 10.0 ** torch.linspace(-4, 0, 100)
    return [
        {
            "matrix": ((drift + torch.randn(64, 100, generator=generator)) * size).bfloat16().float(),
            "vector": torch.randn(33, generator=generator) + 0.5,
        }
        for _ in range(steps)
    ]


def stepped(trained: dict[str, nn.Parameter], optimiser: SmallAdamW, given: list[dict[str, Tensor]]) -> None:
    """Take steps with these gradients, which arrive by a backward pass."""
    for step in given:
        sum((trained[name] * gradient).sum() for name, gradient in step.items()).backward()
        assert all(parameter.grad is None for parameter in trained.values())
        optimiser.step(1.0)


def test_it_steps_as_adamw_does():
    """Oracle: torch's AdamW in single precision, 300 steps: a cosine of 0.99, and lengths that agree to 2 %."""
    mine, theirs, begun = weights(), weights(), weights()
    stepped(mine, SmallAdamW(mine, torch.bfloat16, RULE), gradients(300))
    adam = torch.optim.AdamW(list(theirs.values()), lr=RULE.rate, weight_decay=RULE.decay)
    for step in gradients(300):
        for name, gradient in step.items():
            theirs[name].grad = gradient.clone()
        adam.step()
    for name in ("matrix", "vector"):
        ways = [(end[name] - begun[name]).detach().flatten() for end in (mine, theirs)]
        assert torch.nn.functional.cosine_similarity(*ways, dim=0) > 0.99
        assert float(ways[0].norm() / ways[1].norm()) == pytest.approx(1, abs=0.02)
    assert torch.equal(mine["idle"], begun["idle"])


def test_gradients_of_two_passes_add_up_and_are_measured_together():
    """Oracle: by hand: the length of both passes' sum, a large one in float16 too."""
    trained = {"matrix": nn.Parameter(torch.zeros(2, 2)), "vector": nn.Parameter(torch.zeros(3))}
    optimiser = SmallAdamW(trained, torch.float16, RULE)
    for _ in range(2):
        (trained["matrix"].sum() * 1000 + trained["vector"].sum() * 1e5).backward()
    assert float(torch.stack(optimiser.norms()).norm()) == pytest.approx(
        math.sqrt(4 * 2000.0**2 + 3 * 2e5**2), rel=1e-5
    )
    optimiser.forget_gradients()
    assert optimiser.norms() == []


def test_it_goes_on_exactly_and_from_adamws_moments_too():
    """Oracle: the one that was not broken off; from torch's moments every kept number is within an eighth."""
    whole, trained, given = weights(), weights(), gradients(20)
    stepped(whole, SmallAdamW(whole, torch.bfloat16, RULE), given)
    first = SmallAdamW(trained, torch.bfloat16, RULE)
    stepped(trained, first, given[:9])
    moments = first.moments(HostCopies())()
    first.close()
    assert sorted(moments) == sorted(
        f"{name} {kind}" for name in ("matrix", "vector") for kind in ("exp_avg", "exp_avg_sq", "step")
    )
    again = SmallAdamW(trained, torch.bfloat16, RULE)
    again.restore(moments)
    stepped(trained, again, given[9:])
    assert all(torch.equal(trained[name], whole[name]) for name in whole)
    single = {name: value.float() * 1.01 for name, value in moments.items() if "step" not in name}
    again.restore(single | {name: value for name, value in moments.items() if "step" in name})
    for name, value in again.moments(HostCopies())().items():
        if "step" not in name:
            assert torch.allclose(
                value.float(), single[name], rtol=0.125, atol=float(single[name].abs().max()) * 2.0**-15
            )
