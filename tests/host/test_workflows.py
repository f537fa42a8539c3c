"""Every example workflow runs as it is shipped, and shows something."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pack.devtools.comfyui import ROOT
from pack.devtools.server import Server
from pack.devtools.workflow import API, api_text, to_prompt
from pack.host.demo import demo_scene
from pack.nodes import NODES
from PIL import Image

OURS = {node.GET_SCHEMA().node_id for node in NODES}
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
APPS = [file for file in WORKFLOWS if file.name.endswith(".app.json")]
PICTURES = (".jpg", ".png", ".webp")
AFTER = {"use_learned_things.app": "learn_one_thing_from_a_photo.app"}
"""Examples that read the file of another."""

Pictures = dict[str, np.ndarray]
"""(height width 3) uint8 of an example's nodes, by node and place."""
Known = dict[str, Any]
"""What the server says of its nodes."""


@pytest.fixture(scope="session")
def object_info(running_server: Server) -> Known:
    """Asked for once: widgets do not change with the files that examples write."""
    return running_server.get_json("/object_info")


@pytest.fixture(scope="session")
def pictures_of(running_server: Server, object_info: Known) -> Callable[[Path], Pictures]:
    """What an example showed; each is run once, as it is shipped, by the first test that asks."""
    kept: dict[str, Pictures] = {}

    def of(file: Path) -> Pictures:
        if file.stem in AFTER:
            of(file.with_stem(AFTER[file.stem]))
        if file.stem not in kept:
            kept[file.stem] = run(running_server, to_prompt(json.loads(file.read_text("utf-8")), object_info))
        return kept[file.stem]

    return of


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_workflow_runs_and_shows_something(server, pictures_of, file: Path):
    """Oracle: the server's history: no error, and every picture that it names can be opened and is not blank."""
    for name, picture in pictures_of(file).items():
        assert picture.min() < picture.max(), name


def run(server: Server, prompt: dict[str, Any]) -> Pictures:
    """Run an example to its end, and read its pictures."""
    entry = server.run(prompt, within=900)
    assert entry["outputs"]
    shown = {}
    for node, output in entry["outputs"].items():
        for place, item in enumerate(output.get("images", [])):
            shown[f"{node} {place}"] = np.asarray(Image.open(BytesIO(server.view(item))).convert("RGB"))
    return shown


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_has_its_api_form_beside_it(object_info, file: Path):
    """Oracle: what the editor would queue; `python dev.py workflows` writes the files again."""
    assert (API / file.name).read_text("utf-8") == api_text(file, object_info)


def test_many_scenes_are_queued_by_a_script_and_leave_permanent_pictures(server):
    """Oracle: the server's history: both runs are done, with pictures in the output folder."""
    words = [API / "maps_to_masks_iou.json", "--seeds", 1, 2, "--server", server.address]
    command = [sys.executable, ROOT / "examples" / "many_scenes.py", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    queued = [line.split() for line in done.stdout.splitlines()]
    assert [seed for seed, _ in queued] == ["1", "2"]
    pictures = set()
    for _, prompt in queued:
        outputs = server.finished(prompt, within=300)["outputs"]
        pictures |= {
            item["filename"]
            for output in outputs.values()
            for item in output.get("images", [])
            if item["type"] == "output"
        }
    assert len(pictures) == 2


def test_no_api_form_is_left_over():
    """Oracle: the examples that there are."""
    assert {file.name for file in API.glob("*.json")} == {file.name for file in WORKFLOWS}


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_ends_in_a_permanent_picture(file: Path):
    """Oracle: the stock nodes that write to the output folder; of previews a serverless worker returns nothing."""
    kinds = {node["type"] for node in json.loads(file.read_text("utf-8"))["nodes"]}
    assert kinds & {"SaveImage", "SaveAnimatedWEBP"}
    assert "PreviewImage" not in kinds


def test_local_editing_changes_the_picture_inside_the_mask_alone(server, pictures_of):
    """Oracle: the drawing itself, and its true mask grown by as many pixels as Grow Mask, to all sides."""
    file = ROOT / "example_workflows" / "local_editing.json"
    nodes = json.loads(file.read_text("utf-8"))["nodes"]
    (grown,) = (node["widgets_values"][0] for node in nodes if node["type"] == "GrowMask")
    (seed,) = (node["widgets_values"][0] for node in nodes if node.get("title") == "The picture to edit")
    scene = demo_scene(seed, 2, loose=True, width=128, height=128)
    near = torch.nn.functional.max_pool2d(scene.single_masks[0], 2 * grown + 1, 1, grown)[0].numpy() > 0
    before = (scene.image[0].numpy() * 255).astype(np.uint8)
    shown = pictures_of(file)
    for after in (shown[f"{node['id']} 0"] for node in nodes if node["type"] == "SaveImage"):
        assert (after[~near] == before[~near]).all()
        assert np.abs(after[near].astype(int) - before[near]).mean() > 10


@pytest.mark.parametrize("file", APPS, ids=[file.stem for file in APPS])
def test_an_app_ends_in_permanent_pictures_that_it_shows(file: Path):
    """Oracle: the nodes of its workflow: what is saved as a picture is an output of the app, and nothing else is."""
    workflow = json.loads(file.read_text("utf-8"))
    saved = {str(node["id"]) for node in workflow["nodes"] if node["type"] == "SaveImage"}
    assert workflow["extra"]["linearMode"]
    assert set(workflow["extra"]["linearData"]["outputs"]) == saved


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_workflow_is_complete(file: Path):
    """Oracle: an invariant. It uses this pack, has its picture beside it, and a note that says what it shows."""
    kinds = {node["type"] for node in json.loads(file.read_text("utf-8"))["nodes"]}
    assert kinds & OURS
    assert "MarkdownNote" in kinds
    assert any(file.with_suffix(ending).exists() for ending in PICTURES)
