"""A safetensors file taken apart and put together again, to change what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A file's header and data."""
    until = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:until]), content[until:]


def joined(header: dict[str, Any], data: bytes) -> bytes:
    """A file again."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a description: a container and a key in it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)
