"""The painter of the classic renderer: keys, pictures that come late or not at all, files that are lost or spoilt."""

from __future__ import annotations

import pytest
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.painter.painter import CONNECT, HEIGHT, NAME, WIDTH, Painter
from PIL import Image

BLUE = PALETTE[0]
ROUNDED = 1  # the host's brush keeps its colour as hue, saturation and value
pytestmark = pytest.mark.parametrize("opened", ["classic"], indirect=True, scope="session")
# Whether the picture underneath is shown.
UNDER = "([panel, shown]) => panel.querySelector('.ss-paper img').hidden !== shown"
# Another picture is asked for, and comes when it is let go.
LATE = """
async () => {
  const decode = HTMLImageElement.prototype.decode;
  const wait = new Promise(done => (window.letGo = done));
  const asked = new Promise(done => {
    HTMLImageElement.prototype.decode = function () {
      if (this.src.includes('other.png')) done();
      return wait.then(() => decode.call(this));
    };
  });
  window.asIs = () => (HTMLImageElement.prototype.decode = decode);
  app.graph.nodes[0].widgets.find(widget => widget.name === 'image').value = 'other.png';
  app.canvas.setDirty(true, true);
  await asked;
}
"""
# A key that begins a command gives the painting its name; the picture comes before the next frame.
NAMED = """
panel => {
  panel.dispatchEvent(new KeyboardEvent('keydown', { key: 'Control', ctrlKey: true, bubbles: true }));
  window.asIs();
  window.letGo();
}
"""
# One finger draws a line; meanwhile another touches elsewhere and is lifted.
FINGERS = """
([canvas, wide, high]) => {
  const box = canvas.getBoundingClientRect();
  const touch = (kind, pointerId, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId, pointerType: 'touch', button: kind === 'pointermove' ? -1 : 0, bubbles: true,
    clientX: box.left + (x * box.width) / wide, clientY: box.top + (y * box.height) / high,
  }));
  touch('pointerdown', 7, 60, 60);
  touch('pointermove', 7, 120, 60);
  touch('pointerdown', 8, 60, 200);
  touch('pointermove', 8, 60, 200);
  touch('pointerup', 8, 60, 200);
  touch('pointermove', 7, 180, 60);
  touch('pointerup', 7, 180, 60);
}
"""
COME = "panel => panel.querySelector('.ss-paper img').src.includes('other.png')"


@pytest.fixture
def classic(painter: Painter, editor: Editor) -> Painter:
    """The painter, in the classic renderer."""
    assert editor.renderer == "classic"
    return painter


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


def test_a_second_finger_paints_nothing_and_does_not_end_the_stroke(classic, editor):
    """Oracle: the paint where the first finger was, before and after the second; none where the second was."""
    editor.page.evaluate(FINGERS, [classic.canvas, WIDTH, HEIGHT])
    editor.drawn()
    assert [classic.at(*place)[3] for place in ((60, 60), (120, 60), (180, 60), (60, 200))] == [255, 255, 255, 0]
    classic.press("undo")
    assert classic.at(60, 60)[3] == 0


def test_typing_in_a_row_and_going_on_by_tab_keeps_the_focus(classic, editor):
    """Oracle: what has the focus after Tab, when the rows were made anew: the next row's colour."""
    classic.panel.query_selector_all(".ss-thing input")[1].click()
    editor.page.keyboard.type("cup")
    editor.page.keyboard.press("Tab")
    editor.page.evaluate("() => app.canvas.setDirty(true, true)")
    editor.drawn()
    at = "panel => [...panel.querySelectorAll('.ss-thing')].findIndex(row => row.contains(document.activeElement))"
    assert editor.page.evaluate(at, classic.panel) == 1


def test_a_picture_that_comes_late_leaves_the_strokes_and_their_undo(classic, editor, photo):
    """Oracle: the paint of two strokes, and after two undos none; the second was named while a picture was loading."""
    classic.stroke((60, 60), (140, 60))
    classic.saved()
    given = editor.server.place.base / "input"
    (given / "other.png").write_bytes((given / photo).read_bytes())
    editor.page.evaluate(LATE)
    classic.stroke((60, 180), (140, 180))
    editor.page.evaluate(NAMED, classic.panel)
    editor.page.wait_for_function(COME, arg=classic.panel)
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
    assert eventually(lambda: "Run once to see the picture." in classic.panel.inner_text(), True)
    editor.run()
    editor.page.keyboard.press("Escape")
    classic.look((96, 64))
    assert "Run once" not in classic.panel.inner_text()
    assert classic.canvas.evaluate("canvas => [canvas.width, canvas.height]") == [96, 64]


def test_masks_from_sockets_leave_it_closed_until_it_is_asked_for(classic, editor):
    """Oracle: whether there is a place to paint, before and after a click; the choice is in the workflow."""
    editor.page.evaluate("() => { const [load, scene] = app.graph.nodes; load.connect(1, scene, 1); }")
    classic.look(closed=True)
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
    """Oracle: the files in the input folder, and the run of one that was deleted while the page showed its paint.

    The strokes are made by keys: those lead to the very same pixels, and a mouse may be a little beside them.
    """
    stage = classic.panel.query_selector(".ss-paint-stage")

    def dab(*keys: str) -> str:
        stage.focus()
        for key in (*keys, "Space"):
            editor.page.keyboard.press(key)
        return classic.saved()

    first = dab()
    second = dab(*["ArrowRight"] * 6)
    classic.press("clear")
    files = classic.files()
    assert dab(*["ArrowLeft"] * 6) == first != second
    assert classic.files() == files
    (editor.server.place.base / "input" / first.removesuffix(" [input]")).unlink()
    editor.run()
    assert classic.last_run()[0]["mask"] == first == classic.saved()


def test_that_a_painting_is_gone_is_said_however_often_the_node_is_looked_at(classic, editor):
    """Oracle: the sentence, after the workflow came with a spoilt file, and after its picture went and came again."""
    classic.spoil()
    for shown, change in ((True, None), (False, "() => app.graph.nodes[1].disconnectInput(0)"), (True, CONNECT)):
        if change:
            editor.page.evaluate(change)
        classic.look(closed=True)
        editor.page.wait_for_function(UNDER, arg=[classic.panel, shown])
        assert eventually(lambda: "If its file is gone, clear and paint again." in classic.panel.inner_text(), True)
    classic.press("clear")
    classic.look()
    assert "is gone" not in classic.panel.inner_text()


def test_a_painting_that_could_not_be_loaded_is_there_when_the_server_is(classic, editor):
    """Oracle: the sentence, until the connection is back and the file with it; then a pixel of the file."""
    name = "scenescope/painter-away.png"
    editor.page.evaluate(NAME, f"{name} [input]")
    editor.load(editor.page.evaluate("() => app.graph.serialize()"))
    classic.look(closed=True)
    assert eventually(lambda: "is gone" in classic.panel.inner_text(), True)
    assert all("404" in error for error in editor.errors)
    editor.errors.clear()
    file = editor.server.place.base / "input" / name
    file.parent.mkdir(exist_ok=True)
    Image.new("RGBA", (WIDTH, HEIGHT), (*BLUE, 255)).save(file)
    editor.page.evaluate("() => { app.api.dispatchCustomEvent('reconnected'); }")
    assert eventually(lambda: "is gone" in classic.panel.inner_text(), False)
    assert classic.at(9, 9) == [*BLUE, 255]
