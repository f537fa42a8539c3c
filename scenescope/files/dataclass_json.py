"""Between frozen dataclasses and JSON, by their annotations; what does not fit an annotation is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

_TYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
_ODD = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_LARGEST = 2**64  # seeds are below it


class MisfitError(ValueError):
    """A value does not fit its annotation; the message says where."""


def to_json(value: Any, keep: Callable[[Tensor], str]) -> Any:
    """Turn a value into what JSON can write.

    Args:
        value: a dataclass, named tuple, tuple, mapping, tensor, number, text or None.
        keep: stores a tensor and gives its name.

    >>> to_json((1, "a", {"b": 0.5}), keep=str)
    [1, 'a', [['b', 0.5]]]
    """
    if isinstance(value, Tensor):
        return keep(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value):
        return {_key(field): to_json(getattr(value, field.name), keep) for field in fields(value)}
    if isinstance(value, Mapping):
        return [[to_json(key, keep), to_json(item, keep)] for key, item in value.items()]
    if isinstance(value, tuple):
        return [to_json(item, keep) for item in value]
    return value


def from_json(kind: Any, value: Any, tensors: Mapping[str, Tensor], where: str = "recording") -> Any:
    """Build a value of a type from what JSON held.

    Args:
        kind: an annotation: dataclass, named tuple, tuple, Mapping, Literal, union, Tensor, torch.dtype, number, text.
        value: as JSON gave it.
        tensors: by name.
        where: for the message.

    Returns:
        A value that fits the annotation, mappings read-only.

    Raises:
        MisfitError: it does not fit.

    >>> from_json(tuple[int, ...], [1, 2], {})
    (1, 2)
    >>> from_json(tuple[int, ...], [1, "2"], {})
    Traceback (most recent call last):
    ...
    pack.scenescope.files.dataclass_json.MisfitError: recording[1] is a str instead of int
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _from_union(arguments, value, tensors, where)
    if origin is Literal:
        return value if isinstance(value, str) and value in arguments else _misfit(value, f"one of {arguments}", where)
    if origin is tuple:
        return _from_tuple(arguments, value, tensors, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _from_mapping(arguments, value, tensors, where)
    if kind is Tensor or kind is torch.dtype:
        known: Mapping[str, Any] = tensors if kind is Tensor else _TYPES
        return known[value] if isinstance(value, str) and value in known else _misfit(value, "a known name", where)
    if is_dataclass(kind):
        return _from_fields(kind, value, tensors, where)
    if issubclass(kind, tuple):
        return kind(*_from_tuple(tuple(_hints(kind).values()), value, tensors, where))
    return _from_simple(kind, value, where)


def _from_union(kinds: tuple[Any, ...], value: Any, tensors: Mapping[str, Tensor], where: str) -> Any:
    for kind in kinds:
        simple = {NoneType: NoneType, str: str, int: int, float: float}.get(kind)
        if simple is not None and type(value) is simple:
            return None if value is None else _from_simple(kind, value, where)
    rest = [kind for kind in kinds if kind not in (NoneType, str, int, float)]
    return from_json(rest[0], value, tensors, where) if rest else _misfit(value, " or ".join(map(str, kinds)), where)


def _from_tuple(kinds: tuple[Any, ...], value: Any, tensors: Mapping[str, Tensor], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _misfit(value, "a list", where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        _misfit(value, f"{len(kinds)} values", where)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(from_json(kind, item, tensors, f"{where}[{at}]") for at, (kind, item) in pairs)


def _from_mapping(kinds: tuple[Any, ...], value: Any, tensors: Mapping[str, Tensor], where: str) -> Mapping[Any, Any]:
    if not isinstance(value, list):
        _misfit(value, "a list of pairs", where)
    pairs = [_from_tuple(kinds, item, tensors, f"{where}[{at}]") for at, item in enumerate(value)]
    found = dict(pairs)
    return MappingProxyType(found) if len(found) == len(pairs) else _misfit(value, "every key once", where)


def _from_fields(kind: Any, value: Any, tensors: Mapping[str, Tensor], where: str) -> Any:
    hints, names = _hints(kind), {_key(field): field.name for field in fields(kind)}
    needed = {_key(field) for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    if not isinstance(value, dict) or not needed <= value.keys() <= names.keys():
        _misfit(value, f"the fields {', '.join(names)}", where)
    read = {names[key]: from_json(hints[names[key]], item, tensors, f"{where}.{key}") for key, item in value.items()}
    return kind(**read)


def _key(field: Field[Any]) -> str:
    """A field's name in a file: its own, or what earlier files call it."""
    return str(field.metadata.get("key", field.name))


def _from_simple(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str) and value in _ODD:
        return _ODD[value]
    if kind is float and type(value) is int and abs(value) < _LARGEST:
        return float(value)
    if kind not in (int, float, str, bool) or type(value) is not kind or (kind is int and abs(value) >= _LARGEST):
        _misfit(value, kind.__name__, where)
    return value


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    """The annotations of our own classes, resolved in their own modules."""
    return get_type_hints(kind)


def demand(holds: bool, where: str, wanted: str) -> None:
    """Refuse a value that fits its annotation and contradicts the rest.

    Raises:
        MisfitError: it does not hold.
    """
    if not holds:
        raise MisfitError(f"`{where}` contradicts the rest: it has to be {wanted}")


def _misfit(value: Any, wanted: str, where: str) -> Any:
    raise MisfitError(f"{where} is a {type(value).__name__} instead of {wanted}")
