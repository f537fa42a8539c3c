"""Recordings as files: safetensors with the maps, and everything that is needed to read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import FileError
from ...files.atomic import Where
from ...files.dataclass_json import MisfitError, from_json, to_json
from ...files.safetensors_file import ANY_SIZE, HEADER_LIMIT, Bounds, open_container, write_container
from ..record.recording import Recording
from .check import check_recording

FORMAT = "scenescope-maps"
VERSION = "1"
MAPS_SUFFIX = ".maps.safetensors"


def save_recording(recording: Recording, where: Where) -> Path:
    """Write a recording to one safetensors file, completely or not at all.

    Equal tensors, such as the keys of a prompt at every step, are written once.

    Args:
        recording: what to save.
        where: the file's place.

    Returns:
        Its path.

    Raises:
        FileError: it cannot be written.
    """
    tensors = _Tensors()
    plain = to_json(recording, tensors.keep)
    text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    _read(text, tensors.kept, "Save Maps")  # what is written can be read
    if 2 * len(text) > HEADER_LIMIT:
        raise FileError(
            f"Save Maps: the description of {len(recording.maps)} maps takes {len(text)} bytes, more than the "
            f"{HEADER_LIMIT // 2} that can be read again. Record fewer steps or blocks."
        )
    metadata = {"format": FORMAT, "version": VERSION, "recording": text}
    return write_container(tensors.kept, where, metadata, "Save Maps")


def load_recording(path: Path, bounds: Bounds = ANY_SIZE) -> Recording:
    """Read a recording; whatever the file holds, it is read back exactly or refused.

    Tensors that the description does not name are not read.

    Args:
        path: a file that `save_recording` wrote, perhaps.
        bounds: how far to read.

    Returns:
        The recording, on the CPU.

    Raises:
        FileError: the file is missing, damaged, hostile, foreign, of a later format, or larger than the bounds.
    """
    who = f"Load Maps: {path.name}"
    with open_container(path, {"format": FORMAT, "version": VERSION}, who, bounds) as container:
        return _read(container.metadata.get("recording", "null"), container.tensors, who)


def _read(text: str, tensors: Mapping[str, Tensor], who: str) -> Recording:
    try:
        recording: Recording = from_json(Recording, json.loads(text), tensors)
        check_recording(recording)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, MisfitError) else f"not valid JSON: {type(error).__name__}"
        raise FileError(
            f"{who}: what the file says about its maps is wrong ({reason}). Save the maps, or copy the file, again."
        ) from error
    return recording


class _Tensors:
    """Tensors by name, each content once."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}

    def keep(self, tensor: Tensor) -> str:
        """Note a tensor and give its name."""
        tensor = tensor.detach().cpu().contiguous()
        content = hashlib.blake2b(tensor.reshape(-1).view(torch.uint8).numpy().data).digest()
        name = self._names.setdefault((content, tensor.dtype, tensor.shape), f"tensor_{len(self._names)}")
        self.kept.setdefault(name, tensor)
        return name
