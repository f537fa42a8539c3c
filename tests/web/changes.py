"""What the editor does to a node that has a panel: the node that is there afterwards shows the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pack.tests.web.editor import Editor
from playwright.sync_api import ElementHandle

OTHER_RENDERER = "another renderer"
CHANGES = {
    "a copy": "canvas.selectItems([node]); canvas.copyToClipboard(); canvas.pasteFromClipboard();",
    "bypass": "node.mode = 4; canvas.setDirty(true, true);",
    "a subgraph": "canvas.setGraph(app.graph.convertToSubgraph(new Set([node])).subgraph);",
    "undo": "tracker.captureCanvasState(); app.graph.remove(node); tracker.captureCanvasState(); await tracker.undo();",
    "undo of a move": "tracker.captureCanvasState(); node.pos = [node.pos[0] + 40, node.pos[1]]; "
    "tracker.captureCanvasState(); await tracker.undo();",
    OTHER_RENDERER: "",
}
WITH = """
async type => {
  const canvas = app.canvas, tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
  const node = canvas.graph.nodes.filter(node => node.type === type).at(-1);
  CHANGE
}
"""


@contextmanager
def changed(editor: Editor, change: str, node_type: str, panel: str) -> Iterator[ElementHandle]:
    """The panel of the node that is there after a change; at the end the whole graph is open again."""
    if change == OTHER_RENDERER:
        other = {"classic": "vue", "vue": "classic"}[editor.renderer]
        for renderer in (other, editor.renderer):
            editor.render(renderer, node_type, panel)
    editor.page.evaluate(WITH.replace("CHANGE", CHANGES[change]), node_type)
    try:
        yield editor.placed(node_type, panel)
    finally:
        editor.page.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
