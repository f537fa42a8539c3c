"""The first minutes, as the README tells them: a heatmap, then a learned token in a prompt of one's own.

`SCENESCOPE_PICTURES=1 pytest tests/web/examples/test_first_minute.py -s` trains the whole template, says what the clock
shows, and takes the pictures of `docs/first-minutes.md` again.
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

from pack.devtools.comfyui import ROOT
from pack.tests.web.dashboard import test_training
from pack.tests.web.dashboard.test_training import STATE, STEP, TRAIN
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.examples.test_screenshots import ANEW
from pack.tests.web.examples.test_templates import CARDS, OPEN
from pack.tests.web.viewer.test_viewer import HEATMAP, chip, names, shown
from PIL import Image

OPENED = "type => app.graph.nodes.some(node => node.type === type)"
GENERATE = "SceneScope_GenerateFromTokens"
# Sets widgets of all nodes of a type.
PUT = """
([type, values]) => {
  for (const node of app.graph.nodes.filter(node => node.type === type))
    for (const [name, value] of Object.entries(values)) node.widgets.find(one => one.name === name).value = value;
}
"""
GET = """
([type, name]) => app.graph.nodes.find(node => node.type === type).widgets.find(one => one.name === name).value
"""
FINISHED = f"panel => ({STATE})(panel).startsWith('Finished')"
MOVED = f"([panel, last]) => ({STEP})(panel) > last || ({FINISHED})(panel)"
PROMPT = "a photo of <asset0> in a meadow"
SHORT = {"preset.phase1_steps": 8, "preset.phase2_steps": 8, "preset.rank": 2}


class Walk:
    """What the clock shows on the way; where pictures are taken afresh, the window too."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.start = editor, time.monotonic()
        self.recorded = bool(os.environ.get(ANEW)) and editor.renderer == "classic"

    def reached(self, what: str) -> None:
        """Say how long it took from the templates on."""
        print(f"{time.monotonic() - self.start:.1f} s from the templates to {what}, {self.editor.renderer}", flush=True)

    def picture(self, name: str) -> None:
        """Keep the window for the page."""
        if self.recorded:
            self.editor.drawn()
            taken = Image.open(io.BytesIO(self.editor.page.screenshot())).convert("RGB")
            taken = taken.resize((1200, 750), Image.Resampling.LANCZOS)
            taken.save(ROOT / "docs" / "images" / f"first_minutes_{name}.jpg", quality=82, optimize=True)


def open_template(editor: Editor, name: str, node_type: str) -> None:
    """Start with an empty graph and click a card of the template browser; the template has such a node."""
    editor.load({"version": 0.4, "nodes": [], "links": []})
    editor.page.evaluate(OPEN)
    editor.page.get_by_role("dialog").get_by_text("SceneScope", exact=True).evaluate("name => name.click()")
    editor.page.wait_for_function(f"name => ({CARDS})().includes(name)", arg=name)
    editor.page.locator(f"[data-testid='template-workflow-{name}']").click()
    editor.page.wait_for_function(OPENED, arg=node_type)
    editor.at_rest()


def click_run(editor: Editor) -> None:
    """The editor's own button."""
    editor.page.get_by_role("button", name="Run", exact=True).first.click()


def history(editor: Editor) -> list[dict[str, Any]]:
    """What has run on the server, newest last."""
    return list(editor.server.get_json("/history").values())


def prompts(entry: dict[str, Any]) -> list[str]:
    """What a run was asked to generate."""
    return [node["inputs"]["prompt"] for node in entry["prompt"][2].values() if node["class_type"] == GENERATE]


def test_a_heatmap_is_seen_after_a_template_and_one_click(editor: Editor):
    """Oracle: the viewer names the words that the template asks for, and the one that is hovered over."""
    walk = Walk(editor)
    open_template(editor, "first_heatmap", HEATMAP)
    click_run(editor)
    panel = editor.panel(HEATMAP, "viewer")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
    walk.reached("the first heatmap")
    editor.idle()
    panel = shown(editor, HEATMAP)
    assert names(panel) == ["red circle", "green star", "snow"]
    panel.query_selector("text=unpin").click()
    chip(panel, "green star").hover()
    editor.drawn()
    assert names(panel) == ["green star"]
    walk.picture("heatmap")


def test_a_learned_token_is_in_a_prompt_of_ones_own_after_a_template_and_two_clicks(editor: Editor):
    """Oracle: the steps that were asked for, seen to rise; then what the server's history says of the second run: the
    prompt that was typed, with the token; its picture; and that nothing was trained again.
    """
    walk = Walk(editor)
    open_template(editor, "learn_one_concept", TRAIN)
    if not walk.recorded:
        seed = {"classic": 31, "vue": 32}[editor.renderer]  # neither renderer finds the other's finished run
        editor.page.evaluate(PUT, ["SceneScope_TrainSettings", SHORT | {"preset.seed": seed}])
        editor.page.evaluate(PUT, [TRAIN, {"sample_steps": 1}])
        editor.page.evaluate(PUT, [GENERATE, {"steps": 2, "seeds": 1}])
    steps = sum(editor.page.evaluate(GET, ["SceneScope_TrainSettings", name]) for name in list(SHORT)[:2])
    click_run(editor)
    panel, seen = test_training.shown(editor), [0]
    while not editor.page.evaluate(FINISHED, panel):
        editor.page.wait_for_function(MOVED, arg=[panel, seen[-1]])
        seen.append(max(seen[-1], editor.page.evaluate(STEP, panel)))
        if seen[-2] < steps / 2 <= seen[-1]:
            walk.picture("training")
    assert len(set(seen)) > 3
    walk.reached("the last step of the training")
    editor.idle()
    walk.reached("the first pictures of the learned token")
    assert editor.page.evaluate(STATE, panel) == f"Finished: {steps} steps"
    editor.look_at(GENERATE)
    walk.picture("learned")
    editor.page.evaluate(PUT, [GENERATE, {"prompt": PROMPT}])
    click_run(editor)
    assert eventually(lambda: [prompts(last) for last in history(editor)][-1], [PROMPT, PROMPT], within=300)
    walk.reached("the token in a prompt of one's own")
    editor.look_at(GENERATE)
    walk.picture("used")
    last = history(editor)[-1]
    nodes = last["prompt"][2]
    made = [node for node in nodes if nodes[node]["class_type"] == GENERATE]
    assert all(last["outputs"][node]["images"] for node in made)
    (train,) = (node for node in nodes if nodes[node]["class_type"] == TRAIN)
    (cached,) = (detail["nodes"] for kind, detail in last["status"]["messages"] if kind == "execution_cached")
    assert train in cached
    assert not set(made) & set(cached)
