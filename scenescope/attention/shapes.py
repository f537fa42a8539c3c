"""The per-block shape log: how a latent becomes feature maps, queries, keys and attention maps."""

from __future__ import annotations

from dataclasses import dataclass

from .sites import Kind, Place


@dataclass(frozen=True)
class AttentionShape:
    """Shapes of one attention layer.

    Args:
        kind: `cross` or `self`.
        query: (batch, query, head*channel).
        key: (batch, key, head*channel); the values' shape too.
        heads: attention heads.
        head_width: channels per head.
    """

    kind: Kind
    query: tuple[int, int, int]
    key: tuple[int, int, int]
    heads: int
    head_width: int

    @property
    def map(self) -> tuple[int, int, int, int]:
        """Shape of the attention map (batch, head, query, key), which fused kernels never build."""
        return self.query[0], self.heads, self.query[1], self.key[1]


@dataclass(frozen=True)
class BlockShape:
    """Shapes of one transformer block.

    Args:
        order: place in forward order, from 0.
        block: the block's name, `input 1`.
        place: `down`, `middle` or `up`.
        features_in: (batch, channel, height, width) that enters the spatial transformer.
        features_out: the same, leaving it.
        dtype: element type of the features, `float16`.
        attention: the cross and the self layer, as they are there.
    """

    order: int
    block: str
    place: Place
    features_in: tuple[int, int, int, int]
    features_out: tuple[int, int, int, int]
    dtype: str
    attention: tuple[AttentionShape, ...]
