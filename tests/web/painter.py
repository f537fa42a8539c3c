"""The painter of Build Scene, driven by mouse and keys as a person would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pack.tests.web.editor import Editor, eventually
from playwright.sync_api import ElementHandle

BUILD = "SceneScope_BuildScene"
WIDTH, HEIGHT = 320, 240  # of the picture
# A picture in Load Image and Build Scene behind it; `connect` says whether by a link.
GRAPH = """
async ([file, connect]) => {
  app.graph.clear();
  const load = LiteGraph.createNode('LoadImage');
  load.pos = [-300, 0];
  app.graph.add(load);
  const choice = load.widgets.find(widget => widget.name === 'image');
  choice.value = file;
  choice.callback?.(file);
  const scene = LiteGraph.createNode('SceneScope_BuildScene');
  scene.pos = [60, 0];
  scene.setSize([460, 860]);
  app.graph.add(scene);
  if (connect) load.connect(0, scene, 0);
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
CONNECT = "() => app.graph.nodes[0].connect(0, app.graph.nodes[1], 0)"
CONNECT_MASK = """
() => {
  const [load, scene] = app.graph.nodes;
  load.connect(1, scene, scene.inputs.findIndex(input => input.name === 'masks.mask0'));
}
"""
VALUE = "at => app.graph.nodes.filter(n => n.type === 'SceneScope_BuildScene').at(at).widgets"
VALUE += ".find(widget => widget.name === 'mask').value"
CANVAS = {
    "classic": "panel => panel.querySelector('.ss-paper canvas')",
    "vue": "panel => panel.closest('[data-node-id]').querySelector('[data-testid=painter-canvas]')",
}
# A painting is named 700 ms after its last stroke, by a timer that began before this one.
PAUSED = "() => new Promise(done => setTimeout(done, 800))"
# The node is taller than the window in the Vue renderer: what is under the picture comes into view.
UP = """
panel => {
  app.canvas.ds.offset[1] -= Math.max(0, panel.getBoundingClientRect().bottom + 10 - innerHeight);
  app.canvas.setDirty(true, true);
}
"""
PIXEL = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]"


class Painter:
    """A Build Scene that is painted on with the mouse, in pixels of its picture."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.page = editor, editor.page

    @property
    def panel(self) -> ElementHandle:
        """The pack's part of the painter."""
        return self.editor.panel(BUILD, "painter")

    @property
    def canvas(self) -> ElementHandle:
        """What is painted on; the last such node's."""
        found = self.page.evaluate_handle(CANVAS[self.editor.renderer], self.panel).as_element()
        assert found is not None, "there is nothing to paint on"
        return found

    def look(self) -> None:
        """Bring the painter into view."""
        self.editor.look_at(BUILD)
        self.page.wait_for_timeout(700)
        self.page.evaluate(UP, self.panel)
        self.editor.drawn()

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw through points with the mouse."""
        box = self.canvas.bounding_box()
        places = [(box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()
        self.page.wait_for_timeout(60)

    def take(self, thing: int) -> None:
        """Choose the colour of a thing."""
        self.panel.query_selector_all(".ss-swatch")[thing].click()
        self.page.wait_for_timeout(100)

    def at(self, x: int, y: int) -> list[int]:
        """The paint of a pixel, red green blue alpha."""
        return list(self.page.evaluate(f"([canvas, place]) => ({PIXEL})(canvas, place)", [self.canvas, [x, y]]))

    def painted(self, x: int, *ys: int) -> list[bool]:
        """Whether there is paint at places one above another."""
        return [self.at(x, y)[3] == 255 for y in ys]

    def value(self, node: int = -1) -> str:
        """What the node's widget says."""
        return str(self.page.evaluate(VALUE, node))

    def press(self, tool: str) -> None:
        """Click a button of the panel."""
        self.panel.query_selector(f"[data-tool={tool}]").click()
        self.page.wait_for_timeout(60)

    def erase(self) -> None:
        """Choose the eraser, which is the host's in the Vue renderer."""
        if self.editor.renderer == "classic":
            self.press("eraser")
        else:
            self.page.get_by_role("button", name="Eraser", exact=True).last.click()

    def files(self) -> list[Path]:
        """The painted files on the server."""
        folder = self.editor.server.place.base / "input" / "scenescope"
        return sorted(folder.glob("*.png")) if folder.is_dir() else []

    def saved(self) -> str:
        """Wait until what was painted has a name and is on the server under it; return what the widget says."""
        self.page.evaluate(PAUSED)
        value = self.value()
        file = self.editor.server.place.base / "input" / value.removesuffix(" [input]")
        assert eventually(file.exists, True), f"{value} was not saved"
        return value

    def last_run(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Build Scene's inputs in the last prompt, and the facts that it showed."""
        entry = list(self.editor.server.get_json("/history").values())[-1]
        (node,) = [node for node, given in entry["prompt"][2].items() if given["class_type"] == BUILD]
        return entry["prompt"][2][node]["inputs"], entry["outputs"][node]["scenescope_scene"][0]
