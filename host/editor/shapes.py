"""Data for the U in the editor: the shape log, and the maps that its blocks open."""

from __future__ import annotations

from typing import Any

from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.shapes.tables import shape_data
from ..shapes import PIXELS, ShapeLog
from .viewer import KEY as VIEW
from .viewer import viewer_ui

KEY = "scenescope_shapes"


def shapes_ui(log: ShapeLog, recording: Recording | None) -> dict[str, list[dict[str, Any]]]:
    """Return what Block Shapes' `ui` says: a few kilobytes, and the name of the viewer's file where a run was recorded.

    Args:
        log: the shapes.
        recording: the run that they come from, None where they come from a model.
    """
    view = viewer_ui(recording).get(VIEW, []) if recording is not None else []
    blocks = set() if recording is None else {i.address.order for i in recording.maps if i.address.kind == "cross"}
    shown = {
        "blocks": shape_data(log.rows)["blocks"],
        "latent": list(log.latent),
        "pixels": PIXELS,
        "patches": list(log.patches),
        "recorded": [row.block for row in log.rows if row.order in blocks],
        "view": view[0] if view else None,
    }
    return {KEY: [shown]}
