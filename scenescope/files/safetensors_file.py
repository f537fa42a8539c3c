"""Safetensors files: written whole or not at all; read from strangers, every number checked before it is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

from ..errors import FileError
from .atomic import Where, write_whole

HEADER_LIMIT = 16 * 2**20
_DIMENSIONS = 8
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Container:
    """What a file holds.

    Args:
        tensors: by name.
        metadata: the header's own words.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the file's data."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def read_container(path: Path, expected: Mapping[str, str], who: str) -> Container:
    """Read a safetensors file of which nothing is believed.

    Source: the safetensors format: eight bytes of header length, a JSON header, the tensors' bytes without gaps.
    The file is never mapped and never unpickled. At most `HEADER_LIMIT` is read as a header, and no more than the
    file's own size is allocated for tensors.

    Args:
        path: the file.
        expected: metadata that it must hold, checked before any tensor is read.
        who: the beginning of an error message.

    Returns:
        Floating-point tensors of their own memory, and the metadata.

    Raises:
        FileError: the file is missing, no safetensors, damaged, hostile, or holds something else.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, data = _read_header(file, size, who)
            metadata = _read_metadata(header.pop("__metadata__", {}), expected, who)
            places = _read_places(header, size - data, who)
            tensors = {name: _read_tensor(file, data, place, who) for name, place in places.items()}
    except OSError as error:
        raise FileError(
            f"{who}: the file cannot be read ({error.strerror}); expected a readable one. Check it."
        ) from error
    return Container(tensors, metadata)


def write_container(tensors: Mapping[str, Tensor], where: Where, metadata: Mapping[str, str], who: str) -> Path:
    """Write a safetensors file, which is there whole or not at all.

    Tensors are written one after another, so that those of a device need no room on the CPU all at once.

    Args:
        tensors: by name, of the types that `read_container` takes.
        where: its place.
        metadata: the header's own words.
        who: the beginning of an error message.

    Returns:
        The file's path.

    Raises:
        FileError: it cannot be written; a file that was there is as it was.
    """
    return write_whole(lambda file: _write(tensors, metadata, file), where, who)


def _write(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], file: BinaryIO) -> None:
    """The format's bytes; wide types first, so that each tensor lies at a multiple of its type's size."""
    kinds = {dtype: kind for kind, dtype in _TYPES.items()}
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        shape = list(tensors[name].shape)
        header[name] = {"dtype": kinds[tensors[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        held = tensors[name].detach().cpu().contiguous()
        file.write(held.reshape(-1).view(torch.uint8).numpy())


def _read_header(file: BinaryIO, size: int, who: str) -> tuple[dict[str, Any], int]:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if start.startswith(_PICKLES) and length > HEADER_LIMIT:  # a header of 640 bytes begins like a pickle too
        raise FileError(
            f"{who}: the file is a pickle or a zip archive; expected safetensors. It was not opened, because pickles "
            "can run code. Save it again with SceneScope."
        )
    if len(start) < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
        _refuse(
            who, f"{size} bytes with a header of {length}", f"a header of 2 to {HEADER_LIMIT} bytes inside the file"
        )
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{who}: the header is not sound JSON ({type(error).__name__}); expected the header of a safetensors file. "
            "Save it again, or copy the file anew."
        ) from error
    if not isinstance(header, dict):
        _refuse(who, f"a header that is a {type(header).__name__}", "a JSON object")
    return header, 8 + length


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_metadata(metadata: Any, expected: Mapping[str, str], who: str) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(who, "metadata of another type", "texts by name")
    for name, value in expected.items():
        if metadata.get(name) != value:
            got = repr(metadata[name][:40]) if name in metadata else "not there"
            raise FileError(
                f"{who}: the file's {name} is {got}; expected {value!r}. Choose a file made by SceneScope, or update "
                "SceneScope if the file is newer than it."
            )
    return metadata


def _read_places(header: dict[str, Any], size: int, who: str) -> dict[str, _Place]:
    places = {name: _read_place(name, entry, who) for name, entry in header.items()}
    until = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != until:
            _refuse(who, f"tensor {name[:40]!r} at byte {place.begin}", f"byte {until}, right after the one before")
        until = place.end
    if until != size:
        _refuse(who, f"{size} bytes of tensors", f"{until} as the header says")
    return places


def _read_place(name: str, entry: Any, who: str) -> _Place:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse(who, f"an entry {name[:40]!r} of another form", "dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        _refuse(who, f"tensor {name[:40]!r} of type {str(dtype)[:20]!r}", f"one of {', '.join(_TYPES)}")
    if not (_is_shape(shape) and _are_sizes(offsets) and len(offsets) == 2):
        _refuse(
            who, f"tensor {name[:40]!r} of no possible shape or place", f"up to {_DIMENSIONS} sizes and two offsets"
        )
    begin, end = offsets
    if prod(shape) * _TYPES[dtype].itemsize != end - begin:
        _refuse(who, f"{end - begin} bytes for tensor {name[:40]!r}", f"the bytes of its shape {shape}")
    return _Place(_TYPES[dtype], tuple(shape), begin, end)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _is_shape(values: Any) -> bool:
    return _are_sizes(values) and 0 not in values and len(values) <= _DIMENSIONS


def _read_tensor(file: BinaryIO, data: int, place: _Place, who: str) -> Tensor:
    memory = bytearray(place.end - place.begin)
    file.seek(data + place.begin)
    if file.readinto(memory) != len(memory):  # type: ignore[attr-defined]
        _refuse(who, "a file that became shorter while it was read", "one that stays as it is")
    return torch.frombuffer(memory, dtype=place.dtype).reshape(place.shape)


def _refuse(who: str, got: str, wanted: str) -> NoReturn:
    raise FileError(
        f"{who}: the file holds {got}; expected {wanted}. It is damaged or no safetensors file: save or copy it anew."
    )
