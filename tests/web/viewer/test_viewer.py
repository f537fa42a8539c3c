"""The attention viewer in the editor: what a person hovers, clicks and types, and what is seen then."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.support.viewfiles import read
from pack.tests.web.changes import CHANGES, changed
from pack.tests.web.editor import Editor
from PIL import Image
from playwright.sync_api import ElementHandle

HEATMAP, SAMPLER = "SceneScope_TokenHeatmap", "SceneScope_SampleAndRecord"
PROMPT = "a photo of a red circle and a striped green star in the snow"
WORDS = PROMPT.split()
# As Token Heatmap shows them: what it was asked for in one go is one thing.
UNITS = ["a", "photo", "of", "a", "red circle", "and", "a", "striped", "green star", "in", "the", "snow"]
CHIPS = 3 + len(UNITS)
PIXELS = "(panel, at) => [...panel.querySelectorAll('.ss-tile:not([hidden]) canvas')][at].toDataURL()"
WIDEN = """
type => {
  const node = app.canvas.graph.nodes.filter(node => node.type === type).at(-1);
  node.setSize([560, node.size[1]]);
  node.pos = [node.pos[0], 5000 + type.length * 100];  // away from the other nodes
}
"""
# The two renderers lay widgets out in their own ways, so the panel is moved by where it is on the screen.
MOVE = """
panel => {
  const box = panel.getBoundingClientRect(), view = app.canvas.ds;
  view.offset[0] += (130 - box.left) / view.scale;
  view.offset[1] += (140 - box.top) / view.scale;
  app.canvas.setDirty(true, true);
}
"""


@pytest.fixture
def viewer(editor: Editor) -> ElementHandle:
    """Token Heatmap's viewer after a run of the first example, in view; the run itself is cached by the server."""
    editor.page.mouse.move(760, 985)  # over nothing: a tab or a word under the pointer would open or light up
    editor.load("first_heatmap")
    editor.run()
    return shown(editor, HEATMAP)


def shown(editor: Editor, node_type: str) -> ElementHandle:
    """A node's viewer, in view, when it has its words."""
    editor.page.evaluate(WIDEN, node_type)
    editor.look_at(node_type)
    panel = editor.panel(node_type, "viewer")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip') && panel.dataset.ms", arg=panel)
    for _ in range(2):  # the node may grow once when its picture arrives
        editor.page.evaluate(MOVE, panel)
        editor.drawn()
    return panel


def chip(panel: ElementHandle, word: str) -> ElementHandle:
    """The chip of a word."""
    return next(one for one in panel.query_selector_all(".ss-chip") if one.inner_text().strip() == word)


def names(panel: ElementHandle) -> list[str]:
    """What the maps on the screen are called."""
    return [name.inner_text() for name in panel.query_selector_all(".ss-tile:not([hidden]) b")]


def file_of(editor: Editor, node_type: str) -> Path:
    """The file that a node's viewer shows."""
    outputs = editor.page.evaluate("() => app.nodeOutputs")
    node = editor.page.evaluate("type => app.graph.nodes.filter(node => node.type === type).at(-1).id", node_type)
    return editor.server.place.base / "temp" / outputs[str(node)]["scenescope_view"][0]["filename"]


def test_the_prompt_s_words_are_chips_and_the_words_asked_for_are_pinned(viewer):
    """Oracle: the example's prompt, and its `red circle, green star, snow`."""
    chips = [one.inner_text().strip() for one in viewer.query_selector_all(".ss-chip")]
    assert chips == ["<start>", *UNITS, "<end>", "<padding>"]
    assert names(viewer) == ["red circle", "green star", "snow"]


def test_hovering_a_word_shows_its_map(viewer, editor):
    """Oracle: the pixels change and come back, and the caption names the word; nothing is fetched meanwhile."""
    viewer.query_selector("text=unpin").click()
    requests: list[str] = []
    editor.page.on("request", lambda request: requests.append(request.url))
    chip(viewer, "red circle").hover()
    editor.drawn()
    circle = editor.page.evaluate(f"panel => ({PIXELS})(panel, 0)", viewer)
    chip(viewer, "snow").hover()
    editor.drawn()
    assert names(viewer) == ["snow"]
    assert editor.page.evaluate(f"panel => ({PIXELS})(panel, 0)", viewer) != circle
    chip(viewer, "red circle").hover()
    editor.drawn()
    assert editor.page.evaluate(f"panel => ({PIXELS})(panel, 0)", viewer) == circle
    assert [url for url in requests if "/view" in url and ".view" in url] == []


def test_between_the_words_with_nothing_pinned_a_map_is_still_there(viewer, editor):
    """Oracle: one map, of the word that stands out; nothing is thrown (the fixture looks)."""
    viewer.query_selector("text=unpin").click()
    chip(viewer, "red circle").hover()
    editor.drawn()
    viewer.query_selector(".ss-chips").dispatch_event("pointerover")
    editor.drawn()
    (word,) = names(viewer)
    assert word in UNITS
    assert chip(viewer, word).get_attribute("aria-pressed") == "false"


def test_hovering_the_picture_ranks_the_words_by_their_share_there(viewer, editor):
    """Oracle: the same mean taken by the description's reader, over the five blocks of the latent's own grid."""
    header, planes = read(file_of(editor, HEATMAP))
    entry = header["entries"][0]
    blocks = [at for at, block in enumerate(entry["blocks"]) if block["grid"] == [16, 16]]
    numbers = iter(range(1, 1 + len(WORDS)))  # of the columns: each of these words is one token
    columns = [[next(numbers) for _ in unit.split()] for unit in UNITS]
    mean = [np.mean([planes[0, 0, 0, b, c] for c in own for b in blocks], axis=0) for own in columns]
    frame = viewer.query_selector(".ss-frame")
    box = frame.bounding_box()
    for row, column in ((7, 4), (13, 13), (1, 14)):
        x, y = (column + 0.5) / 16 * box["width"], (row + 0.5) / 16 * box["height"]
        frame.hover(position={"x": x, "y": y})
        editor.drawn()
        ranked = viewer.query_selector_all(".ss-ranking li")
        expected = sorted(range(len(mean)), key=lambda at: -mean[at][row, column])[:2]
        assert [one.query_selector(".ss-word").inner_text() for one in ranked[:2]] == [UNITS[at] for at in expected]
        assert float(ranked[0].get_attribute("data-share")) == pytest.approx(mean[expected[0]][row, column], abs=1e-4)
    assert viewer.query_selector(".ss-mark").is_visible()
    assert viewer.query_selector(".ss-here").inner_text() == UNITS[expected[0]]


def test_pinned_words_are_compared_on_one_scale(viewer, editor):
    """Oracle: the larger of the two captions' maxima stands at the top of the only colour bar."""
    viewer.query_selector("text=unpin").click()
    for word in ("green star", "red circle"):
        chip(viewer, word).click()
    editor.drawn()
    assert sorted(names(viewer)) == ["green star", "red circle"]
    assert chip(viewer, "green star").get_attribute("aria-pressed") == "true"
    tops = [float(one.get_attribute("title").split()[1]) for one in viewer.query_selector_all("figcaption span")[:2]]
    bar = viewer.query_selector_all(".ss-bar span")
    assert float(bar[0].inner_text()) == max(tops)


def test_the_slider_goes_through_the_steps(viewer, editor):
    """Oracle: the words under it, and other pixels at another step."""
    assert "mean of 20 steps" in viewer.query_selector(".ss-about").inner_text()
    before = editor.page.evaluate(f"panel => ({PIXELS})(panel, 0)", viewer)
    viewer.query_selector("input[type=range]").fill("3")
    editor.drawn()
    assert "step 3 of 20" in viewer.query_selector(".ss-about").inner_text()
    assert editor.page.evaluate(f"panel => ({PIXELS})(panel, 0)", viewer) != before


def test_blocks_and_prompts_are_chosen(viewer, editor):
    """Oracle: the words beside the slider; the negative prompt is empty, so it has no words."""
    viewer.query_selector(".ss-more").click()
    layers, prompt = viewer.query_selector_all("select")[0], viewer.query_selector('select[aria-label="Prompt"]')
    layers.select_option("block:output 4")
    editor.drawn()
    assert "output 4, 4×4" in viewer.query_selector(".ss-about").inner_text()
    prompt.select_option("1")
    editor.drawn()
    assert viewer.query_selector_all(".ss-chip:not(.ss-faint)") == []


def test_keys_walk_over_words_steps_and_places(viewer, editor):
    """Oracle: the word next in the prompt, the step after, and a word ranked where the keys lead."""
    viewer.query_selector("text=unpin").click()
    chip(viewer, "photo").focus()
    editor.page.keyboard.press("ArrowRight")
    editor.drawn()
    assert names(viewer) == ["of"]
    assert "of: largest share" in viewer.query_selector(".ss-spoken").inner_text()
    editor.page.keyboard.press("ArrowUp")
    editor.drawn()
    assert "step 1 of 20" in viewer.query_selector(".ss-about").inner_text()
    editor.page.keyboard.press("Enter")
    for _ in range(2):
        editor.page.keyboard.press("ArrowRight")
    editor.drawn()
    assert names(viewer) == ["of", "red circle"]
    editor.page.keyboard.press("Escape")
    editor.drawn()
    assert names(viewer) == ["red circle"]
    viewer.query_selector(".ss-stage").focus()
    editor.page.keyboard.press("ArrowRight")
    editor.drawn()
    assert viewer.query_selector(".ss-ranking h4").inner_text() == "Row 9, column 9"
    assert editor.page.evaluate("() => app.graph.nodes.length") == 11  # no key reached the editor


def test_what_is_shown_is_saved_as_a_picture(viewer, editor):
    """Oracle: the file opens as a PNG of more than one colour, named after the words."""
    with editor.page.expect_download() as waiting:
        viewer.query_selector(".ss-export").click()
    saved = waiting.value
    assert saved.suggested_filename.endswith("redcircle_greenstar_snow.png")
    with Image.open(io.BytesIO(Path(saved.path()).read_bytes())) as picture:
        assert picture.format == "PNG"
        assert picture.width > 3 * 384
        assert len(picture.convert("P").getcolors(256)) > 50


def test_a_node_without_the_picture_shows_the_maps_too(viewer, editor):
    """Oracle: the sampler's viewer has the same words, and borrows the picture that Token Heatmap was given."""
    panel = shown(editor, SAMPLER)
    assert len(panel.query_selector_all(".ss-chip")) == 3 + len(WORDS)
    assert panel.query_selector(".ss-frame img").get_attribute("src")


def test_a_viewer_borrows_the_pictures_of_a_node_that_has_none(viewer, editor):
    """Oracle: the address of the picture that a node without a viewer, as Generate from Tokens, tells with its maps."""
    file = file_of(editor, HEATMAP)
    Image.new("RGB", (128, 128), "red").save(file.with_name("borrowed.png"))
    picture = {"filename": "borrowed.png", "subfolder": "", "type": "temp"}
    output = {"filename": file.name, "subfolder": "", "type": "temp", "pictures": [picture]}
    message = {"node": "999", "display_node": "999", "output": {"scenescope_view": [output]}}
    panel = shown(editor, SAMPLER)
    editor.page.evaluate("message => app.api.dispatchCustomEvent('executed', message)", message)
    seen = "panel => panel.querySelector('.ss-frame img').src.includes('borrowed.png')"
    editor.page.wait_for_function(seen, arg=panel)


def test_a_reload_of_the_page_brings_the_maps_back(viewer, editor):
    """Oracle: the words are there again, without a run."""
    editor.reload()
    assert len(shown(editor, HEATMAP).query_selector_all(".ss-chip")) == CHIPS


@pytest.mark.parametrize("change", CHANGES)
def test_the_viewer_survives(viewer, editor, change):
    """Oracle: the node that is there afterwards shows the words; the console stays empty (the fixture looks)."""
    with changed(editor, change, HEATMAP, "viewer"):
        assert len(shown(editor, HEATMAP).query_selector_all(".ss-chip")) == CHIPS


def test_maps_that_are_gone_say_what_to_do(viewer, editor):
    """Oracle: the sentence. The browser itself notes the missing file in its console."""
    give = {"scenescope_view": [{"filename": "scenescope_gone.view", "subfolder": "", "type": "temp"}]}
    editor.page.evaluate(f"o => app.graph.nodes.find(node => node.type === '{HEATMAP}').onExecuted(o)", give)
    editor.page.wait_for_function("panel => panel.innerText.includes('Run the workflow again')", arg=viewer)
    assert all("404" in error for error in editor.errors)
    editor.errors.clear()


@pytest.mark.parametrize(("palette", "locale", "word"), [("light", "en", "unpin"), ("dark", "zh", "取消固定")])
def test_it_follows_the_editor_s_theme_and_language(viewer, editor, palette, locale, word):
    """Oracle: the label in that language; ink and paper differ by far in lightness."""
    with editor.looks(palette, locale):
        editor.load("first_heatmap")
        editor.run()
        panel = shown(editor, HEATMAP)
        assert word in panel.inner_text()
        assert editor.contrast(panel) > 300
        editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"viewer_{palette}_{locale}_{editor.renderer}.png")
