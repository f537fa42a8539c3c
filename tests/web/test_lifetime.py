"""A panel lives as long as its node: nothing that listens or watches is left behind."""

from __future__ import annotations

import pytest
from pack.tests.web.editor import Editor

pytestmark = pytest.mark.parametrize("opened", ["classic"], indirect=True, scope="session")
# Notes which observers watch parts of panels, and which painters listen to the page.
COUNT = """
() => {
  const { observe, disconnect } = ResizeObserver.prototype, listen = document.addEventListener;
  const going = (window.going = new Set());
  ResizeObserver.prototype.observe = function (part, ...more) {
    if (/^(ss-|scenescope)/.test(part.className)) going.add(this);
    return observe.call(this, part, ...more);
  };
  ResizeObserver.prototype.disconnect = function () {
    going.delete(this);
    return disconnect.call(this);
  };
  document.addEventListener = function (kind, then, options) {
    if (kind === 'pointermove' && options?.signal) {
      going.add(then);
      options.signal.addEventListener('abort', () => going.delete(then));
    }
    return listen.call(this, kind, then, options);
  };
  window.asBefore = () => {
    Object.assign(ResizeObserver.prototype, { observe, disconnect });
    delete document.addEventListener;
  };
}
"""
EMPTY = "() => app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [] })"
BUILD = """
() => {
  window.going.clear();
  for (const [at, name] of ['BuildScene', 'AttentionMaps', 'RecordAttention', 'TrainConcepts'].entries()) {
    const node = LiteGraph.createNode('SceneScope_' + name);
    node.pos = [500 * at, 0];
    app.graph.add(node);
  }
}
"""
GOING = "() => window.going.size"


def test_what_watches_goes_with_its_node(editor: Editor):
    """Oracle: how many observers and listeners four nodes have; a copy that never comes into a graph has none, a
    subgraph and what opens it anew have as many, and an empty graph has none.
    """
    editor.page.evaluate(COUNT)
    try:
        editor.page.evaluate(EMPTY)
        editor.page.evaluate(BUILD)
        many = editor.page.evaluate(GOING)
        assert many >= 5
        editor.page.evaluate("() => app.graph.nodes.forEach(node => node.clone())")
        assert editor.page.evaluate(GOING) == many
        editor.page.evaluate("() => app.graph.convertToSubgraph(new Set(app.graph.nodes))")
        assert editor.page.evaluate(GOING) == many
        for _ in range(2):
            editor.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
            assert editor.page.evaluate(GOING) == many
        editor.page.evaluate(EMPTY)
        assert editor.page.evaluate(GOING) == 0
    finally:
        editor.page.evaluate("() => window.asBefore()")
