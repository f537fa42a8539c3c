"""The examples that are apps: a form and pictures in place of a graph."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pack.devtools.comfyui import ROOT
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.examples.test_first_minute import PUT, SHORT

APPS = sorted((ROOT / "example_workflows").glob("*.app.json"))
FORM = "[data-testid=linear-widgets]"
# Each question of the form has its name above it.
NAMES = f"() => [...document.querySelectorAll('{FORM} [data-testid=builder-widget-label]')].map(one => one.innerText)"
FEWER = {
    "SceneScope_TrainSettings": SHORT,
    "SceneScope_TrainConcepts": {"sample_steps": 1},
    "SceneScope_GenerateFromTokens": {"steps": 2, "seeds": 1},
    "SceneScope_SampleAndRecord": {"steps": 6},
    "KSampler": {"steps": 6},
}
"""Steps and pictures: what is made is not looked at here."""
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SHOWN = """
() => [...document.querySelectorAll('[data-testid=linear-image-output]')]
  .map(one => new URL(one.src).searchParams.get('filename'))
"""


@pytest.fixture
def apps(editor: Editor) -> Iterator[Editor]:
    """The editor as it shows apps; at the end it shows graphs again."""
    yield editor
    editor.load("shape_log")


def asked_by(workflow: dict[str, Any]) -> list[str]:
    """What an app's workflow says that it asks for, by the names that its inputs have."""
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    asked = []
    for node, name in workflow["extra"]["linearData"]["inputs"]:
        (slot,) = (slot for slot in nodes[node]["inputs"] if slot["name"] == name)
        asked.append(slot.get("label", name))
    return asked


@pytest.mark.parametrize("file", APPS, ids=[file.stem for file in APPS])
def test_an_app_opens_as_a_form_that_asks_for_what_its_workflow_says(apps, file):
    """Oracle: the workflow's own list, by the names that its inputs have."""
    asked = asked_by(json.loads(file.read_text("utf-8")))
    apps.load(file, as_app=True)
    apps.page.locator(FORM).wait_for()
    apps.page.wait_for_function(f"count => ({NAMES})().length === count", arg=len(asked))
    assert apps.page.evaluate(NAMES) == asked


@pytest.mark.parametrize("file", APPS, ids=[file.stem for file in APPS])
def test_an_app_asks_in_chinese_where_the_editor_is(apps, file):
    """Oracle: every name of the form has a Chinese character, as many names as the workflow lists; those of the file
    again where it is opened in English as it was saved then.
    """
    asked = asked_by(json.loads(file.read_text("utf-8")))
    with apps.looks(locale="zh"):
        apps.load(file, as_app=True)
        apps.page.locator(FORM).wait_for()
        apps.page.wait_for_function(f"count => ({NAMES})().length === count", arg=len(asked))
        assert [name for name in apps.page.evaluate(NAMES) if not CHINESE.search(name)] == []
        saved = apps.page.evaluate("() => app.rootGraph.serialize()")
    apps.load(saved, as_app=True)
    apps.page.locator(FORM).wait_for()
    apps.page.wait_for_function(f"names => ({NAMES})().join() === names", arg=",".join(asked))


@pytest.mark.parametrize("file", APPS, ids=[file.stem for file in APPS])
def test_an_app_shows_the_pictures_of_its_outputs_when_it_has_run(apps, file):
    """Oracle: what the server wrote for the nodes that the workflow calls its outputs. One app uses what another
    before it has learned.
    """
    outputs = json.loads(file.read_text("utf-8"))["extra"]["linearData"]["outputs"]
    apps.load(file, as_app=True)
    apps.page.locator(FORM).wait_for()
    for node_type, widgets in FEWER.items():
        apps.page.evaluate(PUT, [node_type, widgets])
    before = len(apps.server.get_json("/history"))
    apps.page.get_by_role("button", name="Run", exact=True).last.click()
    assert eventually(lambda: len(apps.server.get_json("/history")), before + 1, within=200)
    *_, last = apps.server.get_json("/history").values()
    assert all(last["outputs"][node]["images"] for node in outputs)
    written = {item["filename"] for node in outputs for item in last["outputs"][node]["images"]}
    # Beside them the editor shows pictures of earlier runs.
    assert eventually(lambda: written - set(apps.page.evaluate(SHOWN)), set())
