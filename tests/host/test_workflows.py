"""Every example workflow runs as it is shipped, and shows something."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from pack.devtools.comfyui import ROOT
from pack.devtools.workflow import to_prompt
from pack.nodes import NODES
from PIL import Image

OURS = {node.GET_SCHEMA().node_id for node in NODES}
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
PICTURES = (".jpg", ".png", ".webp")


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_workflow_runs_and_shows_something(server, file: Path):
    """Oracle: the server's history: no error, and every picture that it names can be opened and is not blank."""
    prompt = to_prompt(json.loads(file.read_text("utf-8")), server.get_json("/object_info"))
    entry = server.run(prompt, within=280)
    shown = [item for output in entry["outputs"].values() for item in output.get("images", [])]
    assert entry["outputs"]
    for item in shown:
        lowest, highest = Image.open(BytesIO(server.view(item))).convert("L").getextrema()
        assert highest > lowest, item["filename"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_an_example_workflow_is_complete(file: Path):
    """Oracle: an invariant. It uses this pack, has its picture beside it, and a note that says what it shows."""
    kinds = {node["type"] for node in json.loads(file.read_text("utf-8"))["nodes"]}
    assert kinds & OURS
    assert "MarkdownNote" in kinds
    assert any(file.with_suffix(ending).exists() for ending in PICTURES)
