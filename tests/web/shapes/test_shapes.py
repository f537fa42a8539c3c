"""Block Shapes in the editor: the U, the row of a block, and the way to its maps."""

from __future__ import annotations

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.changes import CHANGES, changed
from pack.tests.web.editor import Editor
from playwright.sync_api import ElementHandle

SHAPES = "SceneScope_BlockShapes"
DOWN = ["input 1", "input 2", "input 4", "input 5", "input 7", "input 8"]
UP = [f"output {number}" for number in range(11, 2, -1)]
LOSS = ["input 7", "input 8", "output 5", "output 4", "output 3"]
# Block Shapes after the sampler of the first example; `from` chooses which of the two sources is connected.
ADD = """
async from => {
  const sampler = app.graph.nodes.find(node => node.type === 'SceneScope_SampleAndRecord');
  const model = app.graph.nodes.find(node => node.type === 'SceneScope_DemoModel');
  const shapes = LiteGraph.createNode('SceneScope_BlockShapes');
  app.graph.add(shapes);
  shapes.pos = [60, 1300];
  shapes.setSize([660, 860]);
  if (from === 'maps') sampler.connect(1, shapes, shapes.findInputSlot('maps'));
  else model.connect(0, shapes, shapes.findInputSlot('model'));
  app.graph.change();
}
"""
# Where the panel's top stands at the top of the window.
TIDY = """
type => {
  const node = app.canvas.graph.nodes.filter(node => node.type === type).at(-1);
  const widget = node.widgets.find(widget => widget.name === 'scenescope_shapes');
  node.setSize([660, 860]);
  app.canvas.ds.offset[0] = 200 - node.pos[0];
  app.canvas.ds.offset[1] = 130 - node.pos[1] - (widget.y ?? 200);
  app.canvas.setDirty(true, true);
}
"""


def drawn(editor: Editor) -> ElementHandle:
    """The panel, in view, when the U is there."""
    editor.look_at(SHAPES)
    editor.page.evaluate(TIDY, SHAPES)
    panel = editor.panel(SHAPES, "shapes")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-block')", arg=panel)
    editor.drawn()
    return panel


@pytest.fixture(params=["maps"])
def panel(editor: Editor, request: pytest.FixtureRequest) -> ElementHandle:
    """Block Shapes on a recorded run of the first example."""
    editor.away()
    editor.load("first_heatmap")
    editor.page.evaluate(ADD, request.param)
    editor.run()
    return drawn(editor)


def box(panel: ElementHandle, name: str) -> ElementHandle:
    """The box of a block."""
    found = panel.query_selector(f'[data-block="{name}"]')
    assert found is not None, name
    return found


def row(panel: ElementHandle) -> str:
    """The row of the table, as text in one line."""
    return " ".join(panel.query_selector(".ss-shape-row").inner_text().split())


def centre(panel: ElementHandle, name: str) -> tuple[float, float]:
    """Where a box stands in the window."""
    found = box(panel, name).bounding_box()
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def test_the_blocks_stand_in_a_u(panel):
    """Oracle: the U-Net of SD1.5: six blocks down, one in the middle, nine up; skips join blocks of one height."""
    places = {name: centre(panel, name) for name in [*DOWN, "middle 0", *UP]}
    assert [places[name][1] for name in DOWN] == sorted(places[name][1] for name in DOWN)
    assert [places[name][1] for name in UP] == sorted(places[name][1] for name in UP)
    assert places["middle 0"][1] > max(places[name][1] for name in (*DOWN, *UP))
    assert max(places[name][0] for name in DOWN) < places["middle 0"][0] < min(places[name][0] for name in UP)
    for left, right in (("input 8", "output 3"), ("input 5", "output 6"), ("input 1", "output 10")):
        assert places[left][1] == pytest.approx(places[right][1], abs=2)
    marked = [one.get_attribute("data-block") for one in panel.query_selector_all(".ss-block.ss-loss")]
    assert sorted(marked) == sorted(LOSS)
    widths = [box(panel, name).bounding_box()["width"] for name in ("input 1", "input 4", "input 7")]
    assert widths == sorted(widths, reverse=True)


def test_every_box_and_its_texts_fit(panel, editor):
    """Oracle: nothing in a box is wider than its place, and no two boxes overlap."""
    cut = "panel => [...panel.querySelectorAll('.ss-block *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
    cut += "e.clientWidth).map(e => e.textContent)"
    assert editor.page.evaluate(cut, panel) == []
    boxes = [one.bounding_box() for one in panel.query_selector_all(".ss-block, .ss-pill")]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart_x = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            assert apart_x or one["y"] + one["height"] <= other["y"] + 1 or other["y"] + other["height"] <= one["y"] + 1


def test_hovering_a_block_shows_its_row_of_the_table(panel, editor):
    """Oracle: by hand. A latent of 16x16 and two rows: 4x4 at input 7, so 16 queries and 77 tokens."""
    box(panel, "input 7").hover()
    editor.drawn()
    assert "2×16×" in row(panel)
    assert "2×77×" in row(panel)
    assert "16 rows, 77 columns" in row(panel)
    box(panel, "output 11").hover()
    editor.drawn()
    assert "output 11 up" in row(panel)
    assert "256 rows, 77 columns" in row(panel)


def test_a_click_opens_the_maps_of_that_block_and_the_way_back(panel, editor):
    """Oracle: the viewer's own words and the block chosen in it."""
    box(panel, "output 4").click()
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    editor.drawn()
    assert "output 4, 4×4" in panel.query_selector(".ss-about").inner_text()
    assert not box(panel, "output 4").is_visible()
    editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"shapes_maps_{editor.renderer}.png")
    panel.query_selector('[aria-label="Next block"]').click()
    editor.drawn()
    assert "output 5, 4×4" in panel.query_selector(".ss-about").inner_text()
    panel.query_selector('[aria-label="Back to the U-Net"]').click()
    assert box(panel, "output 5").is_visible()
    assert box(panel, "output 5").evaluate("box => box === document.activeElement")


def test_arrow_keys_walk_down_through_the_middle_and_up_and_over_a_skip(panel, editor):
    """Oracle: the block that the U puts there; no key moves or deletes a node."""
    count = editor.page.evaluate("() => app.graph.nodes.length")
    box(panel, "input 7").focus()
    seen = []
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft", "Home", "End"):
        editor.page.keyboard.press(key)
        seen.append(editor.page.evaluate("() => document.activeElement.dataset.block"))
    assert seen == ["input 8", "middle 0", "output 3", "output 4", "input 7", "input 1", "output 11"]
    assert "output 11" in row(panel)
    editor.page.keyboard.press("Enter")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    assert editor.page.evaluate("() => app.graph.nodes.length") == count
    stops = panel.query_selector_all(".ss-block[tabindex='0']")
    assert len(stops) == 1


def test_each_box_says_its_shapes_to_a_screen_reader(panel):
    """Oracle: by hand, for the demo model at 128x128."""
    label = box(panel, "output 3").get_attribute("aria-label")
    assert label.startswith("output 3, up: ")
    assert "on 4×4, 16 queries, 77 keys" in label
    assert label.endswith("read by the Break-a-Scene attention loss")


@pytest.mark.parametrize("panel", ["model"], indirect=True)
def test_shapes_of_a_model_have_no_maps_and_say_so(panel, editor):
    """Oracle: the U at the size of the node's numbers, and the sentence."""
    assert "512×512" in panel.inner_text()
    assert "A MODEL gives shapes but no maps" in panel.inner_text()
    box(panel, "input 7").click()
    editor.drawn()
    assert box(panel, "input 7").is_visible()


@pytest.mark.parametrize("change", CHANGES)
def test_the_u_survives(panel, editor, change):
    """Oracle: the node that is there afterwards has all sixteen blocks; the console stays empty (the fixture looks)."""
    with changed(editor, change, SHAPES, "shapes"):
        assert len(drawn(editor).query_selector_all(".ss-block")) == 16


def test_a_reload_of_the_page_brings_the_open_block_back(panel, editor):
    """Oracle: the block that was open is open again, without a run."""
    box(panel, "output 6").click()
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    editor.reload()
    again = drawn(editor)
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=again)
    editor.drawn()
    assert "output 6, 8×8" in again.query_selector(".ss-about").inner_text()


@pytest.mark.parametrize(("palette", "locale", "word"), [("light", "en", "latent / 4"), ("dark", "zh", "减半为")])
def test_the_u_follows_the_editor_s_theme_and_language(editor, palette, locale, word):
    """Oracle: the label in that language; the ink of every box differs by far from its paper in lightness."""
    with editor.looks(palette, locale):
        editor.load("first_heatmap")
        editor.page.evaluate(ADD, "maps")
        editor.run()
        panel = drawn(editor)
        assert word in panel.inner_text()
        editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"shapes_{palette}_{locale}_{editor.renderer}.png")
        assert editor.contrast(panel) > 300
