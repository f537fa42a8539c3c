"""A simulated GPU: tensors with real values that say they are on `simulated:0`, and behave as tensors on a GPU do.

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
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, library
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from . import streams
from .backend import NAME, Backend
from .counts import count_launch
from .operations import Operation, aten, operation
from .pinned import is_pinned, unwritten
from .streams import LOCK, current_stream, wait

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)
_NO_ARRAY = f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first."


class Far(Tensor):
    """A tensor on the simulated device; `near` holds its numbers, `written` says which stream wrote them and when."""

    near: Tensor
    written: tuple[int, int] | None = None

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
            device=DEVICE,
        )
        made.near = near
        return made

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
        wait("to host")
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
        known = operation(func)
        if known.composite:  # in inference mode composite operations come whole
            return func._op_dk(_COMPOSITE, *args, **(kwargs or {}))
        with LOCK:
            return _run(func, known, args, kwargs or {})


class _Kinds(dict[type, type | None]):
    """What an argument of a type is to the device: `Far`, `Tensor`, `list` of whatever has parts, or None."""

    def __missing__(self, kind: type) -> type | None:
        self[kind] = next((known for known in (Far, Tensor) if issubclass(kind, known)), None)
        if issubclass(kind, tuple | list):
            self[kind] = list
        return self[kind]


_KINDS = _Kinds()


def _numbers(item: Far) -> Tensor:
    """The numbers of a tensor."""
    return item.near


def _own(item: Tensor) -> Tensor:
    """The numbers of a tensor of either device."""
    return _numbers(item) if isinstance(item, Far) else item


def _near(values: Iterable[Any], far: list[Far], near: list[Tensor]) -> list[Any]:
    """Arguments with the numbers of each tensor in its place; the tensors of both devices are collected on the way."""
    parts: list[Any] = []
    for value in values:
        kind = _KINDS[type(value)]
        if kind is None:
            parts.append(value)
        elif kind is Far:
            far.append(value)
            parts.append(_numbers(value))
        elif kind is Tensor:
            near.append(value)
            parts.append(value)
        else:
            parts.append(type(value)(_near(value, far, near)))
    return parts


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


def _run(func: Any, known: Operation, args: Any, kwargs: dict[str, Any]) -> Any:
    far: list[Far] = []
    near: list[Tensor] = []
    args_near = _near(args, far, near)
    kwargs_near = dict(zip(kwargs, _near(kwargs.values(), far, near), strict=True)) if kwargs else {}
    if known.asks:
        return isinstance(args[0], Far) == isinstance(args[1], Far)
    here = current_stream()
    _check_order(func, far, here)
    if known.copies:
        return _copy(func, known, args, kwargs)
    if known.views is not None and far:
        return _view(func(*args_near, **kwargs_near), args[known.views])
    _check_places(func, known, args, far, near)
    if known.waits:
        wait(known.waits)
    wanted = _is_far(kwargs) if kwargs else None
    if wanted:
        kwargs_near["device"] = torch.device("cpu")
    kwargs_near.pop("pin_memory", None)
    out = _summed(func, args_near, kwargs_near) if known.sums else func(*args_near, **kwargs_near)
    if known.unwritten and out.is_floating_point():
        out.fill_(math.nan)
    if known.launches:
        _launch(known, here)
    if not (bool(far) if wanted is None else wanted):
        return out
    stamp = (here.number, here.tick) if known.launches else (far[0].written if far else None)
    if known.launches and known.written:
        _mark_written(known.written, args, stamp)
    if known.returns is not None and known.returns < len(args):
        return args[known.returns]
    if not (known.shares and far):
        return _wrapped(out, stamp)
    return return_and_correct_aliasing(func, args, kwargs, _sharing(out, far[0], stamp))


def _summed(func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What adds up halves, in single precision and rounded once."""
    if not any(isinstance(part, Tensor) and part.dtype == torch.float16 for part in args):
        return func(*args, **kwargs)
    out = func(*(part.float() if isinstance(part, Tensor) else part for part in args), **kwargs)
    return out.half() if isinstance(out, Tensor) else tuple(part if part is None else part.half() for part in out)


def _view(out: Any, whole: Far) -> Any:
    """Views of a tensor, which share its memory: as `return_and_correct_aliasing` does it, which looks more up."""
    made = _sharing(out, whole, whole.written)
    for part in made if isinstance(made, list | tuple) else (made,):
        torch._functionalize_unsafe_set(part, whole)
    return made


def _sharing(out: Any, whole: Far, stamp: tuple[int, int] | None) -> Any:
    """Results that share memory with a tensor: a view of an ordinary one is an ordinary one."""
    if whole.is_inference() or not torch.is_inference_mode_enabled():
        return _wrapped(out, stamp)
    with torch.inference_mode(False):
        return _wrapped(out, stamp)


def _check_order(func: Any, far: list[Far], now: streams.Stream) -> None:
    for item in far:
        if item.written is not None and item.written[0] != now.number and not now.may_read(*item.written):
            raise RuntimeError(
                f"{func}: a tensor that stream {item.written[0]} writes is read on stream {now.number}, which did not "
                "wait for it"
            )


def _check_places(func: Any, known: Operation, args: Any, far: list[Far], near: list[Tensor]) -> None:
    if known.indexes:
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                wait("nonzero")
            elif index is not None and not isinstance(index, Far) and isinstance(args[0], Far):
                wait("to device")
    elif near and far and (odd := [item for item in near if item.ndim or known.strict]):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
            f"({func}, CPU tensor of {tuple(odd[0].shape)})"
        )


def _launch(known: Operation, here: streams.Stream) -> None:
    here.launch()
    count_launch(known.name)


def _stamp() -> tuple[int, int]:
    return current_stream().number, current_stream().tick


def _mark_written(places: tuple[int, ...], args: Any, stamp: tuple[int, int] | None) -> None:
    found: list[Far] = []
    _near([args[place] for place in places if place < len(args)], found, [])
    for item in found:
        item.written = stamp


def _copy(func: Any, known: Operation, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is aten._to_copy.default:
        source, wanted = args[0], _is_far(kwargs)
        options = {key: item for key, item in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")}
        to = isinstance(source, Far) if wanted is None else wanted
        return _moved(known, source, func(_own(source), **options), to, bool(kwargs.get("non_blocking")))
    into, source = args[0], args[1]
    away, to = isinstance(source, Far), isinstance(into, Far)
    blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    _launch(known, current_stream())
    if away and not to and not blocking:
        value = _own(source).to(into.dtype).clone()
        if into.is_floating_point():
            into.fill_(math.nan)
        streams.copy_late(into, value.expand_as(into))
        return into
    if away != to and (blocking or (to and not is_pinned(source))) and (source.ndim or away):
        wait("to device" if to else "to host")
    func(_own(into), _own(source))
    if to:
        into.written = _stamp()
    return into


def _moved(known: Operation, source: Tensor, value: Tensor, to: bool, non_blocking: bool) -> Tensor:
    away, own = isinstance(source, Far), value is not _own(source)
    if not away and not to:
        return value
    _launch(known, current_stream())
    if to:
        if not away and not (non_blocking and is_pinned(source)):
            wait("to device")
        return _wrapped(value if own else value.clone(), _stamp())
    if non_blocking:  # torch gives pinned memory then: nothing is there until somebody waited
        held = torch.full_like(value, math.nan) if value.is_floating_point() else torch.zeros_like(value)
        streams.copy_late(held, value)
        return held
    wait("to host")
    return value if own else value.clone()


def _fallback(func: Any, *args: Any, **kwargs: Any) -> Any:
    with LOCK:
        return _run(func, operation(func), args, kwargs)


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
