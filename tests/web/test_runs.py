"""Whose a run is: what is told of it reaches the workflow that queued it, and marks the nodes that it was to come to.

The messages are written by hand, as the server of ComfyUI 0.33 sends them (`execution.py`): no run is made.
"""

from __future__ import annotations

from typing import Any

import pytest
from pack.tests.web.editor import Editor

RECORD = "SceneScope_RecordAttention"
pytestmark = pytest.mark.parametrize("opened", ["classic"], indirect=True, scope="session")
# Record Attention as node 1, a sampler behind it as node 2; the workflow's id.
BUILD = """
async () => {
  await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [] });
  const [record, sampler] = ['SceneScope_RecordAttention', 'KSampler'].map(type => LiteGraph.createNode(type));
  sampler.pos = [500, 0];
  for (const node of [record, sampler]) app.graph.add(node);
  record.connect(0, sampler, 0);
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
  return app.graph.id;
}
"""
ANEW = "async id => app.loadGraphData({ ...app.graph.serialize(), id })"
# Back to a tab that is open, with all that the host keeps of it.
BACK = """
id => {
  const tab = app.extensionManager.workflow.openWorkflows.find(one => one.activeState?.id === id);
  return app.loadGraphData(JSON.parse(JSON.stringify(tab.activeState)), true, true, tab);
}
"""
# A prompt that the server takes, without one.
QUEUE = """
async ([prompt, ids]) => {
  const { fetchApi } = app.api;
  app.api.fetchApi = async () => new Response(JSON.stringify({ prompt_id: prompt, number: 1, node_errors: {} }));
  const output = Object.fromEntries(ids.map(id => [id, { class_type: 'Any', inputs: {} }]));
  await app.api.queuePrompt(0, { output, workflow: { id: app.graph.id } });
  app.api.fetchApi = fetchApi;
}
"""
TELL = "([event, detail]) => { app.api.dispatchCustomEvent(event, detail); }"
MAPS = {"status": "sampling", "step": 2, "steps": 3, "note": None, "latent": [8, 8], "maps": []}
TOLD = "Step 2 of 3: means of the steps so far"


def told(editor: Editor, prompt: str, ids: list[str], *events: tuple[str, dict[str, Any]]) -> None:
    """Queue a prompt that is to run some nodes, and let the server tell of it."""
    editor.page.evaluate(QUEUE, [prompt, ids])
    for event, detail in (("execution_start", {}), *events):
        editor.page.evaluate(TELL, [event, {"prompt_id": prompt} | detail])


def state(editor: Editor) -> str:
    """What Record Attention says."""
    return editor.panel(RECORD, "live").query_selector(".ss-state").inner_text()


def is_marked(editor: Editor) -> bool:
    """Whether it says that it is an earlier run's."""
    return editor.panel(RECORD, "live").query_selector(".ss-old-note") is not None


def test_what_is_told_of_another_workflow_s_run_waits_until_that_is_open(editor: Editor):
    """Oracle: a second workflow with nodes of the same ids stays as it is, also when it is opened anew after the host
    has put the result on its node; the first has what was told while it was away.
    """
    first = editor.page.evaluate(BUILD)
    editor.page.evaluate(QUEUE, ["first", ["1", "2"]])
    second = editor.page.evaluate("() => crypto.randomUUID()")
    editor.page.evaluate(ANEW, second)
    quiet = state(editor)
    done = {"node": "1", "display_node": "1", "output": {"scenescope_live": [MAPS | {"status": "done"}]}}
    for event, detail in (
        ("execution_start", {"prompt_id": "first"}),
        ("scenescope.live", {"node": "1"} | MAPS),
        ("executed", {"prompt_id": "first"} | done),
        ("execution_success", {"prompt_id": "first"}),
    ):
        editor.page.evaluate(TELL, [event, detail])
    assert state(editor) == quiet
    editor.page.evaluate(ANEW, second)
    editor.drawn()
    assert state(editor) == quiet
    editor.page.evaluate("() => (app.nodeOutputs = {})")  # the host keeps those of each workflow apart
    editor.page.evaluate(ANEW, first)
    assert state(editor) == "Means of all 3 steps"
    told(editor, "again", ["1", "2"], ("scenescope.live", {"node": "1"} | MAPS | {"step": 3}))
    assert state(editor) == TOLD.replace("2", "3", 1)
    editor.page.evaluate(TELL, ["execution_success", {"prompt_id": "again"}])


def test_a_result_that_came_while_another_workflow_was_open_replaces_an_earlier_one(editor: Editor):
    """Oracle: by hand: the maps of the second run, and not those of the first, which the host has kept with the tab."""
    first = editor.page.evaluate(BUILD)
    done = [{"node": "1", "display_node": "1", "output": {"scenescope_live": [MAPS | {"step": n}]}} for n in (2, 3)]
    told(editor, "earlier", ["1", "2"], ("executed", done[0]), ("execution_success", {}))
    assert state(editor) == TOLD
    editor.page.evaluate(QUEUE, ["later", ["1", "2"]])
    empty = "id => app.loadGraphData({ version: 0.4, id, last_node_id: 0, last_link_id: 0, nodes: [], links: [] })"
    editor.page.evaluate(empty, editor.page.evaluate("() => crypto.randomUUID()"))
    for event, detail in (("execution_start", {}), ("executed", done[1]), ("execution_success", {})):
        editor.page.evaluate(TELL, [event, {"prompt_id": "later"} | detail])
    editor.page.evaluate(BACK, first)
    editor.drawn()
    assert state(editor) == TOLD.replace("2", "3", 1)
    assert not is_marked(editor)


def test_a_run_says_nothing_of_nodes_that_it_was_not_to_come_to(editor: Editor):
    """Oracle: by hand: the mark of a cancelled run, which one without the node leaves, and one with it takes away."""
    editor.page.evaluate(BUILD)
    cancelled = ("execution_interrupted", {"node_id": "2", "executed": []})
    told(editor, "shown", ["1", "2"], ("scenescope.live", {"node": "1"} | MAPS), ("execution_success", {}))
    assert not is_marked(editor)
    told(editor, "muted", ["2"], cancelled)
    assert not is_marked(editor)
    told(editor, "cancelled", ["1", "2"], cancelled)
    assert is_marked(editor)
    told(editor, "muted too", ["2"], ("execution_success", {}))
    assert is_marked(editor)
    told(editor, "all", ["1", "2"], ("execution_success", {}))
    assert not is_marked(editor)


@pytest.mark.parametrize("inside", [1, 2])
def test_the_sampler_that_a_record_waits_for_is_found_across_the_border_of_a_subgraph(editor: Editor, inside: int):
    """Oracle: by hand: the maps are no older than a run that took its sampler's result over, and are older than one
    that ended before it; with the sampler in a subgraph, and with the record in one.
    """
    editor.page.evaluate(BUILD)
    into = "id => app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])).node.id"
    holder = editor.page.evaluate(into, inside)
    record, sampler = (f"{holder}:{node}" if node == inside else str(node) for node in (1, 2))
    ids = [record, sampler]
    open_it = "id => app.canvas.setGraph(app.graph.getNodeById(id).subgraph)"
    if inside == 1:
        editor.page.evaluate(open_it, holder)
    try:
        told(editor, "shown", ids, ("scenescope.live", {"node": record} | MAPS), ("execution_success", {}))
        end = ("execution_interrupted", {"node_id": "9", "executed": []})
        told(editor, "taken over", ids, ("execution_cached", {"nodes": [sampler]}), end)
        assert not is_marked(editor)
        told(editor, "cancelled", ids, ("execution_cached", {"nodes": [record]}), end)
        assert is_marked(editor)
    finally:
        editor.page.evaluate("() => app.canvas.setGraph(app.rootGraph)")
