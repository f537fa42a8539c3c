"""What nodes say stays on them."""

from __future__ import annotations

from pack.tests.web.editor import BUILDING, Editor

# A scene with a thing that is too small: Build Scene warns of it.
BUILD = (
    "async () => {"
    + BUILDING
    + """
  const [scene, build] = [add('DemoScene', 0), add('BuildScene', 400)];
  for (const name of ['width', 'height']) put(scene, name, 128);
  put(scene, 'control_after_generate', 'fixed');
  put(build, 'resolution', 128);
  const at = (slots, name) => slots.findIndex(slot => slot.name === name);
  for (const [from, to] of [['IMAGE', 'image'], ['MASKS', 'masks.mask0']])
    scene.connect(at(scene.outputs, from), build, at(build.inputs, to));
}
"""
)
SILENT = """
() => {
  const node = String(app.graph.nodes.find(node => node.type === 'SceneScope_BuildScene').id);
  app.api.dispatchCustomEvent('executed', { node, display_node: node, output: { scenescope_text: [''] } });
}
"""
TEXT = """
() => app.graph.nodes.find(node => node.type === 'SceneScope_BuildScene')
  .widgets.find(widget => widget.name === '$$node-text-preview')?.value ?? ''
"""
SAID = f"() => ({TEXT})().includes('training map; aim for')"


def test_a_warning_is_there_again_after_a_reload_and_after_a_run_that_changes_nothing(editor: Editor):
    """Oracle: the text that was shown while the node ran; a page that was loaded again, before and after a queue.
    Before it, the text says that it is an earlier run's.
    """
    editor.page.evaluate(BUILD)
    editor.run()
    editor.page.wait_for_function(SAID)
    said = editor.page.evaluate(TEXT)
    workflow = editor.page.evaluate("() => app.graph.serialize()")
    editor.open()
    editor.load(workflow)
    editor.page.wait_for_function(SAID)
    assert editor.page.evaluate(TEXT) == f"Earlier run: {said}"
    editor.run()
    assert editor.page.evaluate(TEXT) == said
    fresh = "() => app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() })"
    editor.page.evaluate(fresh)
    assert editor.page.evaluate(TEXT) == ""
    editor.run()
    editor.page.wait_for_function(SAID)
    assert editor.page.evaluate(TEXT) == said


def test_a_warning_is_gone_when_a_run_had_nothing_to_say(editor: Editor):
    """Oracle: by hand: the server tells of a run that left an empty text, which the host alone would pass over."""
    editor.page.evaluate(BUILD)
    editor.run()
    editor.page.wait_for_function(SAID)
    editor.page.evaluate(SILENT)
    assert editor.page.evaluate(TEXT) == ""
