"""Writing attention: queries, keys and log-odds, whatever kernel, override or replace patch computes it.

A query or key is replaced in a forward hook on `to_q` or `to_k` that runs before all others, so every kernel, every
owner of a patch and every observer sees what was written. A bias is written at the end: a pre-hook on `to_out` takes
what the layer made and puts the biased attention in its place.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from ...dims import Grid
from ..record.layers import AttentionLayer, LayerModules
from ..record.observers import features_of_call
from ..record.recording import Entry
from ..record.scores import OuterBias, repeated
from .acts import Bias, LayerWrite, ModelCall, SelfBias
from .attend import attend, attend_with_channels, projected

_REMEMBERED_SETS = 8  # layers may be written with different sets: by block, by step


class WritingState:
    """What the writers of one run share: computed biases, and what could not be written."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._known: dict[tuple[int, ...], dict[Any, Tensor | None]] = {}
        self._biases: dict[tuple[int, ...], tuple[Bias | SelfBias, ...]] = {}
        self._logged = False
        self._lock = Lock()  # several GPUs may answer parts of one evaluation at the same time

    def skip(self, reason: str) -> None:
        """Count something that could not be written."""
        with self._lock:
            self.skipped[reason] += 1

    def failed(self, layer: AttentionLayer, error: Exception) -> None:
        """Count an error in an act; the first one is logged with its trace."""
        self.skip(f"{layer.name}: {type(error).__name__}: {error}")
        if not self._logged:
            self._logged = True
            logging.error("SceneScope: %s could not be written", layer.name, exc_info=error)

    def recall(self, biases: tuple[Bias | SelfBias, ...], key: Any, make: Callable[[], Tensor | None]) -> Tensor | None:
        """What `make` gave for these biases and this key; only the newest sets of biases are remembered."""
        name = tuple(map(id, biases))
        with self._lock:
            if name not in self._known:
                for oldest in list(self._known)[: -_REMEMBERED_SETS + 1]:
                    del self._known[oldest], self._biases[oldest]
                self._known[name], self._biases[name] = {}, biases  # the biases are held, so that no id is used again
            known = self._known[name]
            if key not in known:
                known[key] = make()
            return known[key]


class Writers:
    """While entered, layers compute with what acts write. A layer with nothing to write gets no hook.

    - The query is replaced, then the key; several acts work one after the other, each on what the one before gave.
    - Biases of all acts are added up, and the rows (batch) of the entries that have one are written in front of
      `to_out`. Where nothing else owns the layer they become softmax(QK^T/sqrt(d) + bias) V: of cross-attention by an
      additive mask, of self-attention, whose mask would be as large as the map, by extra channels. Where a replace
      patch or an override owns it, the difference that the bias makes to plain attention is added to what the owner
      gave: exact for owners that add to it (IPAdapter's form). Rows without a bias stay as they were, bit for bit.
    - Other prompts are mixed in there too: where they count, a cell's attention is to their keys and values.
    - What cannot be written is passed over, counted through `skip`, and the picture goes on.
    - All hooks are removed on leaving, even if entering fails halfway or the model raises.

    Source: host contract, ComfyUI 0.33 `attention.CrossAttention.forward` and `BasicTransformerBlock.forward`: with and
    without a replace patch a block calls `to_q`, `to_k`, `to_v` and `to_out`, once each and in this order.

    Args:
        found: the model's layers with their modules.
        writes: what to write at them; layers that are not named are left alone.
        call: the current model call.
        owned: layers whose result is a replace patch's or an override's.
        state: what the run's writers share; a new one where none is given.
    """

    def __init__(
        self,
        found: Sequence[LayerModules],
        writes: Mapping[AttentionLayer, Sequence[LayerWrite]],
        call: ModelCall,
        *,
        owned: Collection[AttentionLayer] = (),
        state: WritingState | None = None,
    ) -> None:
        self._layers = [item for item in found if writes.get(item.layer)]
        self._writes, self._call, self._owned = writes, call, owned
        self.state = state or WritingState()
        self._grids: dict[nn.Module, Grid] = {}
        self._seen: dict[AttentionLayer, dict[str, Tensor]] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> Writers:
        with ExitStack() as stack:
            for transformer in dict.fromkeys(item.transformer for item in self._layers):
                stack.callback(transformer.register_forward_pre_hook(self._note_grid, with_kwargs=True).remove)
            for item in self._layers:
                for module, hook, first in self._hooks_of(item):
                    stack.callback(module.register_forward_hook(hook, prepend=first).remove)
                if self._writes_out(item.layer):
                    out = item.attention.get_submodule("to_out")
                    stack.callback(out.register_forward_pre_hook(self._at_out(item)).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()
        self._seen.clear()
        self._grids.clear()

    def bias_at(self, layer: AttentionLayer, grid: Grid, position: int, like: Tensor) -> Tensor | OuterBias | None:
        """The sum of all biases of one entry of the call, as this layer's attention is written with.

        Args:
            layer: the layer.
            grid: of its queries.
            position: the entry's place in the call.
            like: a tensor whose type and device the bias takes.

        Returns:
            (1|image 1|head query token) with one column for each of the entry's tokens, of self-attention its factors,
            or None where there is none.
        """
        entry, biases = self._call.entries[position], self._biases(layer)
        if not biases:
            return None
        if layer.kind == "self":
            return self._factors(biases, grid, entry, like)

        def make() -> Tensor | None:
            parts = [part for bias in biases if (part := bias.on(grid, entry)) is not None]
            return sum(parts[1:], start=parts[0]).to(like) if parts else None

        return self.state.recall(biases, (grid, entry.branch, entry.index, like.dtype, like.device), make)

    def _factors(self, biases: tuple[SelfBias, ...], grid: Grid, entry: Entry, like: Tensor) -> OuterBias | None:
        found = [part for bias in biases if (part := bias.factors(grid, entry)) is not None]
        if not found:
            return None

        images = max(part.query.shape[0] for part in found)

        def joined(name: str) -> Tensor:
            parts = [getattr(part, name) for part in found]
            return torch.cat([part.expand(images, -1, -1) for part in parts], dim=-1).to(like)

        key = (grid, entry.branch, entry.index, like.dtype, like.device)
        query = self.state.recall(biases, (*key, "query"), partial(joined, "query"))
        keys = self.state.recall(biases, (*key, "key"), partial(joined, "key"))
        assert query is not None
        assert keys is not None
        return OuterBias(query, keys)

    def _biases(self, layer: AttentionLayer) -> tuple[Any, ...]:
        """What acts add to this layer's logits: of cross-attention each a `Bias`, of self-attention a `SelfBias`."""
        name = "bias" if layer.kind == "cross" else "self_bias"
        return tuple(its for write in self._writes.get(layer, ()) if (its := getattr(write, name)) is not None)

    def _writes_out(self, layer: AttentionLayer) -> bool:
        mixing = layer.kind == "cross" and any(write.mix is not None for write in self._writes.get(layer, ()))
        return mixing or bool(self._biases(layer))

    def _hooks_of(self, item: LayerModules) -> list[tuple[nn.Module, Callable[..., Tensor | None], bool]]:
        """Modules, their forward hooks, and whether these go before all others."""
        hooks: list[tuple[nn.Module, Callable[..., Tensor | None], bool]] = []
        for name, part in (("to_q", "query"), ("to_k", "key")):
            replacements = [r for write in self._writes[item.layer] if (r := getattr(write, part)) is not None]
            if replacements:
                hooks.append((item.attention.get_submodule(name), self._replacing(item, part, replacements), True))
        if self._writes_out(item.layer):
            for name in ("to_q", "to_k", "to_v"):
                hooks.append((item.attention.get_submodule(name), self._keeping(item.layer, name), False))
        return hooks

    def _note_grid(self, transformer: nn.Module, args: Any, kwargs: Any) -> None:
        entering = features_of_call(args, kwargs)
        if entering is not None:
            self._grids[transformer] = Grid(*entering.shape[-2:])

    def _replacing(
        self, item: LayerModules, part: str, replacements: Sequence[Callable[[Tensor, Grid], Tensor]]
    ) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], given: Tensor) -> Tensor | None:
            return self._guarded(item.layer, lambda: self._replaced(item, part, given, replacements))

        return hook

    def _replaced(
        self, item: LayerModules, part: str, given: Tensor, replacements: Sequence[Callable[[Tensor, Grid], Tensor]]
    ) -> Tensor | None:
        grid, rows = self._grids.get(item.transformer), self._call.images * len(self._call.entries)
        if grid is None or given.shape[0] != rows:
            self.state.skip(
                f"{item.layer.name}: another patch changed the batch ({given.shape[0]} rows instead of {rows})"
            )
            return None
        written = given
        for replacement in replacements:
            written = replacement(written, grid)
        if written.shape != given.shape:
            raise ValueError(f"the {part} written is {tuple(written.shape)} instead of {tuple(given.shape)}")
        return written

    def _keeping(self, layer: AttentionLayer, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], given: Tensor) -> None:
            if name == "to_q":
                self._seen[layer] = {name: given}
            elif layer in self._seen:
                self._seen[layer].setdefault(name, given)  # a patch may ask this layer for more keys of its own

        return hook

    def _at_out(self, item: LayerModules) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            seen, grid = self._seen.pop(item.layer, {}), self._grids.get(item.transformer)
            written = self._guarded(item.layer, lambda: self._joined(item, inputs[0], seen, grid))
            return None if written is None else (written, *inputs[1:])

        return hook

    def _joined(
        self, item: LayerModules, given: Tensor, seen: Mapping[str, Tensor], grid: Grid | None
    ) -> Tensor | None:
        """What goes into `to_out` (batch query head*channel) in place of what was given."""
        layer = item.layer
        entries, images = self._call.entries, self._call.images
        query, key, value = (seen.get(name) for name in ("to_q", "to_k", "to_v"))
        if query is None or key is None or value is None or grid is None:
            self.state.skip(f"{layer.name}: the layer was called in an unexpected way")
            return None
        tokens = grid.cells if layer.kind == "self" else math.lcm(*(entry.tokens for entry in entries))
        wanted = (images * len(entries), grid.cells, tokens)
        if (query.shape[0], query.shape[1], key.shape[1]) != wanted or given.shape != query.shape:
            got = " x ".join(map(str, (query.shape[0], query.shape[1], key.shape[1])))
            self.state.skip(f"{layer.name}: another patch changed rows, queries or keys (they are {got})")
            return None
        spans = [self._call.rows(position) for position in range(len(entries))]
        results = [
            self._result(item, grid, position, given[rows], (query[rows], key[rows], value[rows]))
            for position, rows in enumerate(spans)
        ]
        if all(result is None for result in results):
            return None
        return torch.cat([given[rows] if its is None else its for rows, its in zip(spans, results, strict=True)])

    def _result(
        self, item: LayerModules, grid: Grid, position: int, given: Tensor, own: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor | None:
        """What one entry's rows become; None where they stay."""
        (query, key, _), layer, entry = own, item.layer, self._call.entries[position]
        bias, parts = self.bias_at(layer, grid, position, query), self._parts(layer, grid, entry, query)
        if bias is None and not parts:
            return None
        plain = attend(*own, layer.heads) if bias is None or layer in self._owned else None
        if isinstance(bias, OuterBias):
            result = attend_with_channels(*own, layer.heads, bias)
        elif bias is not None:  # (1|image 1|head query tokens)
            result = attend(*own, layer.heads, repeated(bias, key.shape[1] // entry.tokens))
        else:
            assert plain is not None
            result = plain
        mixed = result
        for context, weight in parts:
            there = attend(query, *projected(item.attention, context, query), layer.heads)
            mixed = torch.addcmul(mixed, weight, there - result)
        return mixed if layer not in self._owned or plain is None else given + (mixed - plain)

    def _parts(self, layer: AttentionLayer, grid: Grid, entry: Entry, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        if layer.kind != "cross":
            return []
        mixes = [write.mix for write in self._writes.get(layer, ()) if write.mix is not None]
        return [part for mix in mixes for part in mix.parts(grid, entry, like)]

    def _guarded(self, layer: AttentionLayer, write: Callable[[], Tensor | None]) -> Tensor | None:
        try:
            return write()
        except Exception as error:  # noqa: BLE001 - the picture must not be lost: counted, logged and reported
            self.state.failed(layer, error)
            return None
