"""What one sampling run left behind: maps with their addresses. Frozen; safe to share and to cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from ...dims import Grid, bytes_text
from ..words.tokens import TokenTable
from .block_shapes import BlockShape
from .layers import AttentionLayer, Kind
from .selection import Branch, Selection

INT8_LARGEST = 127


@dataclass(frozen=True, order=True)
class Address:
    """Where and when a map was made; heads and images are axes of the map itself.

    Args:
        step: sampler step of the run, from 0.
        evaluation: model evaluation inside the step, from 0.
        branch: `positive`, `negative`, or another guider's name for it.
        entry: conditioning entry of the branch, from 0 (several with ConditioningCombine, areas, masks).
        order: place of the block in forward order, from 0.
        block: the block's name.
        kind: `cross` or `self`.
    """

    step: int
    evaluation: int
    branch: Branch
    entry: int
    order: int
    block: str
    kind: Kind

    def when(self, step: int, evaluation: int) -> Address:
        """The same place at another time; `dataclasses.replace` takes three times as long, for each map of a run."""
        return Address(step, evaluation, self.branch, self.entry, self.order, self.block, self.kind)


@dataclass(frozen=True)
class AttentionMap:
    """One recorded map.

    Args:
        address: where and when.
        maps: (image head query key) shares of attention, each row sums to 1; on the CPU. One head where heads were
            averaged.
        heads: how many heads the layer has, whether they were averaged or not.
        query_grid: the grid of the queries, 1x1 where a region was averaged.
        key_grid: the grid of the keys for self-attention; None for cross-attention, whose keys are tokens.
    """

    address: Address
    maps: Tensor
    heads: int
    query_grid: Grid
    key_grid: Grid | None = None


@dataclass(frozen=True)
class Projection:
    """Queries and keys of one attention call, kept to ask for new words or to replay the run.

    Args:
        query: (image query head*channel) float, or int8 with a scale.
        key: (image key head*channel) float, or int8 with a scale; of cross-attention a key a token, repeats removed.
        heads: attention heads.
        query_grid: the grid of the queries.
        query_scale: (image query 1) float32, what one of an int8 query's units is.
        key_scale: (image key 1) float32.
    """

    query: Tensor
    key: Tensor
    heads: int
    query_grid: Grid
    query_scale: Tensor | None = None
    key_scale: Tensor | None = None

    @property
    def queries(self) -> Tensor:
        """The queries (image query head*channel), float."""
        return _from_int8(self.query, self.query_scale)

    @property
    def keys(self) -> Tensor:
        """The keys (image key head*channel), float."""
        return _from_int8(self.key, self.key_scale)

    def kept_as(self, dtype: torch.dtype) -> Projection:
        """A copy in another type, with storage of its own; int8 gets a scale a row, its largest value over 127."""
        if dtype != torch.int8:
            query, key = (part.to(dtype=dtype, copy=True).contiguous() for part in (self.queries, self.keys))
            return replace(self, query=query, key=key, query_scale=None, key_scale=None)
        (query, query_scale), (key, key_scale) = _to_int8(self.queries), _to_int8(self.keys)
        return replace(self, query=query, key=key, query_scale=query_scale, key_scale=key_scale)

    @property
    def named_tensors(self) -> dict[str, Tensor]:
        """All that it holds, by the names of its fields."""
        held = {name: getattr(self, name) for name in ("query", "key", "query_scale", "key_scale")}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds."""
        return tuple(self.named_tensors.values())


def _to_int8(values: Tensor) -> tuple[Tensor, Tensor]:
    values = values.float()
    scale = values.abs().amax(dim=-1, keepdim=True) / INT8_LARGEST
    scale.clamp_(min=torch.finfo(torch.float32).tiny)  # some devices take for 0 what is smaller
    return (values / scale).round().to(torch.int8), scale


def _from_int8(values: Tensor, scale: Tensor | None) -> Tensor:
    return values if scale is None else values.float() * scale


@dataclass(frozen=True)
class Entry:
    """One conditioning entry of the run.

    Args:
        branch: `positive`, `negative`, or another guider's name for it.
        index: its place among the branch's entries.
        tokens: columns of its prompt, before the host repeats them.
        area: (height, width, top, left) in latent cells, None for the whole picture.
        strength: the conditioning's strength.
        masked: whether a mask limits where its prediction counts (its attention covers the whole picture all the same).
        table: the words, None for a conditioning that carries none.
    """

    branch: Branch
    index: int
    tokens: int
    area: tuple[int, int, int, int] | None = None
    strength: float = 1.0
    masked: bool = False
    table: TokenTable | None = None

    def extent(self, latent: Grid) -> Grid:
        """The size of the part of the latent that it covers."""
        return Grid(*self.area[:2]) if self.area else latent


@dataclass(frozen=True)
class Recording:
    """One run's maps and what is needed to read them.

    Args:
        maps: in order of their addresses.
        projections: queries and keys by address, where they were kept.
        layers: the model's attention layers that were chosen.
        entries: the conditioning entries.
        latent: the latent's grid.
        images: pictures of the batch.
        sigmas: where each step began, the sigma of its first evaluation, and where the run ended; steps + 1 values. A
            step for which the model was not asked has the schedule's.
        selection: what was asked for.
        shapes: the per-block shape log of the first evaluation.
        skipped: calls that could not be recorded: reason -> how many.
        about: what else is known about the run: seed, sampler, cfg, model.
        contexts: the encoded prompt (1 token channel) of an entry, by branch and index, where queries were kept.
        asked_at: for each step the sigma of each of its evaluations; empty where only `sigmas` is known.
    """

    maps: tuple[AttentionMap, ...]
    layers: tuple[AttentionLayer, ...] = field(metadata={"key": "sites"})  # files of every version name it so
    entries: tuple[Entry, ...]
    latent: Grid
    images: int
    sigmas: tuple[float, ...]
    selection: Selection
    shapes: tuple[BlockShape, ...] = ()
    projections: Mapping[Address, Projection] = field(default_factory=lambda: MappingProxyType({}))
    skipped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    about: Mapping[str, str | int | float] = field(default_factory=lambda: MappingProxyType({}))
    asked_at: tuple[tuple[float, ...], ...] = ()
    contexts: Mapping[tuple[Branch, int], Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def sigma_of(self, address: Address) -> float:
        """The sigma that a map was made at."""
        asked = self.asked_at[address.step] if address.step < len(self.asked_at) else ()
        return asked[address.evaluation] if address.evaluation < len(asked) else self.sigmas[address.step]

    @property
    def steps(self) -> int:
        """Sampler steps of the run, recorded or not."""
        return max(1, len(self.sigmas) - 1)

    @property
    def bytes_held(self) -> int:
        """Bytes of all maps, queries and keys."""
        kept = [item.maps for item in self.maps]
        for projection in self.projections.values():
            kept += projection.tensors
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def describe(self) -> str:
        """Say in a few lines what was kept, and what was not."""
        steps = len({item.address.step for item in self.maps})
        blocks = len({item.address.block for item in self.maps})
        images = f"{self.images} image{'s' if self.images > 1 else ''} of {self.latent} latent cells"
        size = f"{len(self.maps)} maps, {bytes_text(self.bytes_held)}"
        lines = [f"{size}: {blocks} blocks, {steps} of {self.steps} steps, {images}"]
        lines += [f"made on {grid} by layers of another grid: {count} maps" for grid, count in self.odd_grids()]
        lines += [str(self.about["acts"])] if self.about.get("acts") else []
        lines += [f"not recorded: {reason} ({count} times)" for reason, count in self.skipped.items()]
        return "\n".join(lines)

    def odd_grids(self) -> list[tuple[Grid, int]]:
        """How many cross-attention maps each grid has that is not their layers' own: a patch resized the features."""
        levels = {layer.order: layer.level for layer in self.layers}
        extents = {(entry.branch, entry.index): entry.extent(self.latent) for entry in self.entries}
        odd: Counter[Grid] = Counter()
        for item in self.maps:
            at = item.address
            extent = extents.get((at.branch, at.entry), self.latent)
            if at.kind == "cross" and item.query_grid != extent.coarser(2 ** levels[at.order]):
                odd[item.query_grid] += 1
        return sorted(odd.items(), reverse=True)

    def where(self, keep: Callable[[Address], bool]) -> Recording:
        """The part of the recording whose addresses are kept; maps are shared, not copied."""
        return replace(
            self,
            maps=tuple(item for item in self.maps if keep(item.address)),
            projections=MappingProxyType({at: item for at, item in self.projections.items() if keep(at)}),
        )

    def entry(self, branch: Branch, index: int) -> Entry | None:
        """The entry at this place, or None."""
        return next((entry for entry in self.entries if (entry.branch, entry.index) == (branch, index)), None)
