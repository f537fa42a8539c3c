"""The viewer's words from run to run, its room on the screen, and what it says when a run has failed."""

from __future__ import annotations

import pytest
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.dims import Grid
from pack.tests.support.recordings import Run, entry, record
from pack.tests.web.editor import Editor
from pack.tests.web.viewer.test_viewer import HEATMAP, SAMPLER, chip, names, shown

SET = """
([type, changes]) => {
  const node = app.graph.nodes.filter(node => node.type === type).at(-1);
  for (const [name, value] of Object.entries(changes)) node.widgets.find(widget => widget.name === name).value = value;
}
"""
PROMPT = """
text => app.graph.nodes.find(node => node.title === 'Positive prompt').widgets[0].value = text
"""
GIVE = "([type, output]) => app.graph.nodes.filter(node => node.type === type).at(-1).onExecuted(output)"
# Buttons, sliders and choices that reach out of their panel or of the place that the editor gives it, or lie under
# another part; with what lies there.
LOST = """
panel => {
  const room = panel.getBoundingClientRect(), place = panel.parentElement.getBoundingClientRect();
  const over = part => {
    const box = part.getBoundingClientRect();
    return document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  };
  return [...panel.querySelectorAll('.ss-controls button, .ss-controls input, .ss-controls select')]
    .filter(part => part.checkVisibility())
    .filter(part => {
      const box = part.getBoundingClientRect();
      const bottom = Math.min(room.bottom, place.bottom) + 1;
      return box.left < room.left || box.right > room.right + 1 || box.bottom > bottom || !part.contains(over(part));
    })
    .map(part => `${part.textContent || part.ariaLabel}: ${over(part)?.outerHTML.slice(0, 200)}`);
}
"""
LIST = "open => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', open)"
CHOOSE = "type => app.canvas.selectItems([app.graph.nodes.filter(node => node.type === type).at(-1)])"
NARROW = "([type, wide]) => app.graph.nodes.filter(n => n.type === type).at(-1).setSize([wide, 1000])"
# The classic renderer gives a panel its width when it next draws the canvas.
AS_WIDE = "([panel, wide]) => Math.abs(panel.getBoundingClientRect().width - wide) < 50"


def ran(editor: Editor, prompt: str, words: str = "") -> None:
    """Run the first example with another prompt, in few steps."""
    editor.page.evaluate(PROMPT, prompt)
    editor.page.evaluate(SET, [SAMPLER, {"steps": 2}])
    editor.page.evaluate(SET, [HEATMAP, {"words": words}])
    editor.run()


def chips(panel) -> list[str]:
    """What the chips say."""
    return [one.inner_text().strip() for one in panel.query_selector_all(".ss-chip")]


def test_pins_stay_on_their_words_when_the_prompt_changes_or_go(editor):
    """Oracle: by hand; the second prompt has one of the two words, at another place."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    ran(editor, "a photo of a red circle in the snow")
    panel = shown(editor, SAMPLER)
    for word in ("circle", "snow"):
        chip(panel, word).click()
    ran(editor, "snow and a green star on a floor")
    editor.page.wait_for_function("panel => panel.innerText.includes('floor')", arg=panel)
    editor.drawn()
    assert [one.inner_text().strip() for one in panel.query_selector_all(".ss-chip.pinned")] == ["snow"]
    assert names(panel)[0] == "snow"


def test_the_tags_of_a_list_are_one_chip_each_and_commas_are_none(editor):
    """Oracle: the prompt's parts between commas; as words and as tokens, the same prompt by hand."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    ran(editor, "red circle, green star, deep snow, photo")
    panel = shown(editor, SAMPLER)
    assert chips(panel)[1:-2] == ["red circle", "green star", "deep snow", "photo"]
    chip(panel, "green star").click()
    panel.query_selector(".ss-more").click()
    unit = panel.query_selector('select[aria-label="Words as"]')
    unit.select_option("words")
    editor.drawn()
    assert chips(panel)[1:-2] == ["red", "circle", "green", "star", "deep", "snow", "photo"]
    assert [one.inner_text().strip() for one in panel.query_selector_all(".ss-chip.pinned")] == ["green", "star"]
    unit.select_option("pieces")
    editor.drawn()
    assert "," in chips(panel)


def test_one_map_fills_the_panel_and_on_the_whole_screen_it_is_larger(editor):
    """Oracle: 0.4 of the panel's width or more in the node, more than twice that on the screen; Escape leads back."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    editor.run()
    panel = shown(editor, HEATMAP)
    panel.query_selector("text=unpin").click()
    chip(panel, "red circle").click()
    editor.page.mouse.move(760, 985)
    editor.drawn()
    frame = panel.query_selector(".ss-frame")
    small = frame.bounding_box()["width"]
    assert small > 0.4 * panel.bounding_box()["width"]
    panel.query_selector(".ss-fill").click()
    editor.drawn()
    assert frame.bounding_box()["width"] > 2 * small
    nodes = editor.page.evaluate("() => app.graph.nodes.length")
    editor.page.keyboard.press("Delete")
    editor.page.keyboard.press("Escape")
    editor.drawn()
    assert panel.query_selector(".ss-frame").bounding_box()["width"] == pytest.approx(small, abs=2)
    assert editor.page.evaluate("() => app.graph.nodes.length") == nodes


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_every_button_is_reached_at_every_width(editor, locale):
    """Oracle: each part's box lies in the panel's and in the place of the panel, and nothing lies over its middle."""
    editor.page.mouse.move(1500, 985)
    with editor.looks(locale=locale):
        editor.load("first_heatmap")
        editor.run()
        panel = shown(editor, HEATMAP)
        panel.query_selector(".ss-more").click()
        for wide in (900, 560, 420, 320):
            editor.page.evaluate(NARROW, [HEATMAP, wide])
            editor.look_at(HEATMAP)
            shown_at = "panel => { app.canvas.ds.offset[1] -= panel.getBoundingClientRect().top - 100; }"
            editor.page.evaluate(shown_at, panel)
            editor.page.evaluate("() => app.canvas.setDirty(true, true)")
            editor.page.wait_for_function(AS_WIDE, arg=[panel, wide])
            editor.at_rest()
            assert panel.query_selector(".ss-export").is_visible()
            assert editor.page.evaluate(LOST, panel) == [], wide


def test_a_panel_stays_on_its_node_beside_the_editor_s_list_of_settings(editor):
    """Oracle: where the panel stands, before and after its node was chosen with the list of its settings open."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    editor.run()
    panel = shown(editor, HEATMAP)
    home = panel.evaluate_handle("panel => panel.parentElement")
    try:
        editor.page.evaluate(LIST, True)
        editor.page.evaluate(CHOOSE, HEATMAP)
        editor.page.locator("[data-testid=properties-panel] .widget-item").first.wait_for()
        editor.drawn()
        assert panel.evaluate("(panel, home) => home.isConnected && panel.parentElement === home", home)
    finally:
        editor.page.evaluate(LIST, False)


# A file that is asked for first and refused last.
SLOW = """
() => {
  const { fetch } = window;
  window.fetch = (address, ...more) => String(address).includes('gone.view')
    ? new Promise((_, refuse) => (window.refuse = () => { window.fetch = fetch; refuse(new Error('gone')); }))
    : fetch(address, ...more);
}
"""
# A finger touches the picture's middle, and is lifted.
TAP = """
stage => {
  const box = stage.querySelector('.ss-frame').getBoundingClientRect();
  const [clientX, clientY] = [box.left + box.width / 2, box.top + box.height / 2];
  for (const kind of ['pointerdown', 'pointerup', 'pointerleave', 'click'])
    stage.querySelector('.ss-frame').dispatchEvent(new PointerEvent(kind,
      { pointerType: 'touch', bubbles: true, clientX, clientY }));
}
"""


def test_many_words_can_be_looked_through(editor):
    """Oracle: 74 numbered words; those that have a 7 in them are found, and one of them by Tab. What an older file's
    end says is not of this one; a place that a finger asks about stays asked.
    """
    one = record(
        Run(latent=Grid(16, 16), steps=1, images=1, entries=(entry(" ".join(f"word{at}" for at in range(74))),))
    )
    folder = editor.server.place.base / "temp"
    folder.mkdir(exist_ok=True)
    write_view(one, folder / "many.view")
    editor.load("first_heatmap")
    editor.look_at(HEATMAP)
    panel = editor.panel(HEATMAP, "viewer")
    editor.page.evaluate(SLOW)
    for name in ("gone.view", "many.view"):
        give = {"scenescope_view": [{"filename": name, "subfolder": "", "type": "temp"}]}
        editor.page.evaluate(GIVE, [HEATMAP, give])
    editor.page.wait_for_function("panel => panel.querySelectorAll('.ss-chip').length === 77", arg=panel)
    editor.page.evaluate("() => window.refuse()")
    editor.drawn()
    assert "no longer on the server" not in panel.inner_text()
    panel.query_selector(".ss-filter").fill("7")
    editor.drawn()
    found = [one for one in panel.query_selector_all(".ss-chip") if one.is_visible()]
    assert [one.inner_text().strip() for one in found] == [f"word{at}" for at in range(74) if "7" in str(at)]
    assert [one.get_attribute("tabindex") for one in found].count("0") == 1
    editor.page.evaluate(TAP, panel.query_selector(".ss-stage"))
    editor.drawn()
    assert panel.query_selector(".ss-mark").is_visible()


def test_a_run_that_fails_says_so_in_its_panel_and_marks_what_is_older(editor):
    """Oracle: the error's own sentence first; its type has no path of a module; a run that succeeds takes it away."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    editor.run()
    panel = shown(editor, HEATMAP)
    sampler = editor.panel(SAMPLER, "viewer")
    editor.page.evaluate(SET, [HEATMAP, {"words": "zebra"}])
    editor.run()
    note = panel.wait_for_selector(".ss-old-note")
    assert note.inner_text().startswith("Words: 'zebra' is not in the prompt.")
    assert "this is from an earlier one" in note.inner_text()
    assert sampler.query_selector(".ss-old-note") is None
    last = list(editor.server.get_json("/history").values())[-1]
    (error,) = [detail for name, detail in last["status"]["messages"] if name == "execution_error"]
    assert error["exception_type"] == "WordError"
    editor.page.keyboard.press("Escape")  # the editor's own words about it
    editor.page.evaluate(SET, [HEATMAP, {"words": "snow"}])
    editor.run()
    editor.page.wait_for_function("panel => !panel.querySelector('.ss-old-note')", arg=panel)
    assert "ss-old" not in panel.get_attribute("class").split()
