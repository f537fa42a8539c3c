"""Maps that grow while a sampler runs, in the editor."""

from __future__ import annotations

from typing import Any

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.editor import Editor

RECORD, SAMPLER = "SceneScope_RecordAttention", "SceneScope_SampleAndRecord"
EXAMPLES = {RECORD: ("record_any_sampler", "live"), SAMPLER: ("first_heatmap", "viewer")}
# What a panel has shown, noted at each change.
WATCH = """
panel => {
  window.grown = [];
  window.growing = new MutationObserver(() => {
    const state = panel.querySelector('.ss-live .ss-state')?.textContent;
    const canvas = panel.querySelector('.ss-live canvas');
    const words = [...panel.querySelectorAll('.ss-live-tile:not([hidden]) b')].map(one => one.textContent);
    if (state) requestAnimationFrame(() => window.grown.push([state, words, canvas?.toDataURL()]));
  });
  window.growing.observe(panel, { childList: true, subtree: true, characterData: true });
}
"""
SET = """
([type, changes]) => {
  const node = app.graph.nodes.find(node => node.type === type);
  for (const [name, value] of Object.entries(changes)) node.widgets.find(widget => widget.name === name).value = value;
}
"""
NUMBER = {RECORD: "KSampler", SAMPLER: SAMPLER}


def watched(editor: Editor, node_type: str, words: str, seed: int, **sampling: Any) -> list[Any]:
    """Run an example with a new seed; what its panel has shown meanwhile."""
    example, panel_name = EXAMPLES[node_type]
    editor.page.mouse.move(1500, 700)
    editor.load(example)
    editor.page.evaluate(SET, [node_type, {"live_words": words}])
    editor.page.evaluate(SET, [NUMBER[node_type], {"seed": seed, **sampling}])
    editor.look_at(node_type)
    editor.page.evaluate(WATCH, editor.panel(node_type, panel_name))
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function("() => window.grown.length > 3")
    editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"live_under_way_{node_type}_{editor.renderer}.png")
    editor.idle()
    return editor.page.evaluate("() => { window.growing.disconnect(); return window.grown; }")


@pytest.mark.parametrize("node_type", EXAMPLES)
def test_the_maps_of_the_words_grow_step_by_step(editor, node_type):
    """Oracle: the steps that were told rise; the map's pixels change; the words are those asked for."""
    seed = {"classic": 11, "vue": 12}[editor.renderer]
    grown = watched(editor, node_type, "star, red circle", seed, steps=40)
    steps = [int(state.split()[1]) for state, _, _ in grown if state.startswith("Step ")]
    assert steps == sorted(steps)
    assert len(set(steps)) >= 2
    assert {tuple(words) for _, words, _ in grown if words} == {("star", "red circle")}
    assert len({pixels for _, _, pixels in grown}) >= 2


def test_record_attention_keeps_the_last_maps_on_the_screen(editor):
    """Oracle: the sentence of a whole run; six words in their order, among them that with the largest share."""
    watched(editor, RECORD, "", {"classic": 21, "vue": 22}[editor.renderer])
    panel = editor.panel(RECORD, "live")
    assert "Means of all 20 steps" in panel.inner_text()
    names = [one.inner_text() for one in panel.query_selector_all(".ss-live-tile b")]
    assert len(names) == 6
    assert names == [word for word in ("photo", "red", "circle", "striped", "green", "star", "snow") if word in names]
    assert "snow" in names


def test_the_viewer_takes_its_place_back_when_the_maps_are_complete(editor):
    """Oracle: no live map is left over it, and its words are there."""
    watched(editor, SAMPLER, "", {"classic": 31, "vue": 32}[editor.renderer])
    panel = editor.panel(SAMPLER, "viewer")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    assert panel.query_selector(".ss-live") is None


@pytest.mark.parametrize("node_type", EXAMPLES)
def test_a_cancelled_run_leaves_no_map_waiting(editor, node_type):
    """Oracle: the panel says where it stopped; over the viewer nothing is left."""
    example, panel_name = EXAMPLES[node_type]
    editor.load(example)
    editor.page.evaluate(SET, [NUMBER[node_type], {"seed": 41, "steps": 2000}])
    editor.look_at(node_type)
    panel = editor.panel(node_type, panel_name)
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-live-tile')", arg=panel)
    editor.server.post("/interrupt", {})
    editor.idle()
    left = "innerText.includes('Stopped at step')" if node_type == RECORD else "querySelector('.ss-live') === null"
    editor.page.wait_for_function(f"panel => panel.{left}", arg=panel)
