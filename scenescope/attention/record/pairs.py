"""Queries and keys of one entry, cut out of what a layer computed for all entries of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .scores import OuterBias


@dataclass(frozen=True)
class Pair:
    """Queries (image query head*channel) and keys (image key head*channel), and what an act adds to their logits."""

    query: Tensor
    key: Tensor
    bias: Tensor | OuterBias | None


def pair_of_rows(query: Tensor, key: Tensor, rows: slice, bias: Callable[[], Tensor | OuterBias | None] | None) -> Pair:
    """Cut an entry's rows out of a batch (row query|key head*channel); each cut takes a GPU's host time.

    >>> import torch
    >>> pair_of_rows(torch.zeros(2, 4, 8), torch.zeros(2, 5, 8), slice(1, 2), None).key.shape
    torch.Size([1, 5, 8])
    """
    return Pair(query[rows].detach(), key[rows].detach(), None if bias is None else bias())
