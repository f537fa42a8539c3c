"""What panels say can be read: contrast in the light and in the dark theme, and cautions that are never cut."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.dashboard import test_training
from pack.tests.web.editor import Editor
from pack.tests.web.painter.painter import GRAPH
from pack.tests.web.viewer.test_live import SET
from playwright.sync_api import ElementHandle

# Contrasts by WCAG 2.2 (1.4.3 and 1.4.11) of all that is seen in a panel and is not switched off: of each text with
# what lies under it, and of each edge of something that is pressed or written in with the panel's paper.
LOW = """
panel => {
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parts = colour => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, under) => [0, 1, 2].map(at => top[at] * top[3] + under[at] * (1 - top[3]));
  const light = colour => {
    const [red, green, blue] = colour.slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = element => {
    const layers = [];
    for (let at = element; at; at = at === panel ? null : at.parentElement) {
      layers.unshift(parts(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  const note = (what, element, got, wanted) => {
    if (got < wanted) found.push(`${what} ${element.className || element.tagName} ${got.toFixed(2)}`);
  };
  const fades = element => {
    let opacity = 1;
    for (let at = element; at !== panel.parentElement; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    return opacity;
  };
  const ink = (element, colour, under) => {
    const [red, green, blue, alpha] = parts(colour);
    return over([red, green, blue, alpha * fades(element)], under);
  };
  for (const element of panel.querySelectorAll('*')) {
    if (!element.checkVisibility() || element.disabled || element.closest('.ss-spoken, option')) continue;
    const style = getComputedStyle(element), under = ground(element);
    const said = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (said) note('text', element, contrast(ink(element, style.color, under), under), 4.5);
    if (element.placeholder && !element.value) {
      const placed = getComputedStyle(element, '::placeholder');
      const colour = ink(element, placed.color, under);
      note('placeholder', element, contrast(colour, under), 4.5);
    }
    if (element.matches('button:not(.ss-swatch), select, input[type=text], .ss-progress, .ss-skip')) {
      const paper = ground(element.parentElement);
      note('line', element, contrast(ink(element, style.borderTopColor, paper), paper), 3);
    }
  }
  return [...new Set(found)];
}
"""
LONG = "A caution that goes on and on, " * 40 + "without_a_place_to_break" * 12
# Put a long text where a panel says something; return those that are cut: too wide, or lower than the panel's end.
CUT = """
([panel, long]) => {
  const cut = [];
  const outer = panel.getBoundingClientRect();
  for (const said of panel.querySelectorAll('p:not(.ss-spoken), .ss-advice, [role=status], [role=alert]')) {
    const [text, hidden] = [said.textContent, said.hidden];
    said.textContent = long;
    said.hidden = false;
    if (said.checkVisibility()) {
      const [box, style] = [said.getBoundingClientRect(), getComputedStyle(said)];
      let scrolls = false;
      for (let at = said; at && at !== panel; at = at.parentElement) {
        scrolls ||= ['auto', 'scroll'].includes(getComputedStyle(at).overflowY);
      }
      if (said.scrollWidth > said.clientWidth) cut.push(`${said.className} is too wide`);
      if (style.overflowY === 'hidden' && said.scrollHeight > said.clientHeight) cut.push(`${said.className} is cut`);
      if (!scrolls && box.bottom > outer.bottom + 1) cut.push(`${said.className} ends below the panel`);
    }
    said.textContent = text;
    said.hidden = hidden;
  }
  return cut;
}
"""


def ran(editor: Editor, example: str, node: str, kind: str, part: str, **sampling: int) -> ElementHandle:
    """The panel of a node after a run of an example, when a part of it is there."""
    editor.load(example)
    if sampling:
        editor.page.evaluate(SET, ["KSampler", sampling])
    editor.run()
    editor.look_at(f"SceneScope_{node}")
    panel = editor.panel(f"SceneScope_{node}", kind)
    editor.page.wait_for_function("([panel, part]) => panel.querySelector(part)", arg=[panel, part])
    return panel


def viewer(editor: Editor) -> ElementHandle:
    """The viewer of a run."""
    return ran(editor, "first_heatmap", "TokenHeatmap", "viewer", ".ss-chip")


def dashboard(editor: Editor) -> ElementHandle:
    """The dashboard of a run."""
    test_training.build(editor)
    editor.run()
    panel = test_training.shown(editor)
    editor.page.wait_for_function("panel => panel.querySelector('.ss-finished')", arg=panel)
    return panel


def shapes(editor: Editor) -> ElementHandle:
    """The drawing of a run."""
    return ran(editor, "shape_log", "BlockShapes", "shapes", ".ss-block")


def painter(editor: Editor) -> ElementHandle:
    """The painter, before a picture is there."""
    editor.page.evaluate(GRAPH, ["example.png", False])
    editor.look_at("SceneScope_BuildScene")
    return editor.panel("SceneScope_BuildScene", "painter")


def live(editor: Editor) -> ElementHandle:
    """The maps that have grown on Record Attention, in a run of its own."""
    seed = {"classic": 81, "vue": 82}[editor.renderer]
    return ran(editor, "record_any_sampler", "RecordAttention", "live", ".ss-live-tile", seed=seed)


def older(editor: Editor) -> ElementHandle:
    """A viewer whose node has failed since, with the maps of the run before."""
    panel = viewer(editor)
    wrong = "node => node.type === 'SceneScope_TokenHeatmap'"
    editor.page.evaluate(f"() => {{ app.graph.nodes.find({wrong}).widgets[0].value = 'no such word'; }}")
    editor.run()
    editor.page.keyboard.press("Escape")  # the editor's own words about it
    editor.page.wait_for_function("panel => panel.querySelector('.ss-old-note')", arg=panel)
    return panel


@pytest.mark.parametrize("show", [viewer, dashboard, shapes, painter, live, older])
def test_what_a_panel_says_can_be_read(editor: Editor, show: Callable[[Editor], ElementHandle]):
    """Oracle: WCAG's contrasts, 4.5 of text and 3 of lines, worked out from the styles on the screen in the light and
    in the dark theme; and a very long caution in each place, which wraps or scrolls.
    """
    panel = show(editor)
    for palette in ("dark", "light"):
        with editor.looks(palette):
            editor.drawn()
            editor.page.screenshot(path=f"artifacts/web/readable_{show.__name__}_{palette}_{editor.renderer}.png")
            assert editor.page.evaluate(LOW, panel) == [], palette
    assert editor.page.evaluate(CUT, [panel, LONG]) == []


@pytest.mark.parametrize("opened", ["vue"], indirect=True, scope="session")
def test_the_notes_of_the_examples_can_be_read_where_they_have_a_colour(editor: Editor):
    """Oracle: as above, in Nodes 2.0, where the editor writes names in backticks in blue, on the note's own colour."""
    for file in sorted((ROOT / "example_workflows").glob("*.json")):
        notes = [node for node in json.loads(file.read_text("utf-8"))["nodes"] if node["type"] == "MarkdownNote"]
        assert not [node["id"] for node in notes if "`" in node["widgets_values"][0]], file.name
    editor.load("tokens_subsets")
    editor.look_at("MarkdownNote")
    note = editor.page.wait_for_selector("[data-node-id='1'] strong >> xpath=ancestor::*[@data-node-id]")
    for palette in ("dark", "light"):
        with editor.looks(palette):
            editor.drawn()
            assert editor.page.evaluate(LOW, note) == [], palette
