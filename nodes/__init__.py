"""The sockets: what ComfyUI shows, and nothing that computes.

Each module here defines `NODES`, the list of its node classes.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..host.editor.messages import name_errors_for_people
from ..host.entrance import guard
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
    replay,
    scene,
    shapes,
    steer,
    text,
    train,
)

LOOKING = (record, shapes, text, heatmap, masks, ask, files)
ACTING = (steer, replay, region)
MODULES = (demo, *LOOKING, *ACTING, scene, train, concepts, generate)
NODES: list[type[io.ComfyNode]] = [guard(node) for module in MODULES for node in module.NODES]


class SceneScope(ComfyExtension):
    """The pack, as ComfyUI loads it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node class of the pack."""
        name_errors_for_people()
        return NODES
