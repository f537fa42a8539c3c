"""From queries and keys to attention maps, and nothing else: the one softmax of the pack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ...errors import InputError

CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class OuterBias:
    """Log-odds between the cells of a picture, as factors: whole it would be as large as the map.

    Args:
        query: (1|batch query rank) float.
        key: (1|batch key rank) float; the bias of a query and a key is the product of their factors, summed over ranks.
    """

    query: Tensor
    key: Tensor

    def rows(self, part: slice) -> Tensor:
        """(1|batch 1 query key) float32 of a few queries.

        >>> OuterBias(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[[2.0], [0.5]]])).rows(slice(1, 2)).tolist()
        [[[[-2.0, -0.5]]]]
        """
        return (self.query[:, part].float() @ self.key.float().transpose(-1, -2))[:, None]


def attention_scores(query: Tensor, key: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Compute the attention map of one layer, in float32, with gradients if the inputs carry them.

    Source: Vaswani et al. 2017, equation 1, without the values: softmax(Q K^T / sqrt(head width)).

    Args:
        query: (batch query head*channel), any float type.
        key: (batch token head*channel), any float type.
        heads: attention heads.
        bias: (1|batch 1|head query token) log-odds that are added to the logits, as an act writes them.

    Returns:
        (batch head query token) float32, each row sums to 1.

    Raises:
        InputError: the channels of query and key differ, or are not a multiple of heads.

    >>> attention_scores(torch.zeros(1, 4, 8), torch.zeros(1, 5, 8), heads=2)[0, 0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    return _scores(query, _prepared(query, key, heads), heads, bias)


def attention_in_chunks(
    query: Tensor, key: Tensor, heads: int, *, bias: Tensor | OuterBias | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[slice, Tensor]]:
    """Compute the attention map over a few queries at a time, so that it is never held whole.

    Args:
        query: (batch query head*channel), any float type.
        key: (batch key head*channel), any float type.
        heads: attention heads.
        bias: as `attention_scores` takes it, or its factors.
        chunk_bytes: the most that one chunk of float32 maps may take.

    Yields:
        The queries' slice, and their maps (batch head query key) float32.

    >>> chunks = attention_in_chunks(torch.zeros(1, 6, 4), torch.zeros(1, 5, 4), 2, chunk_bytes=100)
    >>> [(rows.start, rows.stop, tuple(maps.shape)) for rows, maps in chunks][:2]
    [(0, 2, (1, 2, 2, 5)), (2, 4, (1, 2, 2, 5))]
    """
    prepared = _prepared(query, key, heads)  # once, not for each chunk
    row_bytes = query.shape[0] * heads * key.shape[1] * torch.finfo(torch.float32).bits // 8
    rows = max(1, chunk_bytes // max(1, row_bytes))
    for start in range(0, query.shape[1], rows):
        part = slice(start, min(start + rows, query.shape[1]))
        own = bias.rows(part) if isinstance(bias, OuterBias) else None if bias is None else bias[:, :, part]
        yield part, _scores(query[:, part], prepared, heads, own)


def _prepared(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Keys in the order that the product wants: (batch head channel token) float32."""
    if query.shape[-1] != key.shape[-1] or query.shape[-1] % heads:
        raise InputError(
            f"Attention scores: query and key are {query.shape[-1]} and {key.shape[-1]} channels wide, but both have "
            f"to be the same multiple of {heads} heads. Pass the outputs of one layer's to_q and to_k."
        )
    return _widened(rearrange(key, "batch token (head channel) -> batch head channel token", head=heads))


def _scores(query: Tensor, prepared: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    """The softmax of queries (batch query head*channel) and such keys: (batch head query token) float32."""
    query = _widened(rearrange(query, "batch query (head channel) -> batch head query channel", head=heads))
    logits = (query * query.shape[-1] ** -0.5) @ prepared  # (batch head query token)
    return (logits if bias is None else logits.add_(bias)).softmax(dim=-1)


def _widened(part: Tensor) -> Tensor:
    """Half precision is widened in the order that the product wants, in place of two copies."""
    return part.to(torch.float32, memory_format=torch.contiguous_format)


def fold_repeats(maps: Tensor, tokens: int) -> Tensor:
    """Add up the columns of a prompt that the host repeated to match a longer one.

    Source: host contract, ComfyUI 0.33 `comfy.conds.CONDCrossAttn.concat`: prompts of different length in one call are
    repeated to their least common multiple. Equal keys get equal shares, so adding the copies is exact.

    Args:
        maps: (... repeats*token) shares of attention.
        tokens: the columns that the prompt really has.

    Returns:
        (... token), each row with the sum it had.

    Raises:
        InputError: the columns are not a multiple of `tokens`.

    >>> fold_repeats(torch.tensor([[0.1, 0.2, 0.3, 0.1, 0.2, 0.1]]), 3).tolist()
    [[0.20000000298023224, 0.4000000059604645, 0.4000000059604645]]
    """
    if tokens < 1 or maps.shape[-1] % tokens:
        raise InputError(
            f"Attention maps: {maps.shape[-1]} columns are no multiple of the prompt's {tokens} tokens. Another patch "
            "gave this call keys of its own."
        )
    if maps.shape[-1] == tokens:
        return maps
    return maps.unflatten(-1, (-1, tokens)).sum(dim=-2)


def repeated(bias: Tensor, times: int) -> Tensor:
    """A bias (... token) for a prompt that the host repeated so often, which `fold_repeats` undoes in maps.

    >>> repeated(torch.tensor([[[[1.0, 2.0]]]]), 2).tolist()
    [[[[1.0, 2.0, 1.0, 2.0]]]]
    """
    return bias if times == 1 else bias.repeat(1, 1, 1, times)
