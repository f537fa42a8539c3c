"""An independent look at a model's queries and keys: what the recorder is checked against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ldm.modules.attention as host_attention
import torch
from einops import rearrange


@contextmanager
def every_projection(model: Any) -> Iterator[list[dict[str, Any]]]:
    """Note query and key of every attention call by wrapping `CrossAttention.forward`'s own projections.

    This takes another way than the pack: module pre-hooks on `to_out` mark the calls, and the projections are
    recomputed from the inputs that `to_q` and `to_k` were given.

    Yields:
        calls: in order, each with `name`, `query` and `key` (batch, rows, channels), `heads`
    """
    calls: list[dict[str, Any]] = []
    inputs: dict[str, dict[str, torch.Tensor]] = {}
    handles = []
    unet = model.model.diffusion_model
    for name, module in unet.named_modules():
        if isinstance(module, host_attention.CrossAttention):
            slot = inputs.setdefault(name, {})
            for part in ("to_q", "to_k"):
                handles.append(getattr(module, part).register_forward_pre_hook(_keep(slot, part)))
            handles.append(module.to_out.register_forward_pre_hook(_close(calls, name, module, slot)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _keep(slot: dict[str, torch.Tensor], part: str) -> Any:
    return lambda module, args: slot.__setitem__(part, args[0].clone())


def _close(calls: list[dict[str, Any]], name: str, module: Any, slot: dict[str, torch.Tensor]) -> Any:
    def hook(_: Any, args: Any) -> None:
        query = torch.nn.functional.linear(slot["to_q"], module.to_q.weight)
        key = torch.nn.functional.linear(slot["to_k"], module.to_k.weight)
        calls.append({"name": name, "query": query, "key": key, "heads": module.heads})

    return hook


def slow_softmax(query: torch.Tensor, key: torch.Tensor, heads: int) -> torch.Tensor:
    """softmax(Q K^T / sqrt d) in float64, head by head.

    Args:
        query: (batch, query, head*channel)
        key: (batch, key, head*channel)

    Returns:
        maps: (batch, head, query, key) float64
    """
    query = rearrange(query.double(), "b q (h c) -> b h q c", h=heads)
    key = rearrange(key.double(), "b k (h c) -> b h k c", h=heads)
    logits = torch.einsum("bhqc,bhkc->bhqk", query, key) / query.shape[-1] ** 0.5
    weights = torch.exp(logits - logits.amax(dim=-1, keepdim=True))
    return weights / weights.sum(dim=-1, keepdim=True)


def hooks_left(model: Any) -> int:
    """How many forward hooks a model's modules still carry."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.diffusion_model.modules()
    )
