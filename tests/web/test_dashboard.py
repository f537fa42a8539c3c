"""The training dashboard beside what the editor itself shows, and after runs that did not finish."""

from __future__ import annotations

from pack.tests.web.editor import Editor
from pack.tests.web.test_training import STEPS, TRAIN, build, shown
from playwright.sync_api import ElementHandle

# Pictures and texts that the editor itself has put on the training node and that can be seen.
DOUBLES = """
type => {
  const node = app.graph.nodes.find(node => node.type === type);
  const names = node.widgets.filter(widget => widget.name.startsWith('$$') && !widget.hidden).map(widget => widget.name);
  const images = document.querySelectorAll(`[data-node-id="${node.id}"] img`);
  return [...names, ...[...images].filter(one => !one.closest('.scenescope') && one.checkVisibility()).map(one => one.alt)];
}
"""
FEWER = "() => app.graph.nodes.find(node => node.type === 'SceneScope_TrainSettings').widgets"


def long_run(editor: Editor, name: str) -> ElementHandle:
    """Start a run that lasts, and watch its dashboard."""
    build(editor, run_name=f"{name}_{editor.renderer}", save_every=1000, sample_count=0)
    editor.page.evaluate(FEWER + ".find(widget => widget.name === 'preset.phase2_steps').value = 2000")
    editor.page.evaluate("() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.()")
    panel = shown(editor)
    editor.page.evaluate("() => app.queuePrompt(0)")
    return panel


def test_the_node_shows_each_thing_once(editor):
    """Oracle: what the editor puts on a node for pictures and texts, during a run and after it: nothing that is seen.

    The server sends them all the same, for those who have no dashboard: they arrive, and the history has the picture.
    """
    build(editor, run_name=f"once_{editor.renderer}")
    panel = shown(editor)
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function("() => Object.keys(app.nodePreviewImages).length > 0")
    editor.page.wait_for_timeout(300)
    assert editor.page.evaluate(DOUBLES, TRAIN) == []
    editor.idle()
    editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
    editor.page.wait_for_timeout(300)
    assert editor.page.evaluate(DOUBLES, TRAIN) == []
    assert panel.query_selector(".ss-state").inner_text() == f"Finished: {STEPS} steps"
    entry = list(editor.server.get_json("/history").values())[-1]
    (told,) = [output for output in entry["outputs"].values() if "scenescope_training" in output]
    assert len(told["images"]) == 1
