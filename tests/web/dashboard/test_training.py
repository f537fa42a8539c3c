"""The training dashboard in the editor: while a run goes on, after it, and after a reload."""

from __future__ import annotations

from typing import Any

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.changes import CHANGES, changed
from pack.tests.web.editor import Editor
from playwright.sync_api import ElementHandle

TRAIN = "SceneScope_TrainConcepts"
STEPS = 16
# A training of two things on small pictures; the arguments are widgets of Train Concepts.
BUILD = """
async values => {
  const add = (type, x, y) => {
    const node = LiteGraph.createNode('SceneScope_' + type);
    app.graph.add(node);
    node.pos = [x, y];
    return node;
  };
  const at = (slots, name) => slots.findIndex(slot => slot.name === name);
  const link = (from, output, to, input) => from.connect(at(from.outputs, output), to, at(to.inputs, input));
  const put = (node, changes) => {
    for (const [name, value] of Object.entries(changes)) node.widgets[at(node.widgets, name)].value = value;
  };
  await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [] });
  const [model, scene, build] = [add('DemoModel', 0, 0), add('DemoScene', 0, 200), add('BuildScene', 400, 0)];
  const [settings, train] = [add('TrainSettings', 900, 0), add('TrainConcepts', 1300, 0)];
  put(scene, { things: '2', width: 128, height: 128 });
  link(scene, 'IMAGE', build, 'image');
  link(scene, 'MASKS', build, 'masks.mask0');
  link(scene, 'WORDS', build, 'words');
  put(build, { resolution: 128 });
  put(settings, { 'preset.phase1_steps': 8, 'preset.phase2_steps': 8, 'preset.rank': 2 });
  for (const part of ['MODEL', 'CLIP', 'VAE']) link(model, part, train, part.toLowerCase());
  link(build, 'SCENE', train, 'scene');
  link(settings, 'SETTINGS', train, 'settings');
  put(train, values);
}
"""
# Where the panel's top stands near the top of the window.
TIDY = """
type => {
  const node = app.canvas.graph.nodes.filter(node => node.type === type).at(-1);
  const widget = node.widgets.find(widget => widget.name === 'scenescope_training');
  node.setSize([520, node.size[1]]);
  app.canvas.ds.offset[0] = 200 - node.pos[0];
  app.canvas.ds.offset[1] = 130 - node.pos[1] - (widget.y ?? 300);
  app.canvas.setDirty(true, true);
}
"""
STATE = "panel => panel.querySelector('.ss-state').textContent"
# The step of a run that goes on.
BAR = ".ss-training ~ .ss-dash .ss-progress"
STEP = f"panel => Number(panel.querySelector('{BAR}')?.getAttribute('aria-valuenow') ?? 0)"
# How many pixels of a canvas have colour.
COLOURED = """
canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] > 40) {
      const parts = data.slice(at, at + 3);
      found += Math.max(...parts) - Math.min(...parts) > 40;
    }
  return found;
}
"""


def shown(editor: Editor) -> ElementHandle:
    """The dashboard, in view."""
    editor.look_at(TRAIN)
    editor.page.evaluate(TIDY, TRAIN)
    editor.drawn()
    return editor.panel(TRAIN, "training")


def build(editor: Editor, **widgets: Any) -> None:
    """Lay out the workflow."""
    values = {"sample_every": 8, "sample_count": 2, "sample_steps": 1, "run_name": f"web_{editor.renderer}"}
    editor.page.mouse.move(1500, 700)
    editor.page.evaluate(BUILD, values | widgets)
    editor.drawn()


@pytest.fixture
def finished(editor: Editor) -> ElementHandle:
    """The dashboard after a short run; the second time the run is returned at once, from its state."""
    build(editor)
    editor.run()
    panel = shown(editor)
    editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
    editor.at_rest()
    return panel


def test_a_run_is_watched_step_by_step_and_shown_when_it_is_done(editor):
    """Oracle: the progress bar's numbers rise before the end; then pictures, maps and curves by their number."""
    build(editor, run_name=f"watched_{editor.renderer}")
    panel = shown(editor)
    assert "Run the workflow" in panel.inner_text()
    editor.page.evaluate("() => app.queuePrompt(0)")
    state, seen = "", []
    while not state.startswith("Finished"):
        editor.page.wait_for_function(f"([panel, last]) => ({STATE})(panel) !== last", arg=[panel, state])
        state, step = editor.page.evaluate(f"panel => [({STATE})(panel), ({STEP})(panel)]", panel)
        if state.startswith("Step"):
            seen.append(step)
        if len(seen) == 3:
            editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"training_under_way_{editor.renderer}.png")
    assert state == f"Finished: {STEPS} steps"
    assert seen == sorted(seen)
    assert len(set(seen)) >= 3
    bar = panel.query_selector(".ss-progress")
    assert bar.get_attribute("aria-valuenow") == bar.get_attribute("aria-valuemax") == str(STEPS)
    editor.at_rest()
    assert [one.inner_text() for one in panel.query_selector_all(".ss-concept b")] == ["<asset0>", "<asset1>"]
    assert len(panel.query_selector_all(".ss-concept canvas")) == 4
    assert len(panel.query_selector_all(".ss-set")) == 2
    assert len(panel.query_selector_all(".ss-set img")) == 4
    for chart in panel.query_selector_all(".ss-chart canvas"):
        assert chart.evaluate(COLOURED) > 20
    loaded = "panel => [...panel.querySelectorAll('.ss-set img')].every(one => one.naturalWidth === 128)"
    editor.page.wait_for_function(loaded, arg=panel)


def test_the_numbers_are_the_server_s(finished, editor):
    """Oracle: the ui output in the server's history."""
    told = next(
        output["scenescope_training"][0]
        for entry in reversed(list(editor.server.get_json("/history").values()))
        for output in entry["outputs"].values()
        if "scenescope_training" in output
    )
    ious = [one.inner_text() for one in finished.query_selector_all(".ss-concept span")]
    for handle, text in zip(told["curves"]["iou"], ious, strict=True):
        assert text.startswith(f"IoU {told['curves']['iou'][handle]:.2f}")
    first = finished.query_selector(".ss-chart i").inner_text()
    assert float(first) == pytest.approx(told["curves"]["masked"][-1], rel=0.01)


def test_keys_walk_over_the_steps(finished, editor):
    """Oracle: the step that is spoken, and the chart's number at it; no key reaches the editor."""
    nodes = editor.page.evaluate("() => app.graph.nodes.length")
    finished.query_selector(".ss-charts").focus()
    last = finished.query_selector(".ss-chart i").inner_text()
    editor.page.keyboard.press("Home")
    editor.drawn()
    assert finished.query_selector(".ss-spoken").inner_text().startswith("step 1:")
    assert finished.query_selector(".ss-chart i").inner_text() != last
    editor.page.keyboard.press("ArrowRight")
    editor.drawn()
    assert finished.query_selector(".ss-spoken").inner_text().startswith("step 2:")
    editor.page.keyboard.press("Delete")
    editor.page.keyboard.press("Escape")
    editor.drawn()
    assert finished.query_selector(".ss-chart i").inner_text() == last
    assert editor.page.evaluate("() => app.graph.nodes.length") == nodes
    links = finished.query_selector_all(".ss-set a")
    assert all("opens in a new tab" in link.get_attribute("aria-label") for link in links)


def test_a_reload_brings_the_run_back_from_the_history(finished, editor):
    """Oracle: the sentence and the pictures, without a run."""
    editor.reload()
    panel = shown(editor)
    editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
    assert len(panel.query_selector_all(".ss-set img")) == 4


def test_a_reload_while_it_runs_goes_on_with_the_next_step(editor):
    """Oracle: the steps rise again after the reload; then the run is cancelled, and the dashboard says so."""
    build(editor, run_name=f"reloaded_{editor.renderer}", save_every=1000, sample_count=0)
    change = "() => app.graph.nodes.find(node => node.type === 'SceneScope_TrainSettings').widgets"
    editor.page.evaluate(change + ".find(widget => widget.name === 'preset.phase2_steps').value = 2000")
    panel = shown(editor)
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function(f"panel => ({STEP})(panel) >= 1", arg=panel)
    editor.reload()
    panel = shown(editor)
    editor.page.wait_for_function("panel => panel.querySelector('.ss-training')", arg=panel)
    editor.server.post("/interrupt", {})
    editor.page.wait_for_function("panel => panel.querySelector('.ss-stopped')", arg=panel)
    assert "Queue again to resume" in panel.inner_text()


@pytest.mark.parametrize("change", CHANGES)
def test_the_dashboard_survives(finished, editor, change):
    """Oracle: the node that is there afterwards shows the run; the console stays empty (the fixture looks)."""
    with changed(editor, change, TRAIN, "training"):
        panel = shown(editor)
        editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
        assert len(panel.query_selector_all(".ss-set img")) == 4


@pytest.mark.parametrize(("palette", "locale", "word"), [("light", "en", "Finished"), ("dark", "zh", "已完成")])
def test_it_follows_the_editor_s_theme_and_language(editor, palette, locale, word):
    """Oracle: the sentence in that language; ink and paper differ by far in lightness."""
    with editor.looks(palette, locale):
        build(editor)
        editor.run()
        panel = shown(editor)
        editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
        assert word in panel.inner_text()
        assert editor.contrast(panel) > 300
        editor.page.screenshot(path=ROOT / "artifacts" / "web" / f"training_{palette}_{locale}_{editor.renderer}.png")
