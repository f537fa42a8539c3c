"""Dataclasses with tensors as safetensors files, written completely or not at all, and trusted only after checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..errors import FileError
from .atomic import Where
from .dataclass_json import MisfitError, from_json, to_json
from .safetensors_file import ANY_SIZE, Bounds, open_container, write_container

Value = TypeVar("Value")


def write_value(value: Any, where: Where, kind: str, who: str) -> Path:
    """Write a dataclass to one file.

    Args:
        value: what `from_json` can build again; lists of tensors or texts may be long, not deep.
        where: its place.
        kind: what the file calls itself, with its format number, such as `scenescope-concepts 1`.
        who: the beginning of an error message.

    Returns:
        The file's path.

    Raises:
        FileError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {}

    def keep(tensor: Tensor) -> str:
        name = f"tensor_{len(tensors)}"
        tensors[name] = tensor
        return name

    text = json.dumps(to_json(value, keep), allow_nan=False, separators=(",", ":"))
    return write_container(tensors, where, {"format": kind, "value": text}, who)


def read_value(shape: type[Value], path: Path, kind: str, who: str, bounds: Bounds = ANY_SIZE) -> Value:
    """Read a dataclass; whatever the file holds, it gives a valid value or none. Tensors without a name are not read.

    Args:
        shape: the dataclass.
        path: a file that `write_value` wrote, perhaps.
        kind: what the file calls itself.
        who: the beginning of an error message.
        bounds: how far to read.

    Returns:
        The value, its tensors on the CPU. A value that its own class refuses is refused here too.

    Raises:
        FileError: the file is missing, damaged, hostile, foreign, or of another format.
    """
    with open_container(path, {"format": kind}, who, bounds) as container:
        if not all(dtype.is_floating_point for dtype in container.types.values()):
            raise FileError(f"{who}: {path.name} holds whole numbers where only floats belong. Write the file again.")
        try:
            return from_json(shape, json.loads(container.metadata.get("value", "null")), container.tensors, "value")
        except (ValueError, RecursionError) as error:
            reason = str(error)[:300] if isinstance(error, MisfitError) else f"{type(error).__name__}: {error}"[:300]
            raise FileError(
                f"{who}: what {path.name} says about its contents is wrong ({reason}). Write the file again."
            ) from error
