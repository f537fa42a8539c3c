"""A real editor in a real browser, driven by what a person can do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pack.devtools.comfyui import ROOT
from pack.devtools.server import Server
from playwright.sync_api import ConsoleMessage, ElementHandle, Page

READY = "() => window.app?.graph && window.app.extensionManager?.setting && document.querySelector('canvas')"
# The element of a panel, by the type of its node and the panel's name; the last such node of the graph that is open.
PANEL = """
([type, name]) => app.canvas.graph.nodes.filter(node => node.type === type).at(-1)
  ?.widgets?.find(widget => widget.name === `scenescope_${name}`)?.element ?? null
"""
LOOK = """
type => {
  const node = app.canvas.graph.nodes.filter(node => node.type === type).at(-1), view = app.canvas.ds;
  view.scale = 1;
  view.offset[0] = 120 - node.pos[0];
  view.offset[1] = 140 - node.pos[1];
  app.canvas.setDirty(true, true);
}
"""


class Editor:
    """A page with the editor in it."""

    def __init__(self, page: Page, server: Server, renderer: str) -> None:
        self.page, self.server, self.renderer = page, server, renderer
        self.errors: list[str] = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))
        page.on("console", self._note)

    def open(self) -> None:
        """Go to the editor, or load it anew."""
        self.page.goto(self.server.address)
        self.wait()
        self.page.keyboard.press("Escape")

    def wait(self) -> None:
        """Until the editor has started."""
        self.page.wait_for_function(READY)
        self.page.wait_for_timeout(1500)

    def load(self, workflow: dict[str, Any] | Path | str) -> None:
        """Open a workflow: as a dictionary, a file, or the name of an example."""
        if isinstance(workflow, str):
            workflow = ROOT / "example_workflows" / f"{workflow}.json"
        if isinstance(workflow, Path):
            workflow = json.loads(workflow.read_text("utf-8"))
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_timeout(800)

    def run(self, within: float = 300.0) -> None:
        """Queue the workflow and wait until the server is idle."""
        self.page.evaluate("() => app.queuePrompt(0)")
        self.idle(within)

    def idle(self, within: float = 300.0) -> None:
        """Wait until the server is idle."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            queue = self.server.get_json("/queue")
            if not queue["queue_running"] and not queue["queue_pending"]:
                self.page.wait_for_timeout(500)
                return
            self.page.wait_for_timeout(200)
        raise TimeoutError(f"The workflow still runs after {within:.0f} s; expected it to be done.")

    def look_at(self, node_type: str) -> None:
        """Bring a node into view, at full size."""
        self.page.evaluate(LOOK, node_type)
        self.page.wait_for_timeout(400)

    def panel(self, node_type: str, name: str) -> ElementHandle:
        """The element of a node's panel."""
        found = self.page.evaluate_handle(PANEL, [node_type, name]).as_element()
        assert found is not None, f"no {node_type} with a panel {name} is in the graph"
        return found

    def has_panel(self, node_type: str, name: str) -> bool:
        """Whether there is such a node with such a panel."""
        return self.page.evaluate_handle(PANEL, [node_type, name]).as_element() is not None

    def _note(self, message: ConsoleMessage) -> None:
        """Keep the errors that are ours."""
        where = f"{message.location.get('url', '')} {message.text}"
        if message.type == "error" and "scenescope" in where.lower():
            self.errors.append(where)
