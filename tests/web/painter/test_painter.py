"""Painting masks in Build Scene: our painter in the classic renderer, the host's with our undo in the Vue one."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from pack.devtools.comfyui import ROOT
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.web.editor import eventually
from pack.tests.web.painter.painter import BUILD, CONNECT, CONNECT_MASK, GRAPH, HEIGHT, WIDTH, Painter
from PIL import Image

BLUE, ORANGE = PALETTE[:2]
PAUSE = 0.6  # seconds, a little less than the painter waits after a stroke
ROUNDED = 1  # the host's brush keeps its colour as hue, saturation and value
UNDER = {"classic": ".ss-paper img", "vue": "[data-testid=painter-canvas-container] img"}
SEEN = """
(image, [x, y]) => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext('2d').drawImage(image, 0, 0);
  return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);
}
"""
# The editor's own undo leads to a graph with a painting.
STEP_BACK = """
value => {
  const step = app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.at(-1);
  return step?.nodes.some(node => Object.values(node.widgets_values ?? {}).includes(value));
}
"""
# The pointer has been over a workflow's tab: until its card has faded there is a dialog, and the editor undoes nothing.
NO_DIALOG = """() => !document.querySelector('[role="dialog"][aria-modal="true"]')"""
SIZE = "image => image.hidden ? null : [image.naturalWidth, image.naturalHeight]"


def test_what_is_painted_is_in_the_scene_though_it_is_queued_at_once(painter, editor):
    """Oracle: the file's pixels, by hand, and the areas that they make in cells of 32 pixels."""
    painter.take(0)
    painter.stroke((60, 60), (140, 60))
    painter.take(1)
    painter.stroke((210, 160), (280, 160))
    editor.run()
    inputs, facts = painter.last_run()
    file = editor.server.place.base / "input" / inputs["mask"].removesuffix(" [input]")
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels.shape[:2] == (HEIGHT, WIDTH)
    assert tuple(pixels[60, 100]) == pytest.approx((*BLUE, 255), abs=ROUNDED)
    assert tuple(pixels[160, 240]) == pytest.approx((*ORANGE, 255), abs=ROUNDED)
    assert pixels[120, 100, 3] == pixels[30, 30, 3] == 0
    assert [concept["colour"] for concept in facts["concepts"]] == ["#56b4e9", "#e69f00"]
    height, width = facts["grids"]["loss"]
    for concept, colour in zip(facts["concepts"], (BLUE, ORANGE), strict=True):
        near = np.abs(pixels[..., :3].astype(int) - colour).max(axis=-1) <= ROUNDED
        share = float((near & (pixels[..., 3] > 127)).mean())
        assert concept["cells"] == pytest.approx(share * height * width, rel=0.15)
    assert {warning["kind"] for warning in facts["warnings"]} == {"no word"}
    assert painter.value() == inputs["mask"] == inputs["file"]


def test_masks_from_sockets_are_shown_where_one_paints(photo, painter, editor):
    """Oracle: the picture underneath, by hand: half of the first colour in the mask; the host's painter has its own."""
    ground = np.where(np.arange(WIDTH) < 100, 0, 255).astype(np.uint8)
    with Image.open(editor.server.place.base / "input" / photo) as picture:
        picture.putalpha(Image.fromarray(np.tile(ground, (HEIGHT, 1))))
        picture.save(editor.server.place.base / "input" / photo)
    editor.page.evaluate(CONNECT_MASK)
    editor.run()
    assert painter.last_run()[1]["given"]["type"] == "temp"
    if editor.renderer == "vue":
        return
    painter.press("open")
    under = painter.panel.query_selector(UNDER["classic"])
    editor.page.wait_for_function("image => image.naturalWidth && image.src.includes('type=temp')", arg=under)
    look = f"([image, place]) => ({SEEN})(image, place)"
    inside, outside = (editor.page.evaluate(look, [under, [x, 30]]) for x in (30, 200))
    assert inside == pytest.approx([(a + b) / 2 for a, b in zip((120, 150, 180), BLUE, strict=True)], abs=2)
    assert outside == pytest.approx([120, 150, 180], abs=2)


def test_undo_and_redo_go_by_strokes_and_leave_the_graph_alone(painter, editor):
    """Oracle: the paint under two strokes, by keys and by buttons; the nodes are those that there were."""
    editor.page.evaluate("() => { for (const node of app.graph.nodes) node.ss_same = true; }")
    painter.stroke((60, 60), (140, 60))
    painter.stroke((60, 180), (140, 180))
    assert [painter.at(100, y)[3] for y in (60, 180)] == [255, 255]
    for act, seen in (
        (lambda: editor.page.keyboard.press("Control+z"), [255, 0]),
        (lambda: editor.page.keyboard.press("Control+z"), [0, 0]),
        (lambda: editor.page.keyboard.press("Control+z"), [0, 0]),
        (lambda: editor.page.keyboard.press("Control+Shift+z"), [255, 0]),
        (lambda: painter.press("redo"), [255, 255]),
        (lambda: painter.press("undo"), [255, 0]),
    ):
        act()
        editor.drawn()
        assert [painter.at(100, y)[3] for y in (60, 180)] == seen
    painter.stroke((60, 120), (140, 120))
    assert painter.panel.query_selector("[data-tool=redo]").is_disabled()
    assert editor.page.evaluate("() => app.graph.nodes.every(node => node.ss_same)")


def test_the_eraser_takes_paint_off_and_undo_brings_it_back(painter, editor):
    """Oracle: the paint of three pixels of one stroke."""
    painter.stroke((60, 120), (260, 120))
    painter.erase()
    painter.stroke((160, 80), (160, 160))
    assert [painter.at(x, 120)[3] for x in (70, 160, 250)] == [255, 0, 255]
    painter.press("undo")
    assert [painter.at(x, 120)[3] for x in (70, 160, 250)] == [255, 255, 255]
    painter.take(0)
    if editor.renderer == "classic":
        painter.press("clear")
    else:
        editor.page.locator("[data-testid=painter-clear-button]").last.click()
        editor.drawn()
    assert painter.at(70, 120)[3] == 0
    editor.away()
    assert painter.saved() == ""
    painter.press("undo")
    assert painter.at(70, 120)[3] == 255
    assert painter.saved().startswith("scenescope/painter-")


def test_a_pause_writes_one_file_and_queueing_no_other(painter, editor):
    """Oracle: the files in the input folder, and the requests of the page: none while strokes follow each other.

    On a busy machine there may be pauses between the strokes too, and each may write what was painted by then.
    """
    sent: list[str] = []
    editor.page.on("request", lambda request: sent.append(request.url) if "/upload/" in request.url else None)
    before, starts = painter.files(), []
    for y in (60, 110, 160):
        starts.append(time.monotonic())
        painter.stroke((60, y), (160, y))
    pauses = sum(later - earlier > PAUSE for earlier, later in pairwise([*starts, time.monotonic()]))
    assert len(sent) <= pauses
    painter.saved()
    written = len(sent)
    assert 1 <= written <= 1 + pauses
    editor.run()
    assert len(sent) == written
    assert len(painter.files()) == len(before) + written


def test_the_painting_comes_back_with_the_workflow_after_a_reload(painter, editor):
    """Oracle: the paint of two pixels in a page that was loaded afresh."""
    painter.stroke((60, 60), (140, 60))
    editor.away()
    painter.saved()
    workflow = editor.page.evaluate("() => app.graph.serialize()")
    editor.open()
    editor.load(workflow)
    painter.look()
    assert eventually(lambda: painter.painted(100, 60, 160), [True, False])
    assert painter.at(100, 60) == pytest.approx([*BLUE, 255], abs=ROUNDED)
    painter.stroke((60, 160), (140, 160))
    editor.run()
    assert painter.last_run()[1]["concepts"][0]["cells"] > 2


def test_a_copy_is_painted_on_for_itself(painter, editor):
    """Oracle: the values and the paint of both nodes."""
    painter.stroke((60, 60), (140, 60))
    editor.away()
    first = painter.saved()
    copy = "() => { const c = app.canvas; c.selectItems([app.graph.nodes.at(-1)]); c.copyToClipboard(); "
    copy += "c.pasteFromClipboard(); app.graph.nodes[0].connect(0, app.graph.nodes.at(-1), 0); }"
    editor.page.evaluate(copy)
    editor.page.evaluate("() => { app.graph.nodes.at(-1).pos = [700, 0]; app.canvas.deselectAll(); }")
    painter.look()
    assert painter.value(-1) == first
    assert eventually(lambda: painter.painted(100, 60), [True])
    painter.stroke((60, 160), (140, 160))
    editor.away()
    assert painter.saved() not in (first, "")
    assert painter.value(0) == first


def test_undo_of_the_graph_takes_the_painting_back_too(painter, editor):
    """Oracle: the value and the paint of before the last pause."""
    painter.stroke((60, 60), (140, 60))
    editor.away()
    first = painter.saved()
    painter.stroke((60, 160), (140, 160))
    editor.away()
    assert painter.saved() != first
    editor.page.mouse.click(1200, 850)
    editor.page.wait_for_function("() => !document.activeElement.closest('[data-scenescope]')")
    editor.page.wait_for_function(STEP_BACK, arg=first)
    editor.page.wait_for_function(NO_DIALOG)
    editor.page.keyboard.press("Control+z")
    assert eventually(painter.value, first)
    painter.look()
    assert eventually(lambda: painter.painted(100, 60, 160), [True, False])
    painter.stroke((60, 200), (140, 200))
    editor.run()
    file = editor.server.place.base / "input" / painter.last_run()[0]["mask"].removesuffix(" [input]")
    with Image.open(file) as picture:
        assert [picture.getpixel((100, y))[3] for y in (60, 160, 200)] == [255, 0, 255]


def test_the_other_renderer_goes_on_where_this_one_was(painter, editor):
    """Oracle: the paint of two pixels, one painted in each renderer."""
    mine = editor.renderer
    painter.stroke((60, 60), (140, 60))
    editor.away()
    painter.saved()
    try:
        editor.renderer = "vue" if mine == "classic" else "classic"
        editor.render(editor.renderer, BUILD, "painter")
        painter.look()
        assert eventually(lambda: painter.painted(100, 60), [True])
        assert painter.at(100, 60) == pytest.approx([*BLUE, 255], abs=ROUNDED)
        painter.stroke((60, 160), (140, 160))
        editor.away()
        painter.saved()
    finally:
        editor.renderer = mine
        editor.render(mine, BUILD, "painter")
    painter.look()
    assert eventually(lambda: painter.painted(100, 60, 160), [True, True])


def test_a_load_image_that_is_connected_later_shows_at_once(editor, photo):
    """Oracle: the size of the picture under the painting, without a run."""
    editor.page.evaluate(GRAPH, [photo, False])
    painter = Painter(editor)
    painter.look()
    editor.page.evaluate(CONNECT)
    painter.look()
    assert editor.page.query_selector(UNDER[editor.renderer]).evaluate(SIZE) == [WIDTH, HEIGHT]
    assert painter.canvas.evaluate("canvas => [canvas.width, canvas.height]") == [WIDTH, HEIGHT]


@pytest.mark.parametrize(("palette", "locale", "word"), [("light", "en", "Undo"), ("dark", "zh", "撤销")])
def test_the_painter_follows_the_editor_s_theme_and_language(editor, photo, palette, locale, word):
    """Oracle: the word in that language; ink and paper differ by far in lightness."""
    with editor.looks(palette, locale):
        editor.page.evaluate(GRAPH, [photo, True])
        painter = Painter(editor)
        painter.look()
        painter.stroke((60, 60), (140, 60), (140, 140), (60, 140))
        painter.take(1)
        painter.stroke((210, 110), (270, 110), (270, 180), (210, 180))
        assert word in painter.panel.inner_text()
        assert editor.contrast(painter.panel) > 300
        painter.saved()  # with another language the editor reads its graph afresh, and asks for the painting
        editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"painter_{palette}_{locale}_{editor.renderer}.png")
