"""Queries and keys seen as a model computes them."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.attention.record.layers import find_layers
from pack.scenescope.attention.record.observers import Observers
from pack.scenescope.dims import Grid
from pack.tests.support.toy import TEXT_WIDTH, toy_unet
from torch import nn


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """A 5x7 latent of two pictures and a prompt of three tokens."""
    generator = torch.Generator().manual_seed(1)
    latent, text = torch.randn(2, 4, 5, 7, generator=generator), torch.randn(2, 3, TEXT_WIDTH, generator=generator)
    return latent.to(dtype), text.to(dtype)


def hooks(model: nn.Module) -> int:
    """How many forward hooks the modules carry."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class Seen(list):
    """Keeps all that it is shown."""

    def __call__(self, layer, query, key, grid) -> None:
        """Take one sight."""
        self.append((layer, query, key, grid))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_site_shows_its_own_queries_and_keys_once(dtype: torch.dtype):
    """Oracle: shapes by hand, keys recomputed from the text, grids of a 5x7 latent halved once."""
    unet, seen = toy_unet(dtype), Seen()
    found = find_layers(unet)
    latent, text = inputs(dtype)
    with Observers(found, seen) as observers:
        unet(latent, text)
    assert sorted(layer.name for layer, *_ in seen) == sorted(item.layer.name for item in found)
    assert observers.unseen() == ()
    layers = {item.layer: item.attention for item in found}
    for layer, query, key, grid in seen:
        assert grid == (Grid(5, 7) if layer.level == 0 else Grid(3, 4))
        assert query.shape == (2, grid.cells, 8)
        if layer.kind == "cross":
            assert torch.equal(key, layers[layer].to_k(text))


def test_looking_changes_nothing():
    """Oracle: the same pass without observers, bit for bit."""
    unet = toy_unet()
    plain = unet(*inputs())
    with Observers(find_layers(unet), Seen()):
        watched = unet(*inputs())
    assert torch.equal(plain, watched)


def test_gradients_reach_the_model_through_what_is_seen():
    """Oracle: by hand: the sum of all keys, differentiated by the weights of `to_k`, is the sum of the text."""
    unet, seen = toy_unet(), Seen()
    found = [item for item in find_layers(unet, kinds=["cross"]) if item.layer.block == "input 1"]
    latent, text = inputs()
    with Observers(found, seen):
        unet(latent, text)
    seen[0][2].sum().backward()
    expected = text.sum(dim=(0, 1)).expand(8, TEXT_WIDTH)
    assert torch.allclose(found[0].attention.to_k.weight.grad, expected, atol=1e-5)


def test_all_hooks_are_gone_after_leaving_and_after_an_error():
    """Oracle: hooks counted."""
    unet = toy_unet()
    with Observers(find_layers(unet), Seen()):
        assert hooks(unet) > 0
    assert hooks(unet) == 0
    with pytest.raises(RuntimeError), Observers(find_layers(unet), Seen()):
        unet(torch.zeros(1, 4, 5, 7), torch.zeros(1, 3, TEXT_WIDTH + 1))
    assert hooks(unet) == 0


def test_a_start_that_fails_half_way_leaves_no_hook():
    """Oracle: hooks counted; the last layer has lost its `to_k`."""
    unet = toy_unet()
    found = find_layers(unet)
    del found[-1].attention.to_k
    with pytest.raises(AttributeError), Observers(found, Seen()):
        pass
    assert hooks(unet) == 0


def test_keys_asked_for_without_a_query_are_somebody_elses():
    """Oracle: counted by hand; another patch calls `to_k` once more."""
    unet, seen = toy_unet(), Seen()
    found = [item for item in find_layers(unet, kinds=["cross"]) if item.layer.block == "input 1"]
    latent, text = inputs()
    with Observers(found, seen):
        found[0].attention.to_k(text)
        unet(latent, text)
        found[0].attention.to_k(text)
    assert len(seen) == 1


def test_a_layer_that_was_not_called_is_named():
    """Oracle: by hand: nothing runs; then one transformer runs alone."""
    unet = toy_unet()
    found = find_layers(unet, kinds=["self"])
    with Observers(found, Seen()) as observers:
        unet.middle_block[1](torch.zeros(1, 8, 2, 3), torch.zeros(1, 3, TEXT_WIDTH))
    assert [layer.block for layer in observers.unseen()] == ["input 1", "input 3", "input 3.1", "output 0", "output 2"]


def test_a_transformer_called_in_another_way_is_not_disturbed():
    """Oracle: the pass goes on; its layer counts as not seen, because its grid is unknown."""
    unet, seen = toy_unet(), Seen()
    found = [item for item in find_layers(unet, kinds=["self"]) if item.layer.block == "middle 0"]
    with Observers(found, seen) as observers:
        unet.middle_block[1](features=torch.zeros(1, 8, 2, 3), text=torch.zeros(1, 3, TEXT_WIDTH))
    assert seen == []
    assert [layer.block for layer in observers.unseen()] == ["middle 0"]
