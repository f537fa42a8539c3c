"""What to record: one selection, described alike everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from .choices import StepChoice
from .layers import Kind

Heads = Literal["mean", "each"]
Evaluations = Literal["first", "all"]
QueryPrecision = Literal["maps", "half", "single", "int8"]
Branch = str  # "positive", "negative", or what a guider with more conditionings calls them: "middle"

POSITIVE, NEGATIVE = "positive", "negative"
_ROUNDING = 1e-6  # 0.7 of 10 steps is 7.000000000000001


def branch_of(index: int) -> Branch:
    """Name a position in the host's list of conditionings, where the guider does not name it.

    Source: host contract, ComfyUI 0.33 `samplers.calc_cond_batch`: index 0 is the positive, 1 the negative.

    >>> [branch_of(index) for index in range(3)]
    ['positive', 'negative', 'other 2']
    """
    return (POSITIVE, NEGATIVE)[index] if index < 2 else f"other {index}"


@dataclass(frozen=True)
class Selection:
    """What one run keeps.

    Args:
        kinds: cross-attention, self-attention, or both.
        blocks: `all`, places or block names, as `choose_blocks` reads them.
        heads: `mean` keeps one map per layer, `each` every head's.
        steps: sampler steps, as `choose_steps` reads them.
        branches: conditionings to keep; further ones that a guider has are kept where both are.
        evaluations: of a sampler step that asks the model several times keep the `first` answer or `all`.
        precision: type of the kept maps.
        self_times: self-attention is reduced to the latent's grid divided by this; 1 keeps the layer's own grid.
        self_region: (height width) float, a region of the picture; where given, self-attention keeps one map, the mean
            over the region's queries, instead of one per query.
        keep_queries: keep queries and keys of cross-attention too, to ask for new words or to replay the run.
        budget: bytes that one run may keep.
        keep_self_queries: keep queries and keys of self-attention, to replay the run.
        query_precision: type of kept queries and keys: that of the maps, half, single, or int8 with a scale a row.
        queries_until: share of the run, from its beginning, whose queries and keys are kept.
        steered: where an act adds log-odds to attention, keep the maps with them, as they are used; without, as they
            would be before.
    """

    kinds: tuple[Kind, ...] = ("cross",)
    blocks: str = "all"
    heads: Heads = "mean"
    steps: str = "all"
    branches: tuple[Branch, ...] = (POSITIVE, NEGATIVE)
    evaluations: Evaluations = "first"
    precision: torch.dtype = torch.float16
    self_times: int = 2
    self_region: torch.Tensor | None = None
    keep_queries: bool = False
    budget: int = 2 * 10**9
    keep_self_queries: bool = False
    query_precision: QueryPrecision = "maps"
    queries_until: float = 1.0
    steered: bool = True

    def keeps(self, branch: Branch) -> bool:
        """Whether the maps of this branch are kept."""
        return branch in self.branches or (branch not in (POSITIVE, NEGATIVE) and len(self.branches) > 1)

    @property
    def item_bytes(self) -> int:
        """Bytes of one kept number."""
        return torch.finfo(self.precision).bits // 8

    @property
    def query_dtype(self) -> torch.dtype:
        """Type of kept queries and keys; int8 rows have a scale each."""
        named = {"half": torch.float16, "single": torch.float32, "int8": torch.int8}
        return named.get(self.query_precision, self.precision)

    def keeps_queries(self, kind: Kind) -> bool:
        """Whether queries and keys of this kind are kept."""
        return (self.keep_queries and "cross" in self.kinds) if kind == "cross" else self.keep_self_queries

    def query_steps(self, total: int) -> frozenset[int]:
        """The sampler steps, out of this many, whose queries and keys are kept."""
        return StepChoice.read(self.steps).of(total) & frozenset(range(first_steps(self.queries_until, total)))


def first_steps(share: float, total: int) -> int:
    """How many steps begin before this share of the run is over.

    >>> [first_steps(share, 20) for share in (0, 0.4, 0.41, 1)]
    [0, 8, 9, 20]
    """
    return max(0, min(total, math.ceil(share * total - _ROUNDING)))
