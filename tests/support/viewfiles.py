"""A reader of the viewer's files, written after the description of the format and nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np


def read(path: Path) -> tuple[dict[str, Any], dict[tuple[int, int, int, int, int], np.ndarray]]:
    """Read a file as its description says: the header; shares by entry, image, frame, block and column."""
    content = path.read_bytes()
    assert content[:4] == b"SSVF"
    version, length = struct.unpack("<II", content[4:12])
    assert (version, length % 4) == (1, 0)
    header = json.loads(content[12 : 12 + length])
    order = [
        ((entry, image, frame, block, column), described["blocks"][block]["grid"])
        for entry, described in enumerate(header["entries"])
        for image in range(header["images"])
        for frame in range(len(described["frames"]))
        for block in range(len(described["blocks"]))
        for column in range(len(described["columns"]))
    ]
    at = 12 + length
    tops = np.frombuffer(content, "<f4", len(order), at)
    at += 4 * len(order)
    planes = {}
    for top, (key, (height, width)) in zip(tops, order, strict=True):
        plane = np.frombuffer(content, np.uint8, height * width, at).reshape(height, width)
        planes[key] = plane * (top / np.float32(255))
        at += height * width
    assert at == len(content)
    return header, planes
