"""The subgraph blueprints: found by name among the nodes, put on the canvas as one node, and run."""

from __future__ import annotations

import json

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.editor import Editor
from pack.tests.web.examples.test_first_minute import SHORT

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
LEARN, USE, PAINT = "Learn One Thing", "Use Learned Things", "Inpaint by Word"
OUTER = ("SceneScope_DemoModel", "SceneScope_DemoScene", "SceneScope_TrainSettings", *["PreviewImage"] * 2)
SCENE = {
    "nodes": [
        {"id": at, "type": name, "title": f"{name} {at}", "pos": [100, 700 + 300 * at], "size": [300, 200]}
        for at, name in enumerate(OUTER)
    ],
    "links": [],
    "version": 0.4,
}
MODEL_TO = [("SceneScope_DemoModel 0", name, name.lower()) for name in ("MODEL", "CLIP", "VAE")]
WIRES = [
    *[(source, out, blueprint, into) for blueprint in (LEARN, USE, PAINT) for source, out, into in MODEL_TO],
    ("SceneScope_DemoScene 1", "IMAGE", LEARN, "image"),
    ("SceneScope_DemoScene 1", "MASK 1", LEARN, "mask"),
    ("SceneScope_TrainSettings 2", "SETTINGS", LEARN, "settings"),
    (LEARN, "concepts", USE, "concepts"),
    ("SceneScope_DemoScene 1", "IMAGE", PAINT, "image"),
    (USE, "images", "PreviewImage 3", "images"),
    (PAINT, "image", "PreviewImage 4", "images"),
]
WIDGETS = [
    ("SceneScope_TrainSettings 2", SHORT),
    (LEARN, {"starting word": "square", "resolution": 128}),
    (USE, {"seeds": 2, "steps": 2, "width": 128, "height": 128}),
    (PAINT, {"what the picture shows": "a photo of a red circle", "words to replace": "red circle"}),
]
WIRE = """
([wires, widgets]) => {
  const titled = title => app.graph.nodes.find(node => node.title === title);
  const at = (slots, name) => slots.findIndex(slot => (slot.label ?? slot.name) === name);
  const links = wires.map(([from, out, to, into]) =>
    titled(from).connect(at(titled(from).outputs, out), titled(to), at(titled(to).inputs, into)));
  for (const [title, values] of widgets)
    for (const [name, value] of Object.entries(values))
      titled(title).widgets.find(widget => [widget.label, widget.name].includes(name)).value = value;
  return links.filter(Boolean).length;
}
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


def test_what_one_blueprint_learns_another_uses_and_a_third_paints_anew(editor):
    """Oracle: the server's history: two pictures of what was learned, and one that was painted afresh."""
    editor.load(SCENE)
    for name in (LEARN, USE, PAINT):
        put(editor, name)
    assert editor.page.evaluate(WIRE, [WIRES, WIDGETS]) == len(WIRES)
    editor.run()
    *_, last = editor.server.get_json("/history").values()
    assert last["status"]["status_str"] == "success"
    assert [len(last["outputs"][str(node)]["images"]) for node in (3, 4)] == [2, 1]
