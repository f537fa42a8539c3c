"""The sockets: what ComfyUI shows, and nothing that computes.

Each module here defines `NODES`, the list of its node classes; `widgets` has the inputs that several of them share.
"""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import ComfyAPI, ComfyExtension, io

from ..host.editor.messages import name_errors_for_people
from ..host.editor.painting import serve_paintings
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


REPLACEMENTS: tuple[io.NodeReplace, ...] = ()
"""What became of nodes that were renamed or merged; a node id that a release had is never dropped without an entry."""


async def register(replacements: Sequence[io.NodeReplace]) -> None:
    """Tell the host, which replaces the old node with the new one when a workflow is opened (0.28.0 to 0.33.0)."""
    api = ComfyAPI()
    for replacement in replacements:
        await api.node_replacement.register(replacement)


class SceneScope(ComfyExtension):
    """The pack, as ComfyUI loads it."""

    async def on_load(self) -> None:
        """Say what became of nodes that were renamed, and let the painter ask for its files."""
        await register(REPLACEMENTS)
        serve_paintings()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node class of the pack."""
        name_errors_for_people()
        return NODES
