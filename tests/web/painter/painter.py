"""The painter of Build Scene, driven by mouse and keys as a person would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pack.tests.web.editor import Editor, eventually
from playwright.sync_api import ElementHandle

BUILD = "SceneScope_BuildScene"
WIDTH, HEIGHT = 320, 240  # of the picture
# Begins a script that builds a graph: a picture in Load Image; `connect` says whether what is behind it has a link.
LOAD_IMAGE = """
async ([file, connect]) => {
  app.graph.clear();
  const load = LiteGraph.createNode('LoadImage');
  load.pos = [-300, 0];
  app.graph.add(load);
  const choice = load.widgets.find(widget => widget.name === 'image');
  choice.value = file;
  choice.callback?.(file);
"""
GRAPH = (
    LOAD_IMAGE
    + """
  const scene = LiteGraph.createNode('SceneScope_BuildScene');
  scene.pos = [60, 0];
  scene.setSize([460, 860]);
  app.graph.add(scene);
  // The host gives a new node the values that an earlier graph's node of the same number had (1.49.6, registerWidget).
  for (const name of ['handles', 'words']) scene.widgets.find(widget => widget.name === name).value = '';
  if (connect) load.connect(0, scene, 0);
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
)
CONNECT = "() => app.graph.nodes[0].connect(0, app.graph.nodes[1], 0)"
CONNECT_MASK = """
() => {
  const [load, scene] = app.graph.nodes;
  load.connect(1, scene, scene.inputs.findIndex(input => input.name === 'masks.mask0'));
}
"""
VALUE = "at => app.graph.nodes.filter(n => n.type === 'SceneScope_BuildScene').at(at).widgets"
VALUE += ".find(widget => widget.name === 'mask').value"
NAME = "value => (app.graph.nodes[1].widgets.find(widget => widget.name === 'mask').value = value)"
CANVAS = {
    "classic": "panel => panel.querySelector('.ss-paper canvas')",
    "vue": "panel => panel.closest('[data-node-id]')?.querySelector('[data-testid=painter-canvas]') ?? null",
}
FROM_FILE = """
() => app.graph.nodes.filter(node => node.type === 'SceneScope_BuildScene').at(-1).getInputNode(0)?.type === 'LoadImage'
"""
# The picture that is painted on has come, and its place is on the screen.
SIZED = """
([canvas, [width, height]]) =>
  canvas.isConnected && canvas.checkVisibility() && canvas.width === width && canvas.height === height
"""
# What the widget says, and whether the server has a file of that name with what the canvas shows; nothing painted has
# none.
SAVED = """
async ([canvas, value]) => {
  const pixels = one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
  const painted = pixels(canvas);
  if (!value) return painted.every(part => part === 0);
  const name = value.replace(/ \\[\\w+\\]$/, '');
  const asked = await fetch(`/scenescope/painting?${new URLSearchParams({ name: value })}`);
  if (!(await asked.json()).there) return false;
  const [subfolder, filename] = name.split('/');
  const query = new URLSearchParams({ filename, subfolder, type: 'input' });
  const file = await fetch(`/view?${query}`, { cache: 'no-store' });
  const picture = await createImageBitmap(await file.blob()).catch(() => null); // null: not all of it is written
  if (!picture || picture.width !== canvas.width || picture.height !== canvas.height) return false;
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [picture.width, picture.height];
  copy.getContext('2d').drawImage(picture, 0, 0);
  return pixels(copy).every((part, at) => part === painted[at]);
}
"""
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

    def look(self, size: tuple[int, int] | None = None, *, closed: bool = False) -> None:
        """Bring the painter into view, with the picture that it is given; its size, unless it is the one of a file."""
        self.editor.look_at(BUILD)
        picture = size or ((WIDTH, HEIGHT) if self.page.evaluate(FROM_FILE) else None)
        if picture and not closed:
            assert eventually(lambda: self._sized(picture), True), f"there is no picture of {picture} to paint on"
        self.editor.at_rest()
        self.page.evaluate(UP, self.panel)
        self.editor.at_rest()

    def _sized(self, picture: tuple[int, int]) -> bool:
        """Whether there is a place of a size to paint on."""
        canvas = self.page.evaluate_handle(CANVAS[self.editor.renderer], self.panel).as_element()
        return canvas is not None and bool(self.page.evaluate(SIZED, [canvas, picture]))

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw through points with the mouse."""
        box = self.canvas.bounding_box()
        places = [(box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()
        self.editor.drawn()

    def take(self, thing: int) -> None:
        """Choose the colour of a thing."""
        self.panel.query_selector_all(".ss-swatch")[thing].click()
        for _ in range(2):  # the host's brush comes first, where the eraser was chosen, and then its colour
            self.editor.drawn()

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
        self.editor.drawn()

    def erase(self) -> None:
        """Choose the eraser, which is the host's in the Vue renderer."""
        if self.editor.renderer == "classic":
            self.press("eraser")
        else:
            self.page.get_by_role("button", name="Eraser", exact=True).last.click()
            self.editor.drawn()

    def files(self) -> list[Path]:
        """The painted files on the server."""
        folder = self.editor.server.place.base / "input" / "scenescope"
        return sorted(folder.glob("*.png")) if folder.is_dir() else []

    def spoil(self) -> str:
        """Open a workflow with a painting whose file is no picture, and return its name."""
        name = "scenescope/painter-spoilt.png [input]"
        file = self.editor.server.place.base / "input" / name.removesuffix(" [input]")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"no picture")
        self.page.evaluate(NAME, name)
        self.editor.load(self.page.evaluate("() => app.graph.serialize()"))
        return name

    def saved(self) -> str:
        """Wait until what is painted is on the server under the name that the widget says, and return that."""
        assert eventually(self._is_saved, True), f"what is painted is not on the server as {self.value()}"
        return self.value()

    def _is_saved(self) -> bool:
        """Whether the server has what is painted, by the name that the widget says."""
        return bool(self.page.evaluate(SAVED, [self.canvas, self.value()]))

    def last_run(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Build Scene's inputs in the last prompt, and the facts that it showed."""
        entry = list(self.editor.server.get_json("/history").values())[-1]
        (node,) = [node for node, given in entry["prompt"][2].items() if given["class_type"] == BUILD]
        return entry["prompt"][2][node]["inputs"], entry["outputs"][node]["scenescope_scene"][0]
