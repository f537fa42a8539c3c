"""Safetensors files: written completely or not at all; read from strangers, and only as far as needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..dims import bytes_text
from ..errors import FileError
from ..host_copies import PART_BYTES, to_host
from .atomic import Where, write_whole

HEADER_LIMIT = 16 * 2**20
_DIMENSIONS = 8
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Container:
    """What a file holds.

    Args:
        tensors: by name, of their own memory.
        metadata: the header's own words.
        types: of the tensors, known before they are read.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    types: Mapping[str, torch.dtype]


@dataclass(frozen=True)
class Bounds:
    """How far reading may go.

    Args:
        room: bytes that the file may have; None is no bound.
        between: called at each tensor; raise from it to stop.
    """

    room: int | None = None
    between: Callable[[], None] = lambda: None


ANY_SIZE = Bounds()


@contextmanager
def open_container(path: Path, expected: Mapping[str, str], who: str, bounds: Bounds = ANY_SIZE) -> Iterator[Container]:
    """Open a safetensors file of which nothing is believed.

    Nothing is unpickled, at most `HEADER_LIMIT` is read as a header, and a tensor is read when it is asked for.

    Args:
        path: the file.
        expected: metadata that it must hold.
        who: the beginning of an error message.
        bounds: how far to read.

    Raises:
        FileError: the file is missing, no safetensors, damaged, hostile, too large, or holds something else.
    """
    try:
        _check_beginning(path, who, bounds.room)
        with _mapped(path, who) as file:
            metadata = file.metadata() or {}
            _check_metadata(metadata, expected, who)
            tensors = _Tensors(file, bounds.between, who)
            yield Container(tensors, metadata, tensors.types)
    except OSError as error:
        raise FileError(
            f"{who}: the file can't be read ({error.strerror or error}). Check that it is there and that you may read "
            "it."
        ) from error
    except SafetensorError as error:
        _refuse(who, " ".join(str(error).split())[:160], "a valid header")


def read_container(path: Path, expected: Mapping[str, str], who: str) -> Container:
    """Read a whole file, as `open_container` does."""
    with open_container(path, expected, who) as found:
        return Container(dict(found.tensors), found.metadata, found.types)


def write_container(tensors: Mapping[str, Tensor], where: Where, metadata: Mapping[str, str], who: str) -> Path:
    """Write a safetensors file, completely or not at all.

    Tensors are written one after another, so that those of a device need no room on the CPU all at once.

    Args:
        tensors: by name, of the types that `read_container` takes.
        where: its place.
        metadata: the header's own words.
        who: the beginning of an error message.

    Returns:
        The file's path.

    Raises:
        FileError: it cannot be written, or not be read again; a file that was there is as it was.
    """
    if 2 * sum(map(len, metadata.values())) > HEADER_LIMIT:
        raise FileError(f"{who}: the description is too long to be read again. Save less in one file.")
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
    for group in _groups([tensors[name].detach() for name in names]):
        file.writelines(held.contiguous().reshape(-1).view(torch.uint8).numpy() for held in to_host(group))


def _groups(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors that are brought to the CPU together: each on its own would be waited for."""
    group: list[Tensor] = []
    held = 0
    for tensor in tensors:
        group.append(tensor)
        held += tensor.numel() * tensor.element_size()
        if held >= PART_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


class _Tensors(Mapping[str, Tensor]):
    """The tensors of an open file, each read once, when it is first asked for."""

    def __init__(self, file: Any, between: Callable[[], None], who: str) -> None:
        self._file, self._between, self._who = file, between, who
        self._read: dict[str, Tensor] = {}
        self.types: dict[str, torch.dtype] = {}
        for name in file.keys():  # noqa: SIM118
            self._note(name)

    def __getitem__(self, name: str) -> Tensor:
        self._between()
        if name not in self._read:
            self._read[name] = self._file.get_tensor(name).clone()  # a tensor of the file's own would be a map of it
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self.types

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)

    def _note(self, name: str) -> None:
        """Take note of a tensor whose type and shape are ones that we write."""
        part = self._file.get_slice(name)
        kind, shape = part.get_dtype(), part.get_shape()
        if kind not in _TYPES or 0 in shape or len(shape) > _DIMENSIONS:
            what = f"up to {_DIMENSIONS} sizes above 0 of {', '.join(_TYPES)}"
            _refuse(self._who, f"tensor {name[:40]!r} of type {kind} and {len(shape)} sizes", what)
        self.types[name] = _TYPES[kind]


def _mapped(path: Path, who: str) -> Any:
    try:
        return safe_open(path, "pt")
    except RuntimeError as error:  # the system's, where a file is larger than all its memory
        raise _too_large(path, who) from error


def _too_large(path: Path, who: str) -> FileError:
    return FileError(
        f"{who}: the file is {bytes_text(path.stat().st_size)} long, more than the free memory. Free some memory, or "
        "save less in one file."
    )


def _check_beginning(path: Path, who: str, room: int | None) -> None:
    """Refuse what the library would name less well: pickles, headers that are not there, and what has no room."""
    with path.open("rb") as file:
        start = file.read(8)
    size, length = path.stat().st_size, int.from_bytes(start, "little")
    if start.startswith(_PICKLES) and length > HEADER_LIMIT:  # a header of 640 bytes begins like a pickle too
        raise FileError(
            f"{who}: the file is a pickle or a zip archive, not safetensors. It was not opened, because pickles can "
            "run code. Save it again with SceneScope."
        )
    if len(start) < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
        wanted = f"a header of 2 to {HEADER_LIMIT} bytes inside the file"
        _refuse(who, f"{size} bytes with a header of {length}", wanted)
    if room is not None and size > room:
        raise _too_large(path, who)


def _check_metadata(metadata: Mapping[str, str], expected: Mapping[str, str], who: str) -> None:
    for name, value in expected.items():
        if metadata.get(name) != value:
            got = repr(metadata[name][:40]) if name in metadata else "not there"
            raise FileError(
                f"{who}: the file's {name} should be {value!r} but is {got}. Choose a file made by SceneScope, or "
                "update SceneScope if the file is newer than it."
            )


def _refuse(who: str, got: str, wanted: str) -> NoReturn:
    raise FileError(
        f"{who}: the file is damaged or not a safetensors file: it holds {got} where there should be {wanted}. Save or "
        "copy it again."
    )
