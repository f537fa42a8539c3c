"""The per-block shape log: how a latent becomes feature maps, queries, keys and attention maps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ...dims import bytes_text
from ..record.block_shapes import BlockShape

JSON_FORMAT = 1


def shape_markdown(rows: Sequence[BlockShape], about: str = "") -> str:
    """Write the log as a Markdown table, a line for each block in forward order.

    Args:
        rows: the blocks.
        about: a line to put above the table: where the shapes come from.

    Returns:
        The text; blocks that the Break-a-Scene attention loss reads carry a dot.
    """
    titles = ["block", "place", "feature map in", "tokens", "heads x width", "cross q", "cross k, v", "cross map"]
    titles += ["cross bytes", "self q", "self k, v", "self map", "self bytes", "feature map out", "type", "loss"]
    lines = [titles, ["---"] * len(titles), *(_markdown_cells(row) for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    types = ", ".join(dict.fromkeys(row.dtype for row in rows))
    notes = (
        "Feature maps are (batch, channel, height, width); q, k, v (batch, position, head x channel); attention maps "
        f"(batch, head, query, key). Bytes are those of the whole map in {types or 'its type'}, were it built; fused "
        "kernels never build it. A dot marks the cross-attention that the Break-a-Scene attention loss reads."
    )
    return "\n\n".join(part for part in (about, table, notes) if part) + "\n"


def _markdown_cells(row: BlockShape) -> list[str]:
    cells = [row.block, row.place, _times(row.features_in), str(row.tokens or "")]
    cells.append(", ".join(dict.fromkeys(f"{layer.heads} x {layer.head_width}" for layer in row.attention)))
    for kind in ("cross", "self"):
        layer = row.layer(kind)
        if layer is None:
            cells += [""] * 4
        else:
            cells += [_times(layer.query), _times(layer.key), _times(layer.map), bytes_text(row.map_bytes(layer))]
    return [*cells, _times(row.features_out), row.dtype, "●" if row.read_by_loss else ""]


def shape_data(rows: Sequence[BlockShape]) -> dict[str, Any]:
    """The log as plain data with a format number; byte counts are exact.

    >>> shape_data(())["blocks"]
    []
    """
    axes = {
        "features": ["batch", "channel", "height", "width"],
        "query": ["batch", "query", "head*channel"],
        "key": ["batch", "key", "head*channel"],
        "map": ["batch", "head", "query", "key"],
    }
    log = {"what": "SceneScope block shapes", "format": JSON_FORMAT, "axes": axes}
    return {**log, "blocks": [_json(row) for row in rows]}


def shape_json(rows: Sequence[BlockShape]) -> str:
    """Write the log as JSON.

    >>> json.loads(shape_json(()))["format"]
    1
    """
    return json.dumps(shape_data(rows), indent=2)


def _json(row: BlockShape) -> dict[str, Any]:
    return {
        "order": row.order,
        "block": row.block,
        "place": row.place,
        "level": row.level,
        "features_in": row.features_in,
        "features_out": row.features_out,
        "dtype": row.dtype,
        "tokens": row.tokens,
        "read_by_attention_loss": row.read_by_loss,
        "attention": {
            layer.kind: {
                "heads": layer.heads,
                "head_width": layer.head_width,
                "query": layer.query,
                "key": layer.key,
                "value": layer.key,
                "map": layer.map,
                "map_bytes": row.map_bytes(layer),
            }
            for layer in row.attention
        },
    }


def shape_csv(rows: Sequence[BlockShape]) -> str:
    """Write the log as comma-separated values, a line for each attention layer, numbers bare, bytes exact.

    >>> shape_csv(()).split(",")[:3]
    ['order', 'block', 'place']
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    where = ["order", "block", "place", "level", "kind"]
    sizes = ["batch", "channel", "height", "width", "queries", "keys", "heads", "head_width", "map_bytes", "dtype"]
    leaving = ["out_batch", "out_channel", "out_height", "out_width"]
    table.writerow([*where, *sizes, *leaving, "read_by_attention_loss"])
    for row in rows:
        for layer in row.attention:
            read = int(row.read_by_loss and layer.kind == "cross")
            name = [row.order, row.block, row.place, row.level, layer.kind]
            numbers = [layer.query[1], layer.key[1], layer.heads, layer.head_width, row.map_bytes(layer)]
            table.writerow([*name, *row.features_in, *numbers, row.dtype, *row.features_out, read])
    return text.getvalue()


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)
