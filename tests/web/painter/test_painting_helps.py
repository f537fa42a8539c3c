"""What Build Scene offers beside brush and eraser: filling, hints, and names that are shown once."""

from __future__ import annotations

import pytest
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.web.editor import BUILDING, Editor, eventually
from pack.tests.web.painter.painter import BUILD, GRAPH, Painter

BLUE, ORANGE = PALETTE[:2]
ROUNDED = 1  # the host's brush keeps its colour as hue, saturation and value
RING = [(60, 60), (160, 60), (160, 160), (60, 160), (60, 60), (70, 60)]
INSIDE, OUTSIDE = (110, 110), (250, 200)
HINT = {
    "classic": "panel => panel.querySelector('.ss-status').innerText",
    "vue": """panel => getComputedStyle(panel.closest('[data-node-id]')
      .querySelector('[data-testid=painter-canvas-container]'), '::after').content.replace(/^"|"$|^none$/g, '')""",
}
ROWS = "panel => [...panel.querySelectorAll('.ss-thing')].map(row => [...row.querySelectorAll('input')])"
NAMES = f"panel => ({ROWS})(panel).map(inputs => inputs.map(input => input.value))"
LOCKED = f"panel => ({ROWS})(panel)[0].map(input => input.disabled)"
# The texts that the host itself shows as boxes on the node.
BOXES = {
    "classic": """() => app.graph.nodes.find(node => node.type === 'SceneScope_BuildScene').widgets
      .filter(widget => widget.node?.isWidgetVisible(widget) && widget.element?.tagName === 'TEXTAREA')
      .map(widget => widget.name)""",
    "vue": """() => [...document.querySelectorAll('[data-node-id] [data-testid=node-widget] textarea')]
      .map(box => box.ariaLabel ?? box.placeholder)""",
}
# Demo Scene's words, linked.
DEMO = (
    "async () => {"
    + BUILDING
    + """
  const [scene, build] = [add('DemoScene', -400), add('BuildScene', 60)];
  for (const name of ['width', 'height']) put(scene, name, 128);
  put(scene, 'things', '2');
  put(build, 'resolution', 128);
  const at = (slots, name) => slots.findIndex(slot => slot.name === name);
  for (const [from, to] of [['IMAGE', 'image'], ['MASKS', 'masks.mask0'], ['WORDS', 'words']])
    scene.connect(at(scene.outputs, from), build, at(build.inputs, to));
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
)


def press_brush(editor: Editor, painter: Painter) -> None:
    """Take the brush, which is the host's in the Vue renderer."""
    if editor.renderer == "classic":
        painter.press("brush")
    else:
        editor.page.get_by_role("button", name="Brush", exact=True).last.click()
        editor.drawn()


def kinds(painter: Painter) -> list[tuple[str, int]]:
    """What the last run doubted, and of which thing."""
    return [(warning["kind"], warning["concept"]) for warning in painter.last_run()[1]["warnings"]]


def test_fill_paints_what_is_closed_and_undo_takes_it_back(painter, editor):
    """Oracle: the paint inside and outside of a ring, and on its edge, by hand; the brush paints again afterwards."""
    painter.take(0)
    painter.stroke(*RING)
    painter.take(1)
    painter.press("fill")
    painter.stroke(INSIDE)
    assert painter.at(*INSIDE) == pytest.approx([*ORANGE, 255], abs=ROUNDED)
    assert painter.at(60, 110) == pytest.approx([*BLUE, 255], abs=ROUNDED)
    assert painter.at(*OUTSIDE)[3] == 0
    assert min(painter.at(x, 110)[3] for x in range(60, 161)) > 127, "a gap between the ring and what fills it"
    for tool, alpha in (("undo", 0), ("redo", 255), ("undo", 0)):
        painter.press(tool)
        assert (painter.at(*INSIDE)[3], painter.at(60, 110)[3]) == (alpha, 255)
    painter.take(0)
    painter.stroke((60, 110))
    painter.stroke(OUTSIDE)
    assert [painter.at(*place)[3] for place in (OUTSIDE, INSIDE, (60, 110))] == [255, 0, 255]
    press_brush(editor, painter)
    assert painter.panel.query_selector("[data-tool=fill]").get_attribute("aria-pressed") == "false"
    painter.stroke((90, 110), (100, 110))
    assert [painter.at(x, 110)[3] for x in (95, 140)] == [255, 0]
    painter.saved()


def test_an_empty_place_to_paint_says_what_it_lacks(editor, photo):
    """Oracle: the sentence on it before a picture is connected, and that there is none on a picture."""
    editor.page.evaluate(GRAPH, [photo, False])
    painter = Painter(editor)
    painter.look()
    read = HINT[editor.renderer]
    assert eventually(lambda: editor.page.evaluate(read, painter.panel), "Connect a picture to paint on it.")
    editor.page.screenshot(path=f"artifacts/web/painter_empty_{editor.renderer}.png")
    editor.page.evaluate("() => app.graph.nodes[0].connect(0, app.graph.nodes[1], 0)")
    painter.look()
    assert eventually(lambda: editor.page.evaluate(read, painter.panel), "")


@pytest.mark.parametrize("opened", ["vue"], indirect=True, scope="session")
def test_a_painting_that_the_host_cannot_load_is_named_until_it_is_cleared(painter, editor):
    """Oracle: the value that the workflow came with, which the host's painter empties by itself; the sentence that says
    so; neither after a press of the host's own button.
    """
    name, gone = painter.spoil(), "If its file is gone, clear and paint again."
    painter.look(closed=True)
    assert eventually(lambda: gone in painter.panel.inner_text(), True)
    assert painter.value() == name
    editor.page.locator("[data-testid=painter-clear-button]").last.click()
    assert eventually(lambda: gone in painter.panel.inner_text(), False)
    assert painter.value() == ""


def test_a_thing_without_a_starting_word_is_named_until_it_has_one(painter, editor):
    """Oracle: the doubts of two runs; the word is typed beside the handle, where the doubt says."""
    painter.take(0)
    painter.stroke((60, 60), (160, 60), (160, 160), (60, 160))
    painter.take(1)
    painter.stroke((230, 60), (300, 60), (300, 200))
    editor.run()
    assert kinds(painter) == [("no word", 0), ("no word", 1)]
    painter.look()
    painter.panel.query_selector_all(".ss-thing input")[1].fill("cup")
    editor.page.keyboard.press("Tab")
    editor.run()
    assert kinds(painter) == [("no word", 1)]
    assert painter.last_run()[0]["words"] == "cup"


def test_handles_and_words_are_shown_once(painter, editor):
    """Oracle: no box of the host has them; the rows do, what comes through a link can be read there and not typed."""
    assert editor.page.evaluate(BOXES[editor.renderer]) == []
    editor.page.evaluate(DEMO)
    editor.run()
    editor.look_at(BUILD)
    panel = editor.panel(BUILD, "painter")
    entry = list(editor.server.get_json("/history").values())[-1]
    facts = next(out["scenescope_scene"][0] for out in entry["outputs"].values() if "scenescope_scene" in out)
    words = [concept["word"] for concept in facts["concepts"]]
    assert len(words) == 2
    assert all(words)
    assert eventually(lambda: [row[1] for row in editor.page.evaluate(NAMES, panel)][:2], words)
    assert editor.page.evaluate(LOCKED, panel) == [False, True]
