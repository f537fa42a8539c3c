"""The first minute, as the README tells it: a template, a click on Run, and a word under the pointer."""

from __future__ import annotations

import time

from pack.tests.web.test_templates import CARDS, OPEN
from pack.tests.web.test_viewer import HEATMAP, chip, names, shown

CARD = "[data-testid='template-workflow-first_heatmap']"
OPENED = "type => app.graph.nodes.some(node => node.type === type)"


def test_a_heatmap_is_seen_after_a_template_and_one_click(editor):
    """Oracle: the viewer names the words that the template asks for, and the one that is hovered over."""
    start = time.monotonic()
    editor.load({"version": 0.4, "nodes": [], "links": []})
    editor.page.evaluate(OPEN)
    editor.page.get_by_role("dialog").get_by_text("SceneScope", exact=True).evaluate("name => name.click()")
    editor.page.wait_for_function(f"() => ({CARDS})().includes('first_heatmap')")
    editor.page.locator(CARD).click()
    editor.page.wait_for_function(OPENED, arg=HEATMAP)
    editor.at_rest()
    editor.page.get_by_role("button", name="Run", exact=True).first.click()
    panel = editor.panel(HEATMAP, "viewer")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    print(f"{time.monotonic() - start:.1f} s from the templates to the first heatmap, {editor.renderer}")
    editor.idle()
    panel = shown(editor, HEATMAP)
    assert names(panel) == ["red circle", "green star", "snow"]
    panel.query_selector("text=unpin").click()
    chip(panel, "green star").hover()
    editor.drawn()
    assert names(panel) == ["green star"]
