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
from ...files.safetensors_file import HEADER_LIMIT, read_container, write_container
from ..record.recording import AttentionMap, Projection, Recording

FORMAT = "scenescope-maps"
VERSION = "1"
MAPS_SUFFIX = ".maps.safetensors"

_SIDE = 2**16
_TOKENS = 2**20


def save_recording(recording: Recording, where: Where) -> Path:
    """Write a recording to one safetensors file, which is there whole or not at all.

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
            f"Save Maps: the description of {len(recording.maps)} maps is {len(text)} bytes; expected at most "
            f"{HEADER_LIMIT // 2}. Record fewer steps or blocks."
        )
    metadata = {"format": FORMAT, "version": VERSION, "recording": text}
    return write_container(tensors.kept, where, metadata, "Save Maps")


def load_recording(path: Path) -> Recording:
    """Read a recording; whatever the file holds, it comes back equal or is refused.

    Args:
        path: a file that `save_recording` wrote, perhaps.

    Returns:
        The recording, on the CPU.

    Raises:
        FileError: the file is missing, damaged, hostile, foreign, or of a later format.
    """
    who = f"Load Maps: {path.name}"
    container = read_container(path, {"format": FORMAT, "version": VERSION}, who)
    return _read(container.metadata.get("recording", "null"), container.tensors, who)


def _read(text: str, tensors: Mapping[str, Tensor], who: str) -> Recording:
    try:
        recording: Recording = from_json(Recording, json.loads(text), tensors)
        _check(recording)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, MisfitError) else f"not sound JSON: {type(error).__name__}"
        raise FileError(
            f"{who}: the description of the maps is wrong: {reason}. Save the maps again, or copy the file anew."
        ) from error
    return recording


class _Tensors:
    """Tensors by name, each content once."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._storages: set[int] = set()

    def keep(self, tensor: Tensor) -> str:
        """Note a tensor and give its name."""
        tensor = tensor.detach().cpu().contiguous()
        content = hashlib.blake2b(tensor.reshape(-1).view(torch.uint8).numpy().data).digest()
        name = self._names.setdefault((content, tensor.dtype, tensor.shape), f"tensor_{len(self._names)}")
        if name not in self.kept:
            self.kept[name] = tensor.clone() if self._shares(tensor) else tensor
        return name

    def _shares(self, tensor: Tensor) -> bool:
        """Whether its memory holds more than itself; the writer refuses tensors that share memory."""
        storage = tensor.untyped_storage()
        first = storage.data_ptr() not in self._storages
        self._storages.add(storage.data_ptr())
        return not first or storage.nbytes() != tensor.numel() * tensor.element_size()


def _check(recording: Recording) -> None:
    """What annotations cannot say."""
    _demand(recording.images >= 1, "images", "at least 1")
    _demand(all(0 < side <= _SIDE for side in recording.latent), "latent", "a possible grid")
    _demand(recording.selection.budget >= 0 and recording.selection.self_times >= 1, "selection", "possible numbers")
    region = recording.selection.self_region
    _demand(region is None or region.is_floating_point(), "self_region", "floats")
    for entry in recording.entries:
        _demand(0 < entry.tokens <= _TOKENS, "entry.tokens", f"1 to {_TOKENS}")
        tokens = entry.table.tokens if entry.table is not None else ()
        _demand(all(token.column == at for at, token in enumerate(tokens)), "table", "columns in order")
    for layer in recording.layers:
        _demand(min(layer.heads, layer.head_width) >= 1 and 0 <= layer.level <= 16, "site", "possible numbers")
    for item in recording.maps:
        _check_map(item)
    for projection in recording.projections.values():
        _check_projection(projection)


def _check_map(item: AttentionMap) -> None:
    _demand(item.maps.ndim == 4 and item.maps.is_floating_point(), "maps", "image, head, query and key, floats")
    _demand(min(item.query_grid) > 0 and item.maps.shape[2] == item.query_grid.cells, "query_grid", "the map's queries")
    if item.key_grid is not None:
        _demand(min(item.key_grid) > 0 and item.maps.shape[3] == item.key_grid.cells, "key_grid", "the map's keys")
    _demand(item.heads >= 1 and item.maps.shape[1] in (1, item.heads), "heads", "the map's heads or 1")


def _check_projection(item: Projection) -> None:
    _demand(item.query.ndim == item.key.ndim == 3, "projection", "image, query or token, and channel")
    _demand(item.query.shape[2] == item.key.shape[2], "projection", "one width for query and key")
    _demand(item.heads >= 1 and item.query.shape[2] % item.heads == 0, "projection.heads", "a divisor of the width")
    _demand(min(item.query_grid) > 0 and item.query.shape[1] == item.query_grid.cells, "query_grid", "its queries")
    for values, scale in ((item.query, item.query_scale), (item.key, item.key_scale)):
        _demand((scale is not None) == (values.dtype == torch.int8), "projection", "a scale for int8 alone")
        fits = scale is None or (scale.is_floating_point() and scale.shape == (*values.shape[:2], 1))
        _demand(fits, "projection", "a scale a row")


def _demand(holds: bool, where: str, wanted: str) -> None:
    if not holds:
        raise MisfitError(f"{where} does not fit the rest; expected {wanted}")
