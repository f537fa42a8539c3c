"""What is trained in a model: low-rank additions, whole weights; and the model left as it was."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from pack.scenescope.errors import HostError, InputError
from pack.scenescope.training.weights.contract import Weights, frozen
from pack.scenescope.training.weights.full import FullWeights
from pack.scenescope.training.weights.lora import UNET_LAYERS, Lora, layers_of
from pack.tests.support.toy_training import all_bits, hooks, toy_ports
from torch import nn


def model() -> nn.Sequential:
    """A 1x1 convolution, one that is larger, and a linear layer over the last axis."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3, padding=1), nn.Linear(4, 6))


def additions(layers: dict[str, nn.Module], rank: int = 2, alpha: float = 3.0) -> Lora:
    """Low-rank additions with fixed first values."""
    generator = torch.Generator().manual_seed(0)
    return Lora(layers, rank=rank, alpha=alpha, generator=generator, device=torch.device("cpu"))


def grown(lora: Lora) -> Lora:
    """The same with random values in place of the zeros."""
    generator = torch.Generator().manual_seed(5)
    for parameter in lora.trained.values():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return lora


def test_linear_layers_and_1x1_convolutions_are_chosen():
    """Oracle: by hand; and in the toy U-Net only what belongs to attention."""
    assert list(layers_of(model(), "unet.")) == ["unet.0", "unet.2"]
    names = layers_of(toy_ports().denoiser.unet, "unet.", UNET_LAYERS)
    assert len(names) == 7 * 4  # seven transformers, two attentions, queries and keys
    assert "unet.input_blocks.1.0.transformer_blocks.0.attn1.to_q" in names
    with pytest.raises(HostError, match="no linear layer"):
        layers_of(nn.ReLU(), "unet.")


def test_additions_begin_as_nothing_and_end_as_nothing():
    """Oracle: the model's own output, bit by bit, before, during and after."""
    net, values = model(), torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(2))
    plain = net(values)
    with additions(layers_of(net, "")):
        assert torch.equal(net(values), plain)
    with grown(additions(layers_of(net, ""))) as lora:
        assert not torch.allclose(net(values), plain)
        with lora.disabled():
            assert torch.equal(net(values), plain)
        assert not torch.allclose(net(values), plain)
    assert torch.equal(net(values), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_addition_is_alpha_over_rank_times_up_down(dtype):
    """Oracle: the sum written into a copy of the weights, and what `low_rank` reports put together again."""
    net, other = model().to(dtype), model().to(dtype)
    values = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(2)).to(dtype)
    with grown(additions(layers_of(net, ""))) as lora:
        ours, pairs = net(values), lora.low_rank()
    for name, layer in (("0", other[0]), ("2", other[2])):
        up, down = pairs[name].up.flatten(1), pairs[name].down.flatten(1)
        layer.weight.data += (pairs[name].alpha / len(down) * up @ down).reshape(layer.weight.shape).to(dtype)
    assert torch.allclose(
        ours, other(values), rtol=1e-4 if dtype == torch.float32 else 0.05, atol=1e-4 if dtype == torch.float32 else 0.3
    )
    assert ours.dtype == dtype
    assert all(parameter.dtype == torch.float32 for parameter in lora.trained.values())
    assert pairs["0"].down.shape == (2, 3, 1, 1)
    assert lora.differences() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_additions_that_are_cast_at_once_give_what_each_gives(dtype):
    """Oracle: the output and the gradients without, bit for bit; two backward passes add up, as with a prior."""
    net, found = model().to(dtype), []
    values = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(2)).to(dtype)
    for at_once in (False, True):
        with frozen([net]), grown(additions(layers_of(net, ""))) as lora:
            with lora.cast(dtype) if at_once else nullcontext():
                outputs = [net(values), net(values.flip(0) * 2)]
                for output in outputs:
                    output.float().square().sum().backward()
            assert torch.equal(net(values), outputs[0])
            found.append([*outputs, *(parameter.grad for parameter in lora.trained.values())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_additions_learn_and_the_layers_do_not():
    """Oracle: gradients are there for the additions alone; in the first step for `up`, since `up` is zero."""
    net = model()
    with frozen([net]), additions(layers_of(net, "")) as lora:
        net(torch.ones(1, 3, 5, 4)).sum().backward()
        assert all(parameter.grad is not None for parameter in lora.trained.values())
        assert bool(lora.trained["0.up"].grad.any())
        assert not lora.trained["0.down"].grad.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_a_layer_that_cannot_take_an_addition_is_refused():
    """Oracle: the docstring: a 3x3 convolution is neither."""
    with pytest.raises(InputError, match="middle is a Conv2d"):
        additions({"middle": model()[1]})


def break_off(weights: Weights, unet: nn.Module, inner: bool) -> None:
    """Change what is trained, and raise."""
    with frozen([unet]), weights, weights.disabled() if inner else nullcontext():
        next(iter(weights.trained.values())).data += 1
        raise RuntimeError("broken off")


@pytest.mark.parametrize("kind", ["lora", "whole"])
def test_modules_are_left_as_they_were_after_an_error(kind):
    """Oracle: the same objects with the same bytes and no hooks, after an error inside and inside `disabled`."""
    ports = toy_ports()
    before, unet = all_bits(ports), ports.denoiser.unet
    for inner in (False, True):
        weights = grown(additions(layers_of(unet, "", UNET_LAYERS))) if kind == "lora" else FullWeights({"unet.": unet})
        with pytest.raises(RuntimeError, match="broken off"):
            break_off(weights, unet, inner)
        assert all_bits(ports) == before
        assert hooks(ports) == 0


def test_whole_weights_stand_in_for_the_given_ones():
    """Oracle: by hand: outputs with, without and after; differences; a half-precision model trains in float32."""
    net, values = model().bfloat16(), torch.ones(1, 3, 5, 4, dtype=torch.bfloat16)
    plain, given = net(values), net[2].weight
    with FullWeights({"unet.": net}) as weights:
        assert sorted(weights.trained) == [f"unet.{index}.{key}" for index in range(3) for key in ("bias", "weight")]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(net(values), plain, atol=0.02)
        weights.trained["unet.2.weight"].data += 0.5
        assert net[2].weight is weights.trained["unet.2.weight"]
        assert net[2].weight.dtype == torch.float32
        with weights.disabled():
            assert torch.equal(net(values), plain)
        assert weights.low_rank() == {}
        differences = weights.differences()
    assert net[2].weight is given
    assert torch.equal(net(values), plain)
    assert torch.equal(differences["unet.2.weight"], torch.full((6, 4), 0.5))
    assert not differences["unet.0.weight"].any()


def test_a_parameter_used_twice_stays_one():
    """Oracle: by hand: tied layers."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    with FullWeights({"": net}) as weights:
        assert list(weights.trained) == ["0.weight"]
        assert net[0].weight is net[1].weight
