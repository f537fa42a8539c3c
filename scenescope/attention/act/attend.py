"""Attention as acts compute it: with an additive mask, with extra channels, to another prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..record.scores import OuterBias


def projected(attention: nn.Module, context: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of another prompt; no hook of the layer is asked.

    Args:
        attention: the layer, with `to_k` and `to_v`.
        context: (1 token channel) the encoded prompt.
        like: a tensor of as many rows, of the type and on the device that they take.

    Returns:
        Key and value, (batch token head*channel) each.
    """
    text = context.to(like)
    key, value = (attention.get_submodule(name).forward(text) for name in ("to_k", "to_v"))
    return key.expand(like.shape[0], -1, -1), value.expand(like.shape[0], -1, -1)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Plain attention with an additive mask, by torch's own kernel.

    Args:
        query: (batch query head*channel), any float type.
        key: (batch token head*channel).
        value: (batch token head*channel).
        heads: attention heads.
        mask: (1|batch 1|head query token) log-odds, added to the logits; None adds nothing.

    Returns:
        (batch query head*channel).

    >>> import torch
    >>> values = torch.tensor([[[0.0], [1.0]]])
    >>> attend(torch.zeros(1, 1, 1), torch.zeros(1, 2, 1), values, 1, torch.tensor([[[[0.0, 3.0]]]])).item()
    0.9525741338729858
    """
    pattern = "batch token (head channel) -> batch head token channel"
    q, k, v = (rearrange(each, pattern, head=heads) for each in (query, key, value))
    joined = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return rearrange(joined, "batch head query channel -> batch query (head channel)")


def attend_with_channels(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: OuterBias) -> Tensor:
    """Attention with a bias given by factors: they are extra channels of queries and keys, evenly split between both.

    Args:
        query: (batch query head*channel), any float type.
        key: (batch key head*channel).
        value: (batch key head*channel).
        heads: attention heads.
        bias: log-odds that are added to the logits of every head.

    Returns:
        (batch query head*channel).

    >>> import torch
    >>> values = torch.tensor([[[0.0], [1.0]]])
    >>> bias = OuterBias(torch.tensor([[[3.0]]]), torch.tensor([[[0.0], [1.0]]]))
    >>> attend_with_channels(torch.zeros(1, 1, 1), torch.zeros(1, 2, 1), values, 1, bias).item()
    0.9525741338729858
    """
    pattern = "batch token (head channel) -> batch head token channel"
    q, k, v = (rearrange(each, pattern, head=heads) for each in (query, key, value))
    width, more = q.shape[-1], -(-bias.query.shape[-1] // 8) * 8  # kernels take widths by eights
    root = width**0.25  # the kernel divides by the root of the width: its root on either side

    def beside(own: Tensor, factors: Tensor) -> Tensor:
        extra = F.pad(factors.to(own) * root, (0, more - factors.shape[-1]))[:, None]
        return torch.cat([own, extra.expand(own.shape[0], heads, -1, -1)], dim=-1)

    joined = F.scaled_dot_product_attention(
        beside(q, bias.query), beside(k, bias.key), F.pad(v, (0, more)), scale=width**-0.5
    )
    return rearrange(joined[..., :width], "batch head query channel -> batch query (head channel)")
