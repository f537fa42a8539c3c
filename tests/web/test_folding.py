"""Expert inputs, folded in both renderers, and the controls of inputs that come and go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pack.tests.web.editor import Editor

SETTINGS = "SceneScope_TrainSettings"
# A node by itself, or behind an integer that is linked to one of its inputs.
NEW = """
async ([type, linked]) => {
  await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [] });
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  if (linked) {
    const given = LiteGraph.createNode('PrimitiveInt');
    given.pos = [-300, 0];
    app.graph.add(given);
    given.connect(0, node, node.inputs.findIndex(input => input.name === linked));
  }
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
NODE = "const node = app.graph.getNodeById(1);"
# The names of what a person sees on the node.
SEEN = {
    "classic": f"() => {{ {NODE} return node.widgets.filter(w => node.isWidgetVisible(w)).map(w => w.label); }}",
    "vue": """() => [...document.querySelectorAll('[data-node-id="1"] [data-testid=node-widget]')]
      .map(element => (element.querySelector('[data-testid=widget-layout-field-label]') ?? element).innerText)""",
}
EXPERT = f"() => {{ {NODE} return node.widgets.filter(one => one.options.advanced).map(one => one.label); }}"
# Where the button of the classic renderer is on the screen.
BUTTON = f"""
() => {{
  {NODE}
  const widget = node.widgets.find(widget => widget.name === 'scenescope_fold');
  const view = app.canvas.ds, box = app.canvas.canvas.getBoundingClientRect();
  return [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10]
    .map((at, axis) => (at + view.offset[axis]) * view.scale + [box.left, box.top][axis]);
}}
"""
HEIGHT = f"() => {{ {NODE} return node.size[1]; }}"
CONTROLS = f"() => {{ {NODE} return node.widgets.filter(one => one.options.values?.includes?.('randomize')).length; }}"
PUT = f"([name, value]) => {{ {NODE} node.widgets.find(widget => widget.name === name).value = value; }}"
VALUES = f"""
() => {{
  {NODE}
  return node.widgets.filter(one => one.serialize !== false).map(one => [one.name, one.value]);
}}
"""


def press(editor: Editor) -> None:
    """Open or fold the expert inputs of the node, as a person would."""
    if editor.renderer == "classic":
        editor.page.mouse.click(*editor.page.evaluate(BUTTON))
    else:
        editor.page.locator('[data-node-id="1"]').get_by_text("advanced inputs").evaluate("label => label.click()")
    editor.away()
    editor.drawn()


def seen(editor: Editor) -> list[str]:
    """The names of the inputs that are seen."""
    if editor.renderer == "vue":  # an input of a new kind is empty until the script of that kind is there
        editor.page.wait_for_function(f"() => ({SEEN['vue']})().every(Boolean)")
    return list(editor.page.evaluate(SEEN[editor.renderer]))


def values(editor: Editor) -> dict[str, Any]:
    """The values that the node would run with."""
    return dict(editor.page.evaluate("async () => (await app.graphToPrompt()).output['1'].inputs"))


@pytest.mark.parametrize("node_type", [SETTINGS, "SceneScope_RecordAttention"])
def test_expert_inputs_are_folded_until_they_are_asked_for(editor, node_type):
    """Oracle: the schema's expert inputs: which are seen, before and after a click, after a reload of the workflow, and
    folded again; the values that would run are the same all along, and so is the height in the end.
    """
    editor.page.evaluate(NEW, [node_type, ""])
    editor.look_at(node_type)
    expert, given, height = set(editor.page.evaluate(EXPERT)), values(editor), editor.page.evaluate(HEIGHT)
    assert len(expert) > 3
    assert not expert & set(seen(editor))
    press(editor)
    assert expert <= set(seen(editor))
    assert values(editor) == given
    editor.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    editor.look_at(node_type)
    assert expert <= set(seen(editor))
    press(editor)
    assert not expert & set(seen(editor))
    assert values(editor) == given
    if editor.renderer == "classic":
        assert editor.page.evaluate(HEIGHT) == height


def test_an_expert_input_that_is_linked_stays_in_sight(editor):
    """Oracle: the one input that a link leads to is seen, the others are not."""
    editor.page.evaluate(NEW, [SETTINGS, "preset.batch"])
    editor.look_at(SETTINGS)
    assert set(editor.page.evaluate(EXPERT)) & set(seen(editor)) == {"batch"}


def test_each_preset_has_one_control_of_its_seed_and_what_was_chosen_is_saved(editor):
    """Oracle: by hand: one seed, one control, however often the preset changes and the workflow is opened again; all
    values of the node come back, the control's among them.
    """
    editor.page.evaluate(NEW, [SETTINGS, ""])
    for preset in ("full", "lora", "full", "lora", "full"):
        editor.page.evaluate(PUT, ["preset", preset])
        editor.drawn()
        assert editor.page.evaluate(CONTROLS) == 1
    for name, value in (("preset.seed", 7), ("preset.adam_epsilon", 0.25), ("preset.clip", 3), ("fixed", "increment")):
        editor.page.evaluate(PUT, [name, value])
    before = editor.page.evaluate(VALUES)
    assert json.dumps(before).count("increment") == 1
    for _ in range(2):
        editor.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
        editor.drawn()
        assert editor.page.evaluate(VALUES) == before
        assert editor.page.evaluate(CONTROLS) == 1
