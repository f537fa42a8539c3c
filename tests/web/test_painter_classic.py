"""The painter of the classic renderer, in whichever the editor is: keys, pictures that come late or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.painter import HEIGHT, WIDTH, Painter

BLUE = PALETTE[0]
ROUNDED = 1  # the host's brush keeps its colour as hue, saturation and value
# The panel stands over the canvas, and no longer in the other renderer's node.
CLASSIC = "panel => panel.isConnected && !panel.closest('[data-node-id]') && !panel.classList.contains('ss-vue')"
# Another picture is asked for, and comes when it is let go.
LATE = """
async () => {
  const decode = HTMLImageElement.prototype.decode;
  const wait = new Promise(done => (window.letGo = done));
  HTMLImageElement.prototype.decode = function () { return wait.then(() => decode.call(this)); };
  window.asIs = () => (HTMLImageElement.prototype.decode = decode);
  app.graph.nodes[0].widgets.find(widget => widget.name === 'image').value = 'other.png';
  app.canvas.setDirty(true, true);
  await new Promise(done => setTimeout(done, 300));
}
"""
# A key that begins a command gives the painting its name; the picture comes before the next frame.
NAMED = """
async panel => {
  panel.dispatchEvent(new KeyboardEvent('keydown', { key: 'Control', ctrlKey: true, bubbles: true }));
  window.asIs();
  window.letGo();
  await new Promise(done => setTimeout(done, 600));
}
"""


@pytest.fixture
def classic(painter: Painter, editor: Editor) -> Iterator[Painter]:
    """The painter of the classic renderer, in whichever the editor is."""
    mine = editor.renderer
    switch = "vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)"
    editor.renderer = "classic"
    editor.page.evaluate(switch, False)
    editor.page.wait_for_timeout(800)
    editor.page.wait_for_function(CLASSIC, arg=painter.panel)
    painter.look()
    yield painter
    editor.page.mouse.move(5, 5)
    painter.saved()
    editor.renderer = mine
    editor.page.evaluate(switch, mine == "vue")
    editor.page.wait_for_timeout(800)


def test_everything_can_be_done_with_keys(classic, editor):
    """Oracle: what has the focus after each Tab, and the paint after Space, arrows, and Ctrl+Z."""
    classic.panel.query_selector("[data-tool=open]").focus()
    seen = []
    for _ in range(8):
        editor.page.keyboard.press("Tab")
        seen.append(
            editor.page.evaluate("() => document.activeElement.dataset.tool ?? document.activeElement.className")
        )
    assert seen[:3] == ["brush", "eraser", "fill"]
    assert seen[-3:] == ["opacity", "ss-paint-stage", "ss-swatch"]
    editor.page.keyboard.press("Shift+Tab")
    assert classic.at(WIDTH // 2, HEIGHT // 2)[3] == 0
    editor.page.keyboard.press("Space")
    assert classic.at(WIDTH // 2, HEIGHT // 2) == pytest.approx([*BLUE, 255], abs=ROUNDED)
    for _ in range(12):
        editor.page.keyboard.press("Shift+ArrowRight")
    assert classic.at(WIDTH // 2 + 50, HEIGHT // 2)[3] == 255
    for _ in range(13):
        editor.page.keyboard.press("Control+z")
    assert classic.at(WIDTH // 2, HEIGHT // 2)[3] == 0
    classic.panel.query_selector("[data-tool=fill]").focus()
    editor.page.keyboard.press("Enter")
    classic.panel.query_selector(".ss-paint-stage").focus()
    editor.page.keyboard.press("Space")
    assert [classic.at(x, y)[3] for x, y in ((0, 0), (WIDTH - 1, HEIGHT - 1))] == [255, 255]
    editor.page.keyboard.press("Control+z")
    assert classic.at(0, 0)[3] == 0
    unnamed = "panel => [...panel.querySelectorAll('button, input, .ss-paint-stage')].filter(e => !e.ariaLabel).length"
    assert editor.page.evaluate(unnamed, classic.panel) == 0


def test_a_picture_that_comes_late_leaves_the_strokes_and_their_undo(classic, editor, photo):
    """Oracle: the paint of two strokes, and after two undos none; the second was named while a picture was loading."""
    classic.stroke((60, 60), (140, 60))
    classic.saved()
    given = editor.server.place.base / "input"
    (given / "other.png").write_bytes((given / photo).read_bytes())
    editor.page.evaluate(LATE)
    classic.stroke((60, 180), (140, 180))
    editor.page.evaluate(NAMED, classic.panel)
    editor.drawn()
    assert classic.painted(100, 60, 180) == [True, True]
    for _ in range(2):
        classic.press("undo")
    assert classic.painted(100, 60, 180) == [False, False]


def test_without_a_picture_it_says_so_and_a_refused_run_brings_it(classic, editor):
    """Oracle: the sentence; then the size of a picture from a node that shows none."""
    editor.page.evaluate(
        """() => {
          const [load, scene] = app.graph.nodes;
          app.graph.remove(load);
          const empty = LiteGraph.createNode('EmptyImage');
          const set = (name, value) => (empty.widgets.find(widget => widget.name === name).value = value);
          set('width', 96);
          set('height', 64);
          app.graph.add(empty);
          empty.connect(0, scene, 0);
        }"""
    )
    classic.look()
    assert "Run once to see the picture." in classic.panel.inner_text()
    editor.run()
    editor.page.keyboard.press("Escape")
    classic.look()
    assert "Run once" not in classic.panel.inner_text()
    assert classic.canvas.evaluate("canvas => [canvas.width, canvas.height]") == [96, 64]


def test_masks_from_sockets_leave_it_closed_until_it_is_asked_for(classic, editor):
    """Oracle: whether there is a place to paint, before and after a click; the choice is in the workflow."""
    editor.page.evaluate("() => { const [load, scene] = app.graph.nodes; load.connect(1, scene, 1); }")
    classic.look()
    stage = classic.panel.query_selector(".ss-paint-stage")
    assert not stage.is_visible()
    classic.press("open")
    classic.look()
    assert stage.is_visible()
    workflow = editor.page.evaluate("() => app.graph.serialize()")
    editor.load(workflow)
    classic.look()
    assert classic.panel.query_selector(".ss-paint-stage").is_visible()


def test_equal_paintings_are_one_file_and_a_lost_one_is_sent_again(classic, editor):
    """Oracle: the files in the input folder, and the run of one that was deleted while the page showed its paint."""
    classic.look()  # the canvas has its place, so that equal points are equal pixels
    classic.stroke((60, 60))
    first = classic.saved()
    classic.stroke((60, 160))
    second = classic.saved()
    classic.press("clear")
    classic.look()
    classic.stroke((60, 60))
    assert classic.saved() == first != second
    (editor.server.place.base / "input" / first.removesuffix(" [input]")).unlink()
    editor.run()
    assert classic.last_run()[0]["mask"] == first == classic.saved()


def test_that_a_painting_is_gone_is_said_however_often_the_node_is_looked_at(classic, editor):
    """Oracle: the sentence, after the workflow came back with a spoilt file, and after two changes of its picture."""
    classic.stroke((60, 60), (140, 60))
    file = editor.server.place.base / "input" / classic.saved().removesuffix(" [input]")
    workflow = editor.page.evaluate("() => app.graph.serialize()")
    file.write_bytes(b"no picture")
    editor.load(workflow)
    for connected in (True, False, True):
        if not connected:
            editor.page.evaluate("() => app.graph.nodes[1].disconnectInput(0)")
        classic.look()
        assert eventually(lambda: "is gone. Clear, and paint again." in classic.panel.inner_text(), True)
    classic.press("clear")
    classic.look()
    assert "is gone" not in classic.panel.inner_text()
