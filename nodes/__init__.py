"""The sockets: what ComfyUI shows, and nothing that computes.

Each module here defines `NODES`, the list of its node classes.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..nodes import (
    ask,
    concepts,
    demo,
    files,
    generate,
    heatmap,
    masks,
    record,
    region,
    scene,
    shapes,
    steer,
    text,
    train,
)

MODULES = (demo, record, shapes, text, heatmap, masks, ask, steer, region, files, scene, train, concepts, generate)
NODES: list[type[io.ComfyNode]] = [node for module in MODULES for node in module.NODES]


class SceneScope(ComfyExtension):
    """The pack, as ComfyUI loads it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node class of the pack."""
        return NODES
