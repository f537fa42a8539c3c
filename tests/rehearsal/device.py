"""A pretended GPU: tensors with real values that say they are on `pretend:0`, and behave as tensors on a GPU do.

Source: torch 2.11, a private-use back-end set up from Python (an experimental interface; the version is pinned). It is
strict where CUDA is:

- an operation over tensors of two devices raises (a CPU tensor without dimensions is let through, CPU indices too);
- such a tensor gives no numpy array, and memory that was not written holds NaN;
- a copy to the host with `non_blocking=True` holds NaN until somebody waited for it;
- a copy to the device is waited for, whatever it says, unless it comes from pinned memory;
- what one stream writes may be read on another only after that one waited;
- there is no float64, which CUDA has and MPS has not;
- autocast follows CUDA's table (norms in single precision), not the CPU's;
- the backward pass runs in a thread of the device's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, library
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from ..rehearsal import streams
from .backend import NAME, Backend
from .counts import count_launch
from .pinned import is_pinned, unwritten
from .streams import LOCK, current_stream, wait

aten = torch.ops.aten
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)
_NO_ARRAY = f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first."


class Far(Tensor):
    """A tensor on the pretended device; `near` holds its numbers, `written` says which stream wrote them and when."""

    near: Tensor
    written: tuple[int, int] | None

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        if near.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: the device doesn't support it.")
        made = Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            layout=near.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.near, made.written = near, None
        return made

    def __init__(self, near: Tensor) -> None:
        """All is done by `__new__`."""

    def __repr__(self) -> str:
        wait("print")
        return f"Far({self.near!r})"

    def numpy(self, *_args: Any, **_options: Any) -> Any:
        """Refuse, as CUDA's does."""
        raise TypeError(_NO_ARRAY)

    def __array__(self, *_args: Any, **_options: Any) -> Any:
        raise TypeError(_NO_ARRAY)

    def data_ptr(self) -> int:
        """Where its numbers are."""
        return self.near.data_ptr()

    def tolist(self) -> Any:
        """Its numbers, waited for."""
        wait("to host", self.near.nbytes)
        return self.near.tolist()

    def pin_memory(self, *_device: object) -> Tensor:
        """Refuse, as CUDA's does."""
        raise RuntimeError("cannot pin a tensor of a device")

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor.__getitem__(self, _uploaded(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        Tensor.__setitem__(self, _uploaded(index), value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_composite(func):  # in inference mode composite operations come whole
            return func._op_dk(_COMPOSITE, *args, **(kwargs or {}))
        with LOCK:
            return _run(func, args, kwargs or {})


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


@cache
def _is_composite(func: Any) -> bool:
    return func not in _COPIES and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE)


@cache
def _aliasing(func: Any) -> tuple[bool, tuple[int, ...]]:
    """Whether results share memory with arguments, and which arguments are written to."""
    arguments, results = func._schema.arguments, func._schema.returns
    written = [at for at, one in enumerate(arguments) if one.alias_info is not None and one.alias_info.is_write]
    return any(one.alias_info is not None for one in results), tuple(written)


def _leaves(value: Any, found: list[Tensor]) -> None:
    """Collect the tensors of arguments, which torch's own way of it takes many times as long for."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, Tensor):
            found.append(part)
        elif isinstance(part, (tuple, list)):
            _leaves(part, found)


def _near(value: Any) -> Any:
    """Arguments with the numbers of each tensor in its place."""
    if isinstance(value, Far):
        return value.near
    if isinstance(value, (tuple, list)):
        return type(value)([_near(part) if isinstance(part, (Far, tuple, list)) else part for part in value])
    if isinstance(value, dict):
        return {name: _near(part) for name, part in value.items()}
    return value


def _wrapped(value: Any, stamp: tuple[int, int] | None) -> Any:
    """Results with each tensor as one of the device's."""
    if isinstance(value, Tensor) and not isinstance(value, Far):
        made = Far(value)
        made.written = stamp
        return made
    return type(value)([_wrapped(part, stamp) for part in value]) if isinstance(value, tuple | list) else value


def _is_far(kwargs: dict[str, Any]) -> bool | None:
    """Whether a call asks for the device; None where it says nothing."""
    device = kwargs.get("device")
    return None if device is None else torch.device(device).type == NAME


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors: list[Tensor] = []
    _leaves(args, tensors)
    _leaves(kwargs, tensors)
    far = [item for item in tensors if isinstance(item, Far)]
    if func is aten._has_compatible_shallow_copy_type.default:
        return isinstance(args[0], Far) == isinstance(args[1], Far)
    _check_order(func, far)
    if func in _COPIES:
        return _copy(func, args, kwargs)
    _check_places(func, args, far, [item for item in tensors if not isinstance(item, Far)])
    if func in _WAITING:
        wait(_WAITING[func])
    wanted = _is_far(kwargs)
    args_near, kwargs_near = _near(args), _near(kwargs)
    if wanted:
        kwargs_near["device"] = torch.device("cpu")
    kwargs_near.pop("pin_memory", None)
    out = func(*args_near, **kwargs_near)
    if func in _UNWRITTEN and out.is_floating_point():
        out.fill_(math.nan)
    launches = func not in _NO_LAUNCH
    if launches:
        _launch(func)
    if not (bool(far) if wanted is None else wanted):
        return out
    stamp = _stamp() if launches else (far[0].written if far else None)
    shares, written = _aliasing(func)
    if shares and far and torch.is_inference_mode_enabled() and not far[0].is_inference():
        with torch.inference_mode(False):  # a view of an ordinary tensor is an ordinary tensor
            out = _wrapped(out, stamp)
    else:
        out = _wrapped(out, stamp)
    if launches:
        _mark_written(written, args)
    return return_and_correct_aliasing(func, args, kwargs, out) if far and shares else out


def _check_order(func: Any, far: list[Far]) -> None:
    now = current_stream()
    for item in far:
        if item.written is not None and item.written[0] != now.number and now.seen[item.written[0]] < item.written[1]:
            raise RuntimeError(
                f"{func}: a tensor that stream {item.written[0]} writes is read on stream {now.number}, which did not "
                "wait for it"
            )


def _check_places(func: Any, args: Any, far: list[Far], near: list[Tensor]) -> None:
    if func in _INDEXING:
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                wait("nonzero")
            elif index is not None and not isinstance(index, Far) and isinstance(args[0], Far):
                wait("to device", index.nbytes)
        return
    odd = [item for item in near if item.ndim or func in _STRICT] if far else []
    if odd:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
            f"({func}, CPU tensor of {tuple(odd[0].shape)})"
        )


_name = cache(str)


def _launch(func: Any) -> None:
    current_stream().tick += 1
    count_launch(_name(func))


def _stamp() -> tuple[int, int]:
    return current_stream().number, current_stream().tick


def _mark_written(places: tuple[int, ...], args: Any) -> None:
    found: list[Tensor] = []
    _leaves([args[place] for place in places if place < len(args)], found)
    for item in found:
        if isinstance(item, Far):
            item.written = _stamp()


def _copy(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is aten._to_copy.default:
        source, wanted = args[0], _is_far(kwargs)
        options = {key: item for key, item in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")}
        to = isinstance(source, Far) if wanted is None else wanted
        return _moved(source, func(_near(source), **options), to, bool(kwargs.get("non_blocking")))
    into, source = args[0], args[1]
    away, to = isinstance(source, Far), isinstance(into, Far)
    blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    _launch(func)
    if away and not to and not blocking:
        value = _near(source).to(into.dtype).clone()
        if into.is_floating_point():
            into.fill_(math.nan)
        streams.copy_late(into, value.expand_as(into))
        return into
    if away != to and (blocking or (to and not is_pinned(source))) and (source.ndim or away):
        wait("to device" if to else "to host", _near(source).nbytes)
    func(_near(into), _near(source))
    if to:
        into.written = _stamp()
    return into


def _moved(source: Tensor, value: Tensor, to: bool, non_blocking: bool) -> Tensor:
    away, own = isinstance(source, Far), value is not _near(source)
    if not away and not to:
        return value
    _launch(aten._to_copy.default)
    if to:
        if not away and not (non_blocking and is_pinned(source)):
            wait("to device", value.nbytes)
        return _wrapped(value if own else value.clone(), _stamp())
    if non_blocking:  # torch gives pinned memory then: nothing is there until somebody waited
        held = torch.full_like(value, math.nan) if value.is_floating_point() else torch.zeros_like(value)
        streams.copy_late(held, value)
        return held
    wait("to host", value.nbytes)
    return value if own else value.clone()


def _fallback(func: Any, *args: Any, **kwargs: Any) -> Any:
    with LOCK:
        return _run(func, args, kwargs)


_LIBRARY = library.Library("_", "IMPL")  # kept: it unregisters when it is collected
_LIBRARY.fallback(_fallback, "PrivateUse1")

# What torch does in C++ with Python kept out: a tensor from numbers is made on the CPU and moved, as CUDA does.
_tensor = torch.tensor


def _made(data: Any, *, device: Any = None, requires_grad: bool = False, pin_memory: bool = False, **kind: Any) -> Any:
    away = device is not None and torch.device(device).type == NAME
    data = pytree.tree_map(lambda item: item.item() if isinstance(item, Far) else item, data)
    made = _tensor(data, device="cpu" if away else device, **kind)
    return (made.to(DEVICE) if away else made).requires_grad_(requires_grad)


def _uploaded(index: Any) -> Any:
    if isinstance(index, list):
        return _tensor(index).to(DEVICE)
    return tuple(_uploaded(part) for part in index) if isinstance(index, tuple) else index


def patch_torch(patch: Callable[[Any, str, Any], None]) -> None:
    """Put the two functions in place, by a function like pytest's `setattr`."""
    patch(torch, "tensor", _made)
    patch(torch, "empty", unwritten)
