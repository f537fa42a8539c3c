"""What the simulated device has to know of an operation before it runs one; looked up once for each.

Source: torch 2.11, `aten/src/ATen/native/native_functions.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

aten = torch.ops.aten
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd

_WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.equal.default: "equal",
    aten.is_nonzero.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "nonzero",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.repeat_interleave.Tensor: "repeat_interleave",
    aten.allclose.default: "equal",
}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default}
_SUMMING = _PRODUCTS | {
    aten.baddbmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
    aten._softmax.default,
    aten._safe_softmax.default,
}
"""A GPU adds up the products of halves in single precision; a CPU takes up to a hundred times as long for halves."""
_STRICT = _PRODUCTS | {aten.cat.default, aten.stack.default, aten._fused_adamw_.default}
_COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
_UNWRITTEN = {
    aten.empty.memory_format,
    aten.empty_strided.default,
    aten.empty_like.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
}
_VIEWS = """detach.default alias.default view.default _unsafe_view.default t.default transpose.int permute.default
    expand.default unsqueeze.default squeeze.dim slice.Tensor select.int split.Tensor unbind.int as_strided.default
    lift_fresh.default chunk.default _reshape_alias.default squeeze.dims unfold.default split_with_sizes.default
    squeeze.default set_.source_Storage view.dtype"""
_NO_LAUNCH = _UNWRITTEN | {
    getattr(getattr(aten, name), overload) for name, overload in (item.split(".") for item in _VIEWS.split())
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as a device sees it.

    Args:
        name: for the counts.
        composite: it is made of others, and comes whole in inference mode.
        copies: it may lead from one device to another.
        asks: it compares kinds of tensors, and computes nothing.
        waits: the kind of the host's wait for its result, or an empty text.
        indexes: its indices may lie on the host.
        strict: it takes no tensor of the host, be it without dimensions.
        unwritten: it gives memory that nobody wrote.
        launches: the device is given something to do.
        sums: halves are added up in single precision.
        shares: results share memory with arguments.
        views: nothing is launched, and this is the place of the argument that all results are views of; else None.
        written: the places of the arguments that it writes to.
        returns: the place of the argument that it returns as it is, or None.
    """

    name: str
    composite: bool
    copies: bool
    asks: bool
    waits: str
    indexes: bool
    strict: bool
    unwritten: bool
    launches: bool
    sums: bool
    shares: bool
    views: int | None
    written: tuple[int, ...]
    returns: int | None


_KNOWN: dict[int, Operation] = {}


def operation(func: Any) -> Operation:
    """What is known of an operation; by its identity, since torch keeps each as long as it lives."""
    known = _KNOWN.get(id(func))
    if known is None:
        known = _KNOWN[id(func)] = _described(func)
    return known


def _described(func: Any) -> Operation:
    arguments, results = func._schema.arguments, func._schema.returns
    written = tuple(at for at, one in enumerate(arguments) if one.alias_info is not None and one.alias_info.is_write)
    copies = func in _COPIES
    changes = len(results) == 1 and results[0].alias_info is not None and results[0].alias_info.is_write
    plainly = changes and len(written) == 1 and torch.Tag.inplace_view not in func.tags
    shared = [at for at, one in enumerate(arguments) if one.alias_info is not None]
    viewed = func in _NO_LAUNCH and not written and all(one.alias_info is not None for one in results)
    return Operation(
        name=str(func),
        composite=not copies and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE),
        copies=copies,
        asks=func is aten._has_compatible_shallow_copy_type.default,
        waits=_WAITING.get(func, ""),
        indexes=func in _INDEXING,
        strict=func in _STRICT,
        unwritten=func in _UNWRITTEN,
        launches=func not in _NO_LAUNCH,
        sums=func in _SUMMING,
        shares=any(one.alias_info is not None for one in results),
        views=shared[0] if viewed and len(shared) == 1 else None,
        written=written,
        returns=written[0] if plainly else None,
    )
