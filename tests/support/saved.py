"""A recording with a value in every field, and equality that looks into it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from pack.scenescope.attention.record.block_shapes import AttentionShape, BlockShape
from pack.scenescope.attention.record.layers import KINDS, AttentionLayer
from pack.scenescope.attention.record.recording import Address, AttentionMap, Entry, Projection, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.dims import Grid


def full_recording(*, steps: int = 2, precision: torch.dtype = torch.float16) -> Recording:
    """A small recording with a value in every field: two prompts, cross and self, 3x2 latent."""
    noise = torch.Generator().manual_seed(0)
    table = TokenTable("Ünï (cat:1.2)", (Token(0, 0, 0, "start", "", None), Token(1, 0, 1, "text", "cat", 0, 1.2)))
    key = torch.randn(1, 2, 8, generator=noise)
    maps, projections = [], {}
    for step in range(steps):
        for branch in ("positive", "negative"):
            cross = Address(step, 0, branch, 0, 1, "input 1", "cross")
            shares = torch.rand(1, 1, 6, 2, generator=noise).to(precision)
            maps.append(AttentionMap(cross, shares, 8, Grid(3, 2)))
            own = torch.rand(1, 1, 6, 6, generator=noise).to(precision)
            maps.append(AttentionMap(replace(cross, kind="self"), own, 8, Grid(3, 2), Grid(3, 2)))
            pair = Projection(torch.randn(1, 6, 8, generator=noise), key.clone(), 8, Grid(3, 2))
            projections[cross] = pair if branch == "positive" else pair.kept_as(torch.int8)
    shape = AttentionShape("cross", (2, 6, 8), (2, 2, 8), 2, 4)
    return Recording(
        maps=tuple(sorted(maps, key=lambda item: item.address)),
        layers=tuple(AttentionLayer(1, "input 1", "down", kind, 0, 8, 40) for kind in KINDS),
        entries=(
            Entry("positive", 0, 2, table=table),
            Entry("negative", 0, 2, area=(1, 2, 0, 0), strength=0.5, masked=True),
        ),
        latent=Grid(3, 2),
        images=1,
        sigmas=(14.6, 3.25, 0.0)[: steps + 1],
        selection=Selection(
            kinds=("cross", "self"),
            keep_queries=True,
            query_precision="int8",
            self_region=torch.rand(3, 2, generator=noise),
        ),
        shapes=(BlockShape(1, "input 1", "down", (2, 8, 3, 2), (2, 8, 3, 2), "float16", (shape,)),),
        projections=MappingProxyType(projections),
        skipped=MappingProxyType({"a patch gave other keys": 3}),
        about=MappingProxyType({"seed": 2**63 + 1, "cfg": 7.0, "model": "abc", "sampler": "euler"}),
    )


def same(one: Any, other: Any) -> bool:
    """Equality that looks into dataclasses, mappings and tensors; types count."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, MappingProxyType):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(same(a, b) for a, b in zip(one, other, strict=True))
        )
    return type(one) is type(other) and one == other
