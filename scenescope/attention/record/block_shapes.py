"""The shapes of one block, read while the U-Net runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ...dims import Grid
from .layers import AttentionLayer, Kind, LayerModules, Place
from .observers import Observers, features_of_call

LOSS_LEVEL = 2  # Break-a-Scene reads the cross-attention of both arms where the latent was halved twice: latent / 4

Shape3 = tuple[int, int, int]
Shape4 = tuple[int, int, int, int]


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
    query: Shape3
    key: Shape3
    heads: int
    head_width: int

    @property
    def map(self) -> Shape4:
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
        level: how often the latent was halved before it.

    >>> cross = AttentionShape("cross", (1, 256, 1280), (1, 77, 1280), 8, 160)
    >>> block = BlockShape(4, "input 7", "down", (1, 1280, 16, 16), (1, 1280, 16, 16), "float16", (cross,), level=2)
    >>> block.grid, block.tokens, block.map_bytes(cross), block.read_by_loss
    (Grid(height=16, width=16), 77, 315392, True)
    """

    order: int
    block: str
    place: Place
    features_in: Shape4
    features_out: Shape4
    dtype: str
    attention: tuple[AttentionShape, ...]
    level: int = 0

    @property
    def grid(self) -> Grid:
        """The feature map's extent."""
        return Grid(*self.features_in[2:])

    @property
    def tokens(self) -> int | None:
        """Keys of the cross layer, or None where there is none."""
        cross = self.layer("cross")
        return None if cross is None else cross.key[1]

    @property
    def read_by_loss(self) -> bool:
        """Whether Break-a-Scene's attention loss reads this block's cross layer."""
        return self.level == LOSS_LEVEL and self.place != "middle" and self.layer("cross") is not None

    def layer(self, kind: Kind) -> AttentionShape | None:
        """The layer of this kind, or None."""
        return next((layer for layer in self.attention if layer.kind == kind), None)

    def map_bytes(self, layer: AttentionShape) -> int:
        """Bytes of the layer's attention map, were it built in the features' own type."""
        item = torch.empty(0, dtype=getattr(torch, self.dtype)).element_size()
        batch, head, query, key = layer.map
        return batch * head * query * key * item


class ShapeProbe:
    """Note the shapes of the first model call made inside it; undone on leaving, even after an error.

    Shapes are read, tensors are not kept, nothing is computed: it works on real and on meta tensors alike.

    Args:
        found: the layers to observe, as `find_layers` returns them.

    Raises:
        AttributeError: a layer's attention has no `to_q` or `to_k`; no hook is left behind.
    """

    def __init__(self, found: tuple[LayerModules, ...]) -> None:
        self._found = found
        self._attention: dict[AttentionLayer, AttentionShape] = {}
        self._features: dict[nn.Module, tuple[Shape4, Shape4, str]] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> ShapeProbe:
        with ExitStack() as stack:
            stack.enter_context(Observers(self._found, self._note_attention))
            for transformer in dict.fromkeys(item.transformer for item in self._found):
                stack.callback(transformer.register_forward_hook(self._note_features, with_kwargs=True).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def rows(self) -> tuple[BlockShape, ...]:
        """The blocks that ran, in forward order; SDXL's blocks in one transformer share its feature maps."""
        ran = [item for item in self._found if item.layer in self._attention and item.transformer in self._features]
        rows = []
        for order, group in groupby(sorted(ran, key=_order), key=_order):
            members = list(group)
            layer, (entering, leaving, dtype) = members[0].layer, self._features[members[0].transformer]
            attention = tuple(self._attention[item.layer] for item in members)
            rows.append(BlockShape(order, layer.block, layer.place, entering, leaving, dtype, attention, layer.level))
        return tuple(rows)

    def missing(self) -> tuple[str, ...]:
        """Names of the layers that did not run in the observed call."""
        ran = {row.block for row in self.rows()}
        layers = [item.layer for item in self._found]
        return tuple(layer.name for layer in layers if layer not in self._attention or layer.block not in ran)

    def _note_attention(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid) -> None:
        if query.ndim == key.ndim == 3:
            shape = AttentionShape(layer.kind, _shape3(query), _shape3(key), layer.heads, layer.head_width)
            self._attention.setdefault(layer, shape)

    def _note_features(self, transformer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        entering = features_of_call(args, kwargs)
        output = output[0] if isinstance(output, tuple) else output  # diffusers answers with a tuple
        if entering is not None and isinstance(output, Tensor) and output.ndim == 4:
            dtype = str(entering.dtype).removeprefix("torch.")
            self._features.setdefault(transformer, (_shape4(entering), _shape4(output), dtype))


def _order(member: LayerModules) -> int:
    return member.layer.order


def _shape3(tensor: Tensor) -> Shape3:
    batch, position, channel = tensor.shape
    return batch, position, channel


def _shape4(tensor: Tensor) -> Shape4:
    batch, channel, height, width = tensor.shape
    return batch, channel, height, width
