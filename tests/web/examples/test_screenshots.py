"""The help pages' screenshots of nodes show the nodes as they are.

`SCENESCOPE_PICTURES=1 pytest tests/web/examples/test_screenshots.py` takes them afresh.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pack.devtools.comfyui import ROOT
from pack.scenescope.world.scene import Layout, Thing, draw
from pack.tests.web.dashboard.test_training import STEP, TRAIN, build
from pack.tests.web.editor import Editor
from pack.tests.web.examples.test_templates import CARDS, FIRST, OPEN
from pack.tests.web.painter.painter import BUILD, GRAPH, HEIGHT, WIDTH, Painter
from pack.tests.web.shapes.test_shapes import ADD, SHAPES
from pack.tests.web.viewer.test_live import RECORD, SAMPLER
from pack.tests.web.viewer.test_viewer import chip
from PIL import Image
from playwright.sync_api import FloatRect

PICTURES = ROOT / "web" / "docs" / "images"
ANEW = "SCENESCOPE_PICTURES"
MAPS, HEATMAP, OVERLAY = "SceneScope_AttentionMaps", "SceneScope_TokenHeatmap", "SceneScope_HeatmapOverlay"
ALIKE = 0.03  # by how much a node's proportions may differ: fonts of two machines break lines in their own ways
QUALITY = 86
EDGE = 6  # pixels around a node
LONG = 600_000  # milliseconds for a training of which a picture is taken
# Where a node or a panel is in the window; a node's own box has its title.
BOXES = {
    "node": """type => {
      const node = app.graph.nodes.filter(node => node.type === type).at(-1), view = app.canvas.ds;
      const [x, y, width, height] = node.getBounding(), { left, top } = app.canvas.canvas.getBoundingClientRect();
      const at = [left + (x + view.offset[0]) * view.scale, top + (y + view.offset[1]) * view.scale];
      return { x: at[0], y: at[1], width: width * view.scale, height: height * view.scale };
    }""",
    "panel": """type => app.graph.nodes.filter(node => node.type === type).at(-1)
      .widgets.find(one => one.element?.dataset?.scenescope).element.getBoundingClientRect().toJSON()""",
}
LOADED = """
() => [...document.querySelectorAll('[data-testid^="template-workflow-"] img')]
  .every(image => image.complete && image.naturalWidth)
"""
# The node at a width at which its panel is comfortable, away from the others, with nothing of the editor over it.
LOOK = """
([type, width]) => {
  const node = app.graph.nodes.filter(node => node.type === type).at(-1), view = app.canvas.ds;
  if (width) node.setSize([width, Math.max(node.size[1], node.computeSize()[1])]);
  node.pos = [node.pos[0], 9000];
  view.scale = 1;
  [view.offset[0], view.offset[1]] = [140 - node.pos[0], 160 - node.pos[1]];
  app.canvas.setDirty(true, true);
}
"""
# name -> the example that is run, the node, what of it is shown, and the node's width there.
SHOWN = {
    "sample_and_record": ("first_heatmap", SAMPLER, "node", 520),
    "heatmap_overlay": ("first_heatmap", OVERLAY, "node", 0),
    "record_attention": ("record_any_sampler", RECORD, "node", 0),
    "live_maps": ("record_any_sampler", RECORD, "panel", 0),
    "attention_maps": ("record_any_sampler", MAPS, "node", 520),
    "demo_scene": ("maps_to_masks_iou", "SceneScope_DemoScene", "node", 0),
    "map_to_mask": ("maps_to_masks_iou", "SceneScope_MapToMask", "node", 0),
    "ask_again": ("ask_again", "SceneScope_AskAgain", "node", 460),
    "compare_maps": ("compare_two_records", "SceneScope_CompareMaps", "node", 0),
    "save_maps": ("compare_two_records", "SceneScope_SaveMaps", "node", 0),
}


@pytest.fixture
def tall(editor: Editor) -> Iterator[Editor]:
    """A window in which every node is seen whole."""
    editor.page.set_viewport_size({"width": 1600, "height": 1500})
    editor.page.mouse.move(1500, 1450)
    yield editor
    editor.page.set_viewport_size({"width": 1600, "height": 1000})


def around(editor: Editor, node_type: str, what: str) -> FloatRect:
    """A node or its panel in the window, with an edge around a node."""
    box = editor.page.evaluate(BOXES[what], node_type)
    edge = EDGE if what == "node" else 0
    return {
        "x": box["x"] - edge,
        "y": box["y"] - edge,
        "width": box["width"] + 2 * edge,
        "height": box["height"] + 2 * edge,
    }


def is_as(name: str, taken: Image.Image, **saved: Any) -> None:
    """Keep a picture where pictures are taken afresh; it has the proportions of the one that the pages show."""
    file = PICTURES / (name if "." in name else f"{name}.jpg")
    if os.environ.get(ANEW):
        taken.save(file, **(saved or {"quality": QUALITY, "optimize": True}))
    with Image.open(file) as kept:
        assert kept.width / kept.height == pytest.approx(taken.width / taken.height, rel=ALIKE), f"take {name} afresh"


def shot(editor: Editor, node_type: str, what: str = "node") -> Image.Image:
    """What is on the screen of a node or its panel."""
    taken = editor.page.screenshot(clip=around(editor, node_type, what))
    return Image.open(io.BytesIO(taken)).convert("RGB")


CLASSIC = pytest.mark.parametrize("opened", ["classic"], indirect=True, scope="session")


@CLASSIC
@pytest.mark.parametrize("example", dict.fromkeys(example for example, *_ in SHOWN.values()))
def test_the_screenshots_show_the_nodes_of_the_examples_as_they_are(tall: Editor, example: str):
    """Oracle: the proportions of the nodes after a run of their example: an input more or less would change them."""
    tall.load(example)
    tall.run()
    for name, (of, node_type, what, width) in SHOWN.items():
        if of == example:
            tall.page.evaluate(LOOK, [node_type, width])
            tall.at_rest()
            is_as(name, shot(tall, node_type, what))


def opened_block(editor: Editor) -> None:
    """Show the maps of one block in place of the U."""
    panel = editor.panel(SHAPES, "shapes")
    panel.query_selector('[data-block="output 4"]').click()
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)


def row_of_a_block(editor: Editor) -> None:
    """Show a block's row of the table under the U."""
    editor.panel(SHAPES, "shapes").query_selector('[data-block="output 11"]').hover()


@CLASSIC
@pytest.mark.parametrize(("name", "act"), [("block_shapes_u", row_of_a_block), ("block_shapes_maps", opened_block)])
def test_the_screenshots_of_block_shapes_show_it_as_it_is(tall: Editor, name: str, act: Callable[[Editor], None]):
    """Oracle: the proportions of its panel."""
    tall.load("first_heatmap")
    tall.page.evaluate(ADD, "maps")
    tall.run()
    tall.page.evaluate(LOOK, [SHAPES, 660])
    tall.at_rest()
    act(tall)
    tall.at_rest()
    is_as(name, shot(tall, SHAPES, "panel"))


@CLASSIC
def test_the_moving_picture_of_the_viewer_shows_it_as_it_is(tall: Editor):
    """Oracle: the proportions of its panel, while words are hovered over, and the slider goes over the steps."""
    tall.load("first_heatmap")
    tall.run()
    tall.page.evaluate(LOOK, [HEATMAP, 560])
    tall.at_rest()
    panel = tall.panel(HEATMAP, "viewer")
    frames = [(1600, shot(tall, HEATMAP, "panel"))]

    def frame(duration: int) -> None:
        tall.drawn()
        frames.append((duration, shot(tall, HEATMAP, "panel")))

    panel.query_selector("text=unpin").click()
    for word in ("red circle", "striped", "green star", "snow"):
        chip(panel, word).hover()
        frame(1000)
    for word in ("red circle", "green star"):
        chip(panel, word).click()
    for step in range(1, 21, 2):
        panel.query_selector("input[type=range]").fill(str(step))
        frame(400)
    durations, (first, *others) = zip(*frames, strict=True)
    moving = {"save_all": True, "append_images": others, "duration": durations, "loop": 0, "quality": 60, "method": 6}
    is_as("viewer.webp", first, **moving)


@CLASSIC
def test_the_screenshots_of_the_viewer_in_the_light_theme_show_it_as_it_is(tall: Editor):
    """Oracle: the proportions of its panel; in the second the pointer is on the red circle."""
    with tall.looks("light"):
        tall.load("first_heatmap")
        tall.run()
        tall.page.evaluate(LOOK, [HEATMAP, 560])
        tall.at_rest()
        is_as("viewer_maps", shot(tall, HEATMAP, "panel"))
        tall.panel(HEATMAP, "viewer").query_selector(".ss-frame").hover(position={"x": 60, "y": 90})
        tall.at_rest()
        is_as("viewer", shot(tall, HEATMAP, "panel"))


@CLASSIC
def test_the_screenshot_of_the_templates_shows_the_pack_s_as_the_editor_does(editor: Editor):
    """Oracle: the proportions of the editor's list of templates, with the pack's chosen and their pictures loaded."""
    editor.page.evaluate(OPEN)
    dialog = editor.page.get_by_role("dialog")
    dialog.get_by_text("SceneScope", exact=True).evaluate("name => name.click()")
    editor.page.wait_for_function(f"first => ({CARDS})()[0] === first", arg=FIRST[0])
    editor.page.wait_for_function(LOADED)
    editor.drawn()
    taken = Image.open(io.BytesIO(dialog.screenshot())).convert("RGB")
    editor.page.keyboard.press("Escape")
    is_as("templates", taken)


# Load Maps with what the example has saved, and something that asks for its maps.
LOAD = """
() => {
  const load = LiteGraph.createNode('SceneScope_LoadMaps'), shapes = LiteGraph.createNode('SceneScope_BlockShapes');
  for (const node of [load, shapes]) app.graph.add(node);
  load.widgets.find(one => one.name === 'file').value = 'maps/SceneScope_00001_.maps.safetensors [output]';
  load.connect(0, shapes, shapes.findInputSlot('maps'));
}
"""
# Save Concepts behind a training.
SAVE = """
() => {
  const train = app.graph.nodes.find(node => node.type === 'SceneScope_TrainConcepts');
  const save = LiteGraph.createNode('SceneScope_SaveConcepts');
  app.graph.add(save);
  const values = { filename_prefix: 'concepts/mine', write: 'own file and exports', export_name: 'toys' };
  for (const [name, value] of Object.entries(values)) save.widgets.find(one => one.name === name).value = value;
  train.connect(0, save, 0);
}
"""


@CLASSIC
def test_the_screenshots_of_what_is_saved_and_loaded_show_the_nodes_as_they_are(tall: Editor):
    """Oracle: the proportions of the nodes after a run."""
    tall.load("compare_two_records")
    tall.run()
    tall.page.evaluate(LOAD)
    tall.run()
    tall.page.evaluate(LOOK, ["SceneScope_LoadMaps", 520])
    tall.at_rest()
    is_as("load_maps", shot(tall, "SceneScope_LoadMaps"))
    build(tall, sample_count=0, run_name="kept")
    tall.page.evaluate(SAVE)
    tall.run()
    tall.page.evaluate(LOOK, ["SceneScope_SaveConcepts", 460])
    tall.at_rest()
    is_as("save_concepts", shot(tall, "SceneScope_SaveConcepts"))


# A run of which a part is seen, in a node with room for its masks and maps.
OF_ITS_OWN = """
() => {
  const train = app.graph.nodes.find(node => node.type === 'SceneScope_TrainConcepts');
  train.widgets.find(one => one.name === 'run_name').value = 'pictured';
  train.setSize([560, train.computeSize()[1] + 260]);
}
"""


@CLASSIC
def test_the_screenshot_of_the_dashboard_shows_a_run_under_way_as_it_is(tall: Editor):
    """Oracle: the proportions of its panel at a size of the node."""
    tall.load("learn_one_concept")
    tall.page.evaluate(OF_ITS_OWN)
    tall.page.evaluate(LOOK, [TRAIN, 0])
    panel = tall.placed(TRAIN, "training")
    tall.page.evaluate("() => app.queuePrompt(0)")
    shown = 270 if os.environ.get(ANEW) else 3  # late in the run where it is a picture for people
    tall.page.wait_for_function(f"([panel, step]) => ({STEP})(panel) >= step", arg=[panel, shown], timeout=LONG)
    tall.page.evaluate(LOOK, [TRAIN, 0])
    tall.drawn()
    taken = shot(tall, TRAIN, "panel")
    tall.server.post("/interrupt", {})
    tall.idle()
    is_as("training_dashboard", taken)


THINGS = (
    Thing("flower", "orange", "plain", (0.24, 0.62), 0.42),
    Thing("house", "red", "plain", (0.74, 0.64), 0.44),
)
# A closed line around each thing, in pixels of the painter's tests, to be filled.
RINGS = (
    [(28, 150), (40, 108), (76, 92), (116, 108), (128, 150), (116, 192), (76, 206), (40, 192), (28, 150), (40, 108)],
    [(184, 128), (236, 86), (290, 128), (286, 212), (190, 212), (184, 128), (236, 86)],
)
NAMES = {"handles": "<flower>\n<house>", "words": "flower\nhouse"}
PUT = """
values => {
  const node = app.graph.nodes.find(node => node.type === 'SceneScope_BuildScene');
  for (const [name, value] of Object.entries(values)) node.widgets.find(one => one.name === name).value = value;
}
"""


# As low as its panel and its preview leave it.
CLOSE = """
() => {
  const node = app.graph.nodes.find(node => node.type === 'SceneScope_BuildScene');
  node.setSize([460, node.computeSize()[1]]);
}
"""


def painted(editor: Editor, photo: str) -> Image.Image:
    """Build Scene in the editor's renderer, with two things painted and a run."""
    editor.page.evaluate(GRAPH, [photo, True])
    editor.page.evaluate(PUT, NAMES)
    painter = Painter(editor)
    painter.panel.dispatch_event("pointerenter")  # the rows have the names
    painter.look((2 * WIDTH, 2 * HEIGHT))
    for thing, ring in enumerate(RINGS):
        painter.take(thing)
        painter.stroke(*ring)
        painter.press("fill")
        painter.stroke((sum(x for x, _ in ring) / len(ring), sum(y for _, y in ring) / len(ring)))
        painter.press("fill")
    painter.saved()
    editor.run()
    editor.page.mouse.move(1500, 1450)
    editor.page.evaluate(LOOK, [BUILD, 0])
    editor.page.evaluate(CLOSE)
    editor.at_rest()
    if editor.renderer == "classic":
        return shot(editor, BUILD)
    whole = editor.page.locator("[data-node-id]", has=editor.page.locator("[data-testid=painter-canvas]"))
    return Image.open(io.BytesIO(whole.first.screenshot())).convert("RGB")


@CLASSIC
def test_the_screenshot_of_the_painter_shows_it_in_both_renderers_as_it_is(tall: Editor):
    """Oracle: the proportions of the two nodes beside each other, painted on and run."""
    drawn = draw(Layout(THINGS, "beach"), height=2 * HEIGHT, width=2 * WIDTH)
    file = tall.server.place.base / "input" / "garden.png"
    Image.fromarray((drawn.picture * 255).round().astype(np.uint8)).save(file)
    taken = [painted(tall, file.name)]
    try:
        tall.renderer = "vue"
        tall.render("vue", BUILD, "painter")
        taken.append(painted(tall, file.name))
    finally:
        tall.renderer = "classic"
        tall.render("classic", BUILD, "painter")
    height = max(one.height for one in taken)
    both = Image.new("RGB", (sum(one.width for one in taken) + 2 * EDGE, height), taken[0].getpixel((0, 0)))
    both.paste(taken[0], (0, 0))
    both.paste(taken[1], (taken[0].width + 2 * EDGE, 0))
    is_as("build_scene_painter", both)
