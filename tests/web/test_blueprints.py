"""The subgraph blueprints: found by name among the nodes, put on the canvas as one node, and run."""

from __future__ import annotations

import json

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.editor import Editor

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
EMPTY = {"nodes": [], "links": [], "version": 0.4}
MODEL = {
    "nodes": [{"id": 1, "type": "SceneScope_DemoModel", "pos": [100, 650], "size": [300, 70]}],
    "links": [],
    "version": 0.4,
}
NODE = "app.graph.nodes.find(node => node.title === title)"
SLOTS = f"""
title => {NODE}.inputs.filter(slot => !slot.widget).map(slot => slot.label ?? slot.name)
  .concat({NODE}.widgets.map(widget => widget.label ?? widget.name))
"""
CONNECT = f"""
title => {{
  const node = {NODE}, model = app.graph.nodes.find(node => node.type === 'SceneScope_DemoModel');
  for (const slot of [0, 1, 2]) model.connect(slot, node, slot);
  for (const [name, value] of [['width', 128], ['height', 128], ['steps', 4]])
    node.widgets.find(widget => widget.name === name).value = value;
}}
"""
# A node that still hangs on the pointer takes the next one of its number away from the graph.
PLACED = "() => app.canvas.state.ghostNodeId === null"


def put(editor: Editor, name: str, typed: str = "") -> None:
    """Search for a node as a person does, and put the first that is found on the canvas.

    It hangs on the pointer until a click. By its name, or by what else is typed.
    """
    # By the editor's command: two clicks of a busy browser are not always near enough in time to be a double one.
    editor.page.mouse.move(900, 850)
    editor.page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    editor.page.wait_for_function("() => document.activeElement.matches('input')")
    editor.page.keyboard.type(typed or name)
    editor.page.get_by_role("heading", name=name, exact=True).wait_for()  # of the first that was found: it is chosen
    editor.page.keyboard.press("Enter")
    editor.page.wait_for_function("title => app.graph.nodes.some(node => node.title === title)", arg=name)
    editor.page.mouse.move(700, 200, steps=5)
    editor.drawn()  # the node has followed: its fields no longer lie under the pointer
    editor.page.mouse.click(700, 200)
    editor.page.wait_for_function(PLACED)
    editor.drawn()


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_blueprint_is_found_by_its_name_and_is_one_node(editor, file):
    """Oracle: the file: the node asks for what it lists, by its labels, sockets first."""
    (host,) = json.loads(file.read_text("utf-8"))["nodes"]
    names = [(slot.get("label", slot["name"]), "widget" in slot) for slot in host["inputs"]]
    editor.load(EMPTY)
    put(editor, file.stem)
    shown = editor.page.evaluate(SLOTS, file.stem)
    assert shown == [name for name, _ in sorted(names, key=lambda pair: pair[1])]


def test_a_blueprint_runs_with_the_demo_model(editor):
    """Oracle: the server's history: the heatmap inside was drawn."""
    editor.load(MODEL)
    put(editor, "Prompt Heatmap")
    editor.page.evaluate(CONNECT, "Prompt Heatmap")
    editor.run()
    *_, last = editor.server.get_json("/history").values()
    assert last["status"]["status_str"] == "success"
    assert [len(output["images"]) for output in last["outputs"].values() if "images" in output] == [1]
