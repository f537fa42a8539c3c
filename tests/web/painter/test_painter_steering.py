"""Places painted in Steer Words: a colour for each line of words, with a picture under the paint or without one."""

from __future__ import annotations

import numpy as np
import pytest
from pack.devtools.comfyui import ROOT
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.painter.painter import CANVAS, HEIGHT, LOAD_IMAGE, PIXEL, SAVED, UP, WIDTH
from PIL import Image

STEER = "SceneScope_SteerWords"
GRAPH = (
    LOAD_IMAGE
    + """
  const steer = LiteGraph.createNode('SceneScope_SteerWords');
  steer.pos = [60, 0];
  steer.setSize([460, 900]);
  steer.showAdvanced = true;
  app.graph.add(steer);
  // Before that the host would forget it again for the words of an earlier node of the same number.
  steer.widgets.find(widget => widget.name === 'words').value = 'red circle\\nblue square';
  if (connect) load.connect(0, steer, steer.inputs.findIndex(input => input.name === 'picture'));
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
  const again = app.graph.nodes.find(node => node.type === steer.type);
  again.showAdvanced = true;
}
"""
)
WIDGET = (
    "name => app.graph.nodes.find(n => n.type === 'SceneScope_SteerWords').widgets.find(w => w.name === name).value"
)
# The picture under the paint, as the browser has loaded it: its address, its size, and that of the canvas over it.
UNDER = {
    "classic": """panel => {
      const [image, canvas] = ['img', 'canvas'].map(tag => panel.querySelector(`.ss-paper ${tag}`));
      return image.hidden ? null : [image.src, image.naturalWidth, image.naturalHeight, canvas.width, canvas.height];
    }""",
    "vue": """async panel => {
      const canvas = panel.closest('[data-node-id]').querySelector('[data-testid=painter-canvas]');
      const [, address] = /url\\("(.*?)"\\)/.exec(getComputedStyle(canvas.parentElement).backgroundImage) ?? [];
      if (!address) return null;
      const image = new Image();
      image.src = address;
      await image.decode();
      const box = canvas.getBoundingClientRect();
      return [address, image.naturalWidth, image.naturalHeight, canvas.width, canvas.height, box.width / box.height];
    }""",
}
DISCONNECT = """
() => {
  const steer = app.graph.nodes.find(node => node.type === 'SceneScope_SteerWords');
  steer.disconnectInput(steer.inputs.findIndex(input => input.name === 'picture'));
}
"""
# The server tells which picture a run was given.
RAN = """
filename => {
  const node = String(app.graph.nodes.find(node => node.type === 'SceneScope_SteerWords').id);
  app.api.dispatchCustomEvent('scenescope.picture', { node, picture: { filename, subfolder: '', type: 'input' } });
}
"""
LINK_WORDS = """
() => {
  const steer = app.graph.nodes.find(node => node.type === 'SceneScope_SteerWords');
  const given = LiteGraph.createNode('PrimitiveStringMultiline');
  given.pos = [-700, 0];
  app.graph.add(given);
  given.connect(0, steer, steer.inputs.findIndex(input => input.name === 'words'));
}
"""
FIRST, SECOND = [86, 180, 233, 255], [230, 159, 0, 255]  # the palette's first colours


class Steering:
    """A Steer Words that is painted on with the mouse, in shares of its sheet."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.page = editor, editor.page
        self.panel = editor.panel(STEER, "painter")

    def opened(self) -> Steering:
        """Show the place to paint, and bring it into view."""
        self.editor.look_at(STEER)
        if self.editor.renderer == "classic":
            self.panel.query_selector("[data-tool=open]").click()
        self.page.wait_for_function(f"panel => ({CANVAS[self.editor.renderer]})(panel)?.width", arg=self.panel)
        self.panel.dispatch_event("pointerenter")
        self.page.evaluate(UP, self.panel)
        self.editor.at_rest()
        return self

    @property
    def canvas(self):
        """What is painted on."""
        return self.page.evaluate_handle(CANVAS[self.editor.renderer], self.panel).as_element()

    def paint(self, line: int, *points: tuple[float, float]) -> None:
        """A stroke in a line's colour."""
        self.page.evaluate(UP, self.panel)
        self.panel.query_selector_all(".ss-swatch")[line].click()
        self.editor.at_rest()
        box = self.canvas.bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()
        self.editor.drawn()

    def at(self, x: float, y: float) -> list[int]:
        """The paint at a place."""
        width, height = self.page.evaluate("canvas => [canvas.width, canvas.height]", self.canvas)
        return list(
            self.page.evaluate(f"([c, at]) => ({PIXEL})(c, at)", [self.canvas, [int(x * width), int(y * height)]])
        )


def fields(steering: Steering) -> list[str]:
    """What stands beside the colours."""
    return [field.input_value() for field in steering.panel.query_selector_all(".ss-thing input")]


def test_each_line_is_painted_in_its_colour_and_the_file_has_both(editor: Editor, photo: str):
    """Oracle: the palette's colours at the places of the strokes, on the canvas and in the file that the widget names;
    without a picture the canvas is a square.
    """
    editor.away()
    editor.page.evaluate(GRAPH, [photo, False])
    steering = Steering(editor).opened()
    assert eventually(lambda: fields(steering)[:2], ["red circle", "blue square"])
    size = [512, 512]
    at_size = "([c, [w, h]]) => c.width === w && c.height === h"
    editor.page.wait_for_function(at_size, arg=[steering.canvas, size])
    steering.paint(0, (0.2, 0.3), (0.2, 0.7))
    assert eventually(lambda: steering.at(0.2, 0.5), FIRST)
    steering.paint(1, (0.8, 0.3), (0.8, 0.7))
    assert eventually(lambda: [steering.at(0.2, 0.5), steering.at(0.8, 0.5)], [FIRST, SECOND])
    name = f"painter_steering_{editor.renderer}.png"
    (ROOT / "artifacts" / "web").mkdir(parents=True, exist_ok=True)
    editor.page.screenshot(path=ROOT / "artifacts" / "web" / name)
    assert eventually(
        lambda: editor.page.evaluate(SAVED, [steering.canvas, editor.page.evaluate(WIDGET, "mask")]), True
    )
    value = editor.page.evaluate(WIDGET, "mask")
    assert value.startswith("scenescope/painter-")
    file = editor.server.place.base / "input" / value.removesuffix(" [input]")
    with Image.open(file) as saved:
        assert list(saved.size) == size
        pixels = np.asarray(saved.convert("RGBA"))
    rows, across = pixels.shape[:2]
    assert pixels[rows // 2, int(0.2 * across)].tolist() == FIRST
    assert pixels[rows // 2, int(0.5 * across), 3] == 0


def test_a_picture_that_is_connected_lies_under_the_paint_and_goes_with_its_link(editor: Editor, photo: str):
    """Oracle: the picture as the browser has loaded it under the canvas, which takes its size, and so does the file; a
    run that has told of the picture holds it no longer than its link.
    """
    editor.away()
    editor.page.evaluate(GRAPH, [photo, True])
    steering = Steering(editor).opened()
    under = f"panel => ({UNDER[editor.renderer]})(panel)"
    size = [WIDTH, HEIGHT]
    assert eventually(lambda: (editor.page.evaluate(under, steering.panel) or [])[1:5], size * 2)
    assert f"filename={photo}" in editor.page.evaluate(under, steering.panel)[0]
    box = steering.canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.02)
    steering.paint(0, (0.2, 0.3), (0.2, 0.7))
    assert eventually(lambda: steering.at(0.2, 0.5), FIRST)
    assert eventually(
        lambda: editor.page.evaluate(SAVED, [steering.canvas, editor.page.evaluate(WIDGET, "mask")]), True
    )
    value = editor.page.evaluate(WIDGET, "mask")
    with Image.open(editor.server.place.base / "input" / value.removesuffix(" [input]")) as saved:
        assert list(saved.size) == size
        assert saved.convert("RGBA").getpixel((int(0.2 * WIDTH), HEIGHT // 2)) == tuple(FIRST)
    editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"painter_steering_picture_{editor.renderer}.png")
    editor.page.evaluate(RAN, photo)
    editor.page.evaluate(DISCONNECT)
    assert eventually(lambda: photo in str(editor.page.evaluate(under, steering.panel)), False)


def test_lines_that_a_link_brings_are_not_taken_for_those_that_were_typed(editor: Editor, photo: str):
    """Oracle: by hand: as many rows as colours, in none of which anything is or can be typed; without the link, those
    that were typed.
    """
    editor.away()
    editor.page.evaluate(GRAPH, [photo, False])
    steering = Steering(editor).opened()
    editor.page.evaluate(LINK_WORDS)
    steering.panel.dispatch_event("pointerenter")
    assert eventually(lambda: fields(steering), [""] * len(PALETTE))
    assert not any(field.is_enabled() for field in steering.panel.query_selector_all(".ss-thing input"))
    editor.page.evaluate(DISCONNECT.replace("'picture'", "'words'"))
    steering.panel.dispatch_event("pointerenter")
    assert eventually(lambda: fields(steering), ["red circle", "blue square", ""])


def test_a_steer_words_that_is_not_painted_in_has_no_place_to_paint(editor: Editor, photo: str):
    """Oracle: nothing of the painter but its button, or in the other renderer the sentence that says where it is."""
    editor.away()
    editor.page.evaluate(GRAPH.replace("showAdvanced = true", "showAdvanced = false"), [photo, False])
    editor.look_at(STEER)
    panel = editor.panel(STEER, "painter")
    editor.drawn()
    assert [one for one in panel.query_selector_all(".ss-swatch") if one.is_visible()] == []
    shown = [one.inner_text() for one in panel.query_selector_all(".ss-open, .ss-status") if one.is_visible()]
    assert shown == (["Paint"] if editor.renderer == "classic" else ["To paint places, show the advanced inputs."])
