"""Seeing queries and keys as a model computes them, without taking part in the computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from ...dims import Grid
from .layers import AttentionLayer, LayerModules

See = Callable[[AttentionLayer, Tensor, Tensor, Grid], None]


class Observers:
    """While entered, calls `see(layer, query, key, grid)` each time a layer computes its queries and keys.

    Forward hooks on `to_q` and `to_k` return nothing, so the model's own numbers are untouched, whatever kernel or
    patch then uses them. All hooks are removed on leaving, even if entering fails halfway or the model raises.

    Source: host contract, ComfyUI 0.33 `attention.BasicTransformerBlock.forward`: with and without a replace patch the
    block calls `to_q`, then `to_k`, once each.

    Args:
        found: the layers to watch.
        see: gets the layer, query (batch query head*channel), key (batch token head*channel) with their gradients, if
            any, and the grid of the queries. What it keeps it has to detach itself.
    """

    def __init__(self, found: Sequence[LayerModules], see: See) -> None:
        self._found, self._see = tuple(found), see
        self._queries: dict[AttentionLayer, Tensor] = {}
        self._grids: dict[nn.Module, Grid] = {}
        self._seen: set[AttentionLayer] = set()
        self._hooks = ExitStack()

    def __enter__(self) -> Observers:
        with ExitStack() as stack:
            for transformer in dict.fromkeys(item.transformer for item in self._found):
                stack.callback(transformer.register_forward_pre_hook(self._note_grid, with_kwargs=True).remove)
            for item in self._found:
                for name, hook in (("to_q", self._note_query(item.layer)), ("to_k", self._note_key(item))):
                    stack.callback(item.attention.get_submodule(name).register_forward_hook(hook).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()
        self._queries.clear()
        self._grids.clear()

    def unseen(self) -> tuple[AttentionLayer, ...]:
        """Layers that have not shown a query with its key since entering."""
        return tuple(item.layer for item in self._found if item.layer not in self._seen)

    def _note_grid(self, transformer: nn.Module, args: Any, kwargs: Any) -> None:
        entering = features_of_call(args, kwargs)
        if entering is not None:
            self._grids[transformer] = Grid(*entering.shape[-2:])

    def _note_query(self, layer: AttentionLayer) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], query: Tensor) -> None:
            self._queries[layer] = query

        return hook

    def _note_key(self, item: LayerModules) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], key: Tensor) -> None:
            query, grid = self._queries.pop(item.layer, None), self._grids.get(item.transformer)
            if query is None or grid is None:
                return  # another patch asks this layer for keys of its own; one that stays silent is in `unseen`
            self._seen.add(item.layer)
            self._see(item.layer, query, key, grid)

        return hook


def features_of_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The feature map (batch channel height width) that a spatial transformer is called with, if it is one."""
    entering = args[0] if args else kwargs.get("x")
    return entering if isinstance(entering, Tensor) and entering.ndim == 4 else None
