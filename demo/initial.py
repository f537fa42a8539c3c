"""First weights: the host's layers leave their memory as it was, so all of it is set here."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def set_first_weights(module: nn.Module, *, zeroed: tuple[str, ...] = ()) -> None:
    """Draw first weights as PyTorch's own layers do; layers that end a residual branch start at zero.

    Args:
        module: of the host's layers, changed in place.
        zeroed: ends of the names of the layers to start at zero.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            layer.weight.uniform_(-bound, bound)
            if layer.bias is not None:
                layer.bias.zero_()
            if name.endswith(zeroed) and zeroed:
                layer.weight.zero_()
        elif isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            layer.weight.fill_(1)
            layer.bias.zero_()
        elif isinstance(layer, nn.Embedding):
            layer.weight.normal_(0, 0.05)
