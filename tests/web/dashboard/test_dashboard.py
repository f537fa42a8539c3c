"""The training dashboard beside what the editor itself shows, and after runs that did not finish."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pack.tests.web.dashboard.test_training import STEP, STEPS, TRAIN, build, shown
from pack.tests.web.editor import Editor
from playwright.sync_api import ElementHandle

# Pictures and texts that the editor itself has put on the training node and that can be seen.
DOUBLES = """
type => {
  const node = app.graph.nodes.find(node => node.type === type);
  const widgets = node.widgets.filter(widget => widget.name.startsWith('$$') && !widget.hidden);
  const images = [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)];
  const seen = images.filter(image => !image.closest('.scenescope') && image.checkVisibility());
  return [...widgets.map(widget => widget.name), ...seen.map(image => image.alt)];
}
"""
# The same, at the second drawing after each picture of a step: a short run is over before a busy page asks.
NOTE_DOUBLES = f"""
type => {{
  window.doubles = [];
  const note = () => window.doubles.push(({DOUBLES.strip()})(type));
  for (const kind of ["b_preview", "b_preview_with_metadata"])
    app.api.addEventListener(kind, () => requestAnimationFrame(() => requestAnimationFrame(note)));
}}
"""
CUT = """
panel => [...panel.querySelectorAll("figcaption b")].filter(title => title.scrollWidth > title.clientWidth)
  .map(title => title.innerText)
"""
NARROW = "type => { const node = app.graph.nodes.find(node => node.type === type); node.setSize([480, node.size[1]]); }"
SETTINGS = "app.graph.nodes.find(node => node.type === 'SceneScope_TrainSettings')"
LONGER = f"() => {SETTINGS}.widgets.find(widget => widget.name === 'preset.phase2_steps').value = 2000"
CAPTURE = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.()"


def long_run(editor: Editor, **widgets: Any) -> ElementHandle:
    """Start a run that lasts; its dashboard when some steps have been seen."""
    build(editor, sample_count=0, **widgets)
    editor.page.evaluate(LONGER)
    editor.page.evaluate(CAPTURE)
    panel = shown(editor)
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function(f"panel => ({STEP})(panel) >= 4", arg=panel)
    return panel


def stopped(editor: Editor, panel: ElementHandle) -> str:
    """What the dashboard says when the run has stopped."""
    editor.page.wait_for_function("panel => panel.querySelector('.ss-stopped')", arg=panel)
    editor.idle()
    editor.at_rest()
    return panel.inner_text()


def reloaded(editor: Editor) -> ElementHandle:
    """The dashboard after a reload of the page."""
    editor.reload()
    return shown(editor)


def put_in_the_way(file: Path) -> None:
    """Put a folder where a file is written again and again, also where it is written between two looks."""
    while not file.is_dir():
        file.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            (file / "in the way").mkdir(parents=True)


def test_the_node_shows_each_thing_once(editor):
    """Oracle: what the editor puts on a node for pictures and texts, during a run and after it: nothing that is seen.
    The titles of the curves are whole at the width that the examples have.

    The server sends them all the same, for those who have no dashboard: they arrive, and the history has the picture.
    """
    build(editor, run_name=f"once_{editor.renderer}")
    panel = shown(editor)
    editor.page.evaluate(NOTE_DOUBLES, TRAIN)
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function("() => window.doubles.length > 0")
    editor.idle()
    editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
    editor.at_rest()
    assert editor.page.evaluate(DOUBLES, TRAIN) == []
    assert editor.page.evaluate("() => window.doubles.flat()") == []
    assert panel.query_selector(".ss-state").inner_text() == f"Finished: {STEPS} steps"
    editor.page.evaluate(NARROW, TRAIN)
    editor.drawn()
    assert editor.page.evaluate(CUT, panel) == []
    entry = list(editor.server.get_json("/history").values())[-1]
    (told,) = [output for output in entry["outputs"].values() if "scenescope_training" in output]
    assert len(told["images"]) == 1


def test_a_cancelled_run_is_there_again_after_a_reload(editor):
    """Oracle: all that the dashboard said before the reload; nothing runs, and the run has no name of its own."""
    panel = long_run(editor, run_name="")
    editor.server.post("/interrupt", {})
    before = stopped(editor, panel)
    assert "of 2008. Queue again to resume." in before
    panel = reloaded(editor)
    assert stopped(editor, panel) == before
    assert len(panel.query_selector_all(".ss-concept canvas")) == 4


def test_a_run_that_failed_is_there_again_after_a_reload(editor):
    """Oracle: all that it said before; the failure is real: a folder comes to stand where the state is written."""
    name = f"failed_{editor.renderer}"
    panel = long_run(editor, run_name=name, save_every=2)
    put_in_the_way(editor.server.place.base / "output" / "training" / name / "state.safetensors")
    before = stopped(editor, panel)
    assert "of 2008. Queue again to resume." in before
    editor.page.keyboard.press("Escape")  # the editor's own words about the failure
    panel = reloaded(editor)
    assert stopped(editor, panel) == before
    assert len(panel.query_selector_all(".ss-concept canvas")) == 4
