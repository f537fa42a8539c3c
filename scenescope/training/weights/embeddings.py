"""The new tokens' embeddings: separate vectors beside the token table, so that nothing has to be restored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

WITHOUT_A_WORD, SPREAD = "object", 0.017
"""Where an embedding without a word begins, and the standard deviation around it (SD1.5's table: about 0.014)."""


def first_embeddings(pieces: Sequence[Tensor], around: Sequence[bool], generator: Generator) -> Tensor:
    """Begin each embedding at the mean of its starting word's tokens.

    Source: Break-a-Scene begins with the embedding of a word; the code takes the first token of several, and copies
    embeddings of unrelated words where no word is given (train.py 785-798). Here all tokens count, and an embedding
    without a word begins near `object`.

    Args:
        pieces: for each concept (token channel) float, the word's embeddings of the token table.
        around: for each concept whether noise is added, because the word was not its own.
        generator: of the noise.

    Returns:
        (concept channel) float32 on the CPU, detached.

    >>> first_embeddings([torch.tensor([[1.0, 3.0], [3.0, 5.0]])], [False], Generator()).tolist()
    [[2.0, 4.0]]
    """
    embeddings = []
    for tokens, near in zip(pieces, around, strict=True):
        mean = tokens.detach().float().cpu().mean(dim=0)  # (channel)
        embeddings.append(mean + SPREAD * torch.randn(mean.shape, generator=generator) if near else mean)
    return torch.stack(embeddings)


@torch.no_grad()
def guard_norm(embeddings: Tensor, first: Tensor, times: float) -> None:
    """Shorten in place the embeddings that are longer than this many times their first length.

    Source: Mix-of-Show stops at a mean length of 0.55, where SD1.5's words have about 0.4; here each has its own limit.

    Args:
        embeddings: (concept channel) float32; changed.
        first: (concept channel) float32, where they began.
        times: 1 or more.

    >>> embeddings = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    >>> guard_norm(embeddings, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 2.0)
    >>> [[round(value, 4) for value in embedding] for embedding in embeddings.tolist()]
    [[1.2, 1.6], [0.6, 0.8]]
    """
    length = embeddings.norm(dim=1, keepdim=True)
    limit = times * first.norm(dim=1, keepdim=True)
    embeddings.copy_(torch.where(length > limit, embeddings * (limit / length.clamp(min=1e-12)), embeddings))
