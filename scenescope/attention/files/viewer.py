"""A recording as one small file for the viewer: a byte for each share, fetched once, read by `web/js/viewer/file.js`.

The file, version 1; all numbers little-endian:

| bytes | what |
|---|---|
| 4 | `SSVF` |
| 4 | uint32, the version |
| 4 | uint32, length of the header, a multiple of 4 |
| header | JSON in UTF-8, padded with spaces |
| 4 x planes | float32, the share that the byte 255 of each plane stands for; not a number where nothing was recorded |
| data | uint8, the planes one after the other |

A plane is the map of one column on one grid. Planes are ordered by entry, image, frame, block, column. An entry's
frames are pairs (step, head), -1 for the mean; the first is the mean of all recorded steps. Everything that the order
depends on stands in the header's `entries`. A block has one grid in the file; maps of its `others`, made while a patch
had changed the size of the features, were resampled to it. The first positive prompt also has `verdicts` on its words,
a list for each picture; the run's `about` has what strengths did under `shares`, as JSON in a string.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...dims import Grid
from ...errors import RecordingError
from ...files.atomic import write_whole
from ...resample import resize
from ..doctor.marks import marks_of
from ..record.recording import AttentionMap, Recording
from .viewer_plan import MEAN, EntryPlan, plan_view

MAGIC = b"SSVF"
VERSION = 1
LIMIT = 48_000_000  # bytes: what a browser fetches and keeps without a pause


@dataclass(frozen=True)
class ViewFile:
    """What was written.

    Args:
        size: bytes of the file.
        left_out: what the file does not hold, as `{"what": "steps", "kept": 25, "of": 50}`.
    """

    size: int
    left_out: tuple[dict[str, Any], ...]


def write_view(recording: Recording, path: Path, *, limit: int = LIMIT) -> ViewFile:
    """Write the cross-attention of a recording for the viewer, in one file, written completely or not at all.

    Each map is divided by its own largest share and kept in 8 bits, so an error is at most 1/510 of that share. Grids
    of more than 32x32 cells are halved, heads are averaged, padding columns are one; `viewer_plan` says what else is
    left out if the file would be larger than the limit.

    Args:
        recording: what a run left.
        path: the file; an existing one is replaced.
        limit: bytes that the planes may take.

    Returns:
        Its size, and what was left out.

    Raises:
        RecordingError: no cross-attention was recorded.
        FileError: it cannot be written.
    """
    if not any(item.address.kind == "cross" for item in recording.maps):
        raise RecordingError(
            "Attention viewer: this recording has no cross-attention. Let Record Attention record cross-attention, "
            "and sample again."
        )
    plan = plan_view(recording, limit)
    tops, planes = [], []
    for entry in plan.entries:
        for image in range(plan.images):
            top, data = _section(recording, entry, image)
            tops.append(top)
            planes.append(data)
    header = json.dumps(_header(recording, plan.entries, plan.images, plan.left_out), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 4)
    beginning = MAGIC + struct.pack("<II", VERSION, len(header)) + header
    parts: list[bytes | np.ndarray] = [beginning, *tops, *planes]
    write_whole(lambda file: file.writelines(parts), path, "Attention viewer")
    return ViewFile(path.stat().st_size, plan.left_out)


def _header(recording: Recording, entries: Sequence[EntryPlan], images: int, left_out: Sequence[Any]) -> dict[str, Any]:
    return {
        "latent": list(recording.latent),
        "images": images,
        "steps": recording.steps,
        "sigmas": [round(float(value), 5) for value in recording.sigmas],
        "about": {name: str(value) for name, value in recording.about.items()},  # JavaScript can't hold a seed
        "left_out": list(left_out),
        "entries": [_entry_header(plan) | _verdicts(recording, plan, images) for plan in entries],
    }


def _verdicts(recording: Recording, plan: EntryPlan, images: int) -> dict[str, Any]:
    found = marks_of(recording, plan.entry, images)
    return {"verdicts": found} if found else {}


def _entry_header(plan: EntryPlan) -> dict[str, Any]:
    entry = plan.entry
    return {
        "branch": entry.branch,
        "index": entry.index,
        "area": entry.area,
        "keys": plan.keys,
        "prompt": entry.table.prompt if entry.table else None,
        "columns": [asdict(column) for column in plan.columns],
        "blocks": [
            {"name": b.layer.block, "place": b.layer.place, "level": b.layer.level, "heads": b.layer.heads,
             "grid": list(b.grid), "recorded": list(b.recorded), "others": [list(grid) for grid in b.others]}
            for b in plan.blocks
        ],
        "frames": [list(frame) for frame in plan.frames],
    }  # fmt: skip


def _section(recording: Recording, plan: EntryPlan, image: int) -> tuple[np.ndarray, np.ndarray]:
    """The planes of one entry and picture: (plane) float32 tops, (byte) uint8."""
    columns = len(plan.columns)
    tops = np.full((len(plan.frames), len(plan.blocks), columns), np.nan, np.float32)
    data = np.zeros((len(plan.frames), plan.cells * columns), np.uint8)
    frame_at = {frame: index for index, frame in enumerate(plan.frames)}
    where = {b.layer.block: index for index, b in enumerate(plan.blocks)}
    groups: dict[tuple[int, int], list[AttentionMap]] = {}
    for item in recording.maps:
        at = item.address
        if at.kind == "cross" and (at.branch, at.entry) == (plan.entry.branch, plan.entry.index):
            groups.setdefault((at.step, where[at.block]), []).append(item)
    sums: dict[tuple[int, int], tuple[Tensor, int]] = {}  # (head, block) -> the sum of its steps, and their number
    for (step, block), items in sorted(groups.items(), key=lambda group: group[0]):
        for head, planes in _heads(items, plan, block, image):
            total, count = sums.get((head, block), (None, 0))
            sums[head, block] = (planes.clone() if total is None else total.add_(planes), count + 1)
            if (frame := frame_at.get((step, head))) is not None:
                _put(tops, data, plan, (frame, block), planes)
    for (head, block), (total, count) in sums.items():
        if (frame := frame_at.get((MEAN, head))) is not None:
            _put(tops, data, plan, (frame, block), total / count)
    return tops, data


def _heads(items: Sequence[AttentionMap], plan: EntryPlan, block: int, image: int) -> list[tuple[int, Tensor]]:
    """The planes of a block at a step, evaluations averaged: head (-1 for their mean) and (column cell) float32."""
    parts = [_heads_of(item, plan, block, image) for item in items]
    if len(parts) == 1:
        return list(parts[0].items())
    return [(head, torch.stack([part[head] for part in parts]).mean(dim=0)) for head in parts[0]]


def _heads_of(item: AttentionMap, plan: EntryPlan, block: int, image: int) -> dict[int, Tensor]:
    maps = item.maps[image]  # (head query token)
    wanted = [head for head in range(len(maps)) if plan.has_head(head) and len(maps) > 1]
    mean = maps[0] if len(maps) == 1 else maps.float().mean(dim=0)
    parts = {MEAN: mean} | {head: maps[head] for head in wanted}
    return {head: _planes(part, item.query_grid, plan, block) for head, part in parts.items()}


def _planes(maps: Tensor, own: Grid, plan: EntryPlan, block: int) -> Tensor:
    """One map (query token) of a grid on the stored grid, columns merged: (column cell) float32."""
    grid = plan.blocks[block].grid
    tokens = maps.shape[-1]
    cells = maps.float()
    if (grid.height * 2, grid.width * 2) == own:  # the usual case, added where the numbers lie: ten times as fast
        pairs = cells.reshape(grid.height, 2, grid.width, 2, tokens)
        rows = pairs[:, 0] + pairs[:, 1]
        cells, own = (rows[:, :, 0] + rows[:, :, 1]).mul_(0.25).reshape(-1, tokens), grid
    cells = cells.mT.contiguous()  # (token cell)
    if own != grid:
        cells = resize(cells.reshape(tokens, *own), grid).reshape(tokens, -1)
    planes = cells[[column.columns[0] for column in plan.columns]]
    for at, column in enumerate(plan.columns):
        if len(column.columns) > 1:
            planes[at] = cells[list(column.columns)].mean(dim=0)
    return planes


def _put(tops: np.ndarray, data: np.ndarray, plan: EntryPlan, at: tuple[int, int], planes: Tensor) -> None:
    frame, block = at
    top = planes.amax(dim=1)  # (column)
    quantised = (planes * (255 / top.clamp(min=1e-30))[:, None]).add_(0.5).to(torch.uint8)  # which cuts off: rounded
    start = plan.starts[block] * len(plan.columns)
    tops[frame, block] = top.numpy()
    data[frame, start : start + quantised.numel()] = quantised.reshape(-1).numpy()
