"""The example workflows as they stand on the canvas: no node covers another, before a run and after it."""

from __future__ import annotations

import pytest
from pack.devtools.comfyui import ROOT

NAMES = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
# Nodes grow with what they show: live maps and viewers, pictures, a line of text.
GROWING = ("first_heatmap", "hires_fix_two_runs", "record_any_sampler")
# Maps grow live in a real run only: with its own seed the example is run where its live maps are pictured.
ANEW = """
seed => {
  for (const node of app.graph.nodes.filter(node => node.type === 'KSampler'))
    node.widgets.find(widget => widget.name === 'seed').value = seed;
}
"""
# All of the graph in the window: the Vue renderer makes no element for a node that is out of sight.
FIT = """
() => {
  const boxes = app.graph.nodes.map(node => node.getBounding()), view = app.canvas.ds;
  view.scale = 0.2;
  view.offset[0] = 400 - Math.min(...boxes.map(box => box[0]));
  view.offset[1] = 600 - Math.min(...boxes.map(box => box[1]));
  app.canvas.setDirty(true, true);
}
"""
# Each node that was given pictures shows one, unless it has a panel in their place.
PICTURES = """
() => {
  const vue = app.extensionManager.setting.get('Comfy.VueNodes.Enabled');
  const given = app.graph.nodes.filter(node => app.nodeOutputs[node.id]?.images?.length && !node.hideOutputImages);
  const shown = node => vue ? document.querySelector(`[data-node-id="${node.id}"] img`) : node.imgs?.length;
  return given.length > 0 && given.every(shown);
}
"""
# Pairs of nodes that share a place, as the renderer has drawn them.
COVERED = """
() => {
  const vue = app.extensionManager.setting.get('Comfy.VueNodes.Enabled');
  const boxes = app.graph.nodes.map(node => {
    if (!vue) return [`${node.id} ${node.title}`, ...node.getBounding()];
    const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
    const sides = [box.left, box.top, box.width, box.height];
    return [`${node.id} ${node.title}`, ...sides.map(side => side / app.canvas.ds.scale)];
  });
  const shared = (a, b, at) => Math.min(a[at] + a[at + 2], b[at] + b[at + 2]) - Math.max(a[at], b[at]);
  return boxes.flatMap((a, at) => boxes.slice(at + 1)
    .filter(b => shared(a, b, 1) > 0 && shared(a, b, 2) > 0)
    .map(b => `${a[0]} and ${b[0]} by ${Math.round(shared(a, b, 2))}`));
}
"""


@pytest.mark.parametrize("name", NAMES)
def test_no_node_of_an_example_covers_another(editor, name):
    """Oracle: the boxes on the screen, two by two."""
    editor.load(name)
    editor.page.evaluate(FIT)
    editor.at_rest()
    assert editor.page.evaluate("() => app.graph.nodes.length") > 3
    assert editor.page.evaluate(COVERED) == []


@pytest.mark.parametrize("name", GROWING)
def test_no_node_of_an_example_covers_another_when_it_has_run(editor, name):
    """Oracle: the boxes on the screen, two by two, when pictures, maps and texts have come."""
    editor.load(name)
    editor.page.evaluate(ANEW, {"classic": 91, "vue": 92}[editor.renderer])
    editor.run()
    editor.page.evaluate(FIT)
    editor.page.wait_for_function(PICTURES)
    editor.at_rest()
    assert editor.page.evaluate(COVERED) == []
