"""The subgraph blueprints: nodes of several nodes, which the host offers beside ours."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pack.devtools.server import Server
from pack.devtools.workflow import API
from pack.tests.support.host.blueprints import FOLDER, Blueprint
from PIL import Image

FILES = {file.stem: file for file in sorted(FOLDER.glob("*.json"))}
DEMO = {"m": {"class_type": "SceneScope_DemoModel", "inputs": {}}}
MODELS: dict[str, Any] = {"model": ["m", 0], "clip": ["m", 1], "vae": ["m", 2]}


def drawn(server: Server, prompt: dict[str, Any], **wanted: list[Any]) -> dict[str, list[np.ndarray]]:
    """Run a prompt; the pictures (height width 3) uint8 of the outputs that are wanted, by name."""
    previews = {name: {"class_type": "PreviewImage", "inputs": {"images": origin}} for name, origin in wanted.items()}
    outputs = server.run(DEMO | prompt | previews, within=900)["outputs"]
    files = {name: [BytesIO(server.view(item)) for item in outputs[name]["images"]] for name in wanted}
    return {name: [np.asarray(Image.open(one).convert("RGB")) for one in ones] for name, ones in files.items()}


def test_the_host_offers_every_blueprint_as_one_of_the_pack(server):
    """Oracle: what the host lists for the editor, from a pack's `subgraphs` folder."""
    listed = [entry for entry in server.get_json("/global_subgraphs").values() if entry["source"] == "custom_node"]
    assert {entry["name"] for entry in listed} == set(FILES)
    assert {entry["info"]["node_pack"] for entry in listed} == {"custom_nodes.SceneScope"}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_blueprint_shows_what_its_subgraph_takes_and_gives(file: Path):
    """Oracle: the subgraph's own inputs and outputs; each link is known to the slot it ends in."""
    blueprint = Blueprint(file)
    graph, host = blueprint.graph, blueprint.host
    assert host["type"] == graph["id"]
    assert graph["name"] == file.stem
    for side in ("inputs", "outputs"):
        assert [(slot["name"], slot["type"]) for slot in host[side]] == [
            (slot["name"], slot["type"]) for slot in graph[side]
        ]
    widgets = [slot for slot in host["inputs"] if "widget" in slot]
    assert len(host["widgets_values"]) == len(widgets)
    for link in graph["links"]:
        if link["target_id"] in blueprint.nodes:
            slot = blueprint.nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert slot["link"] == link["id"]


def test_one_node_makes_a_picture_and_its_heatmap(server):
    """Oracle: the size that was asked for, a sheet that is not blank, and a mask for each of two words."""
    blueprint = Blueprint(FILES["Prompt Heatmap"])
    given = MODELS | {"text": "a photo of a red circle in the snow", "words": "red circle, snow", "steps": 4}
    prompt = blueprint.prompt("h", server.get_json("/object_info"), **given, width=128, height=96)
    masks = {"class_type": "MaskToImage", "inputs": {"mask": blueprint.output("h", "masks")}}
    wanted = {name: blueprint.output("h", name) for name in ("picture", "heatmap")}
    found = drawn(server, prompt | {"masks": masks}, **wanted, each=["masks", 0])
    assert found["picture"][0].shape == (96, 128, 3)
    assert found["heatmap"][0].min() < found["heatmap"][0].max()
    assert len(found["each"]) == 2


def test_what_one_node_learns_another_uses(server):
    """Oracle: the settings of an example, with fewer steps; a row of two pictures each."""
    example = json.loads((API / "learn_one_concept.json").read_text("utf-8"))
    learn, use = (Blueprint(FILES[name]) for name in ("Learn One Thing", "Use Learned Things"))
    info = server.get_json("/object_info")
    scene = {"image": ["3", 0], "mask": ["3", 2], "words": "square", "resolution": 128, "settings": ["5", 0]}
    outer = {at: example[at] for at in ("3", "5")}
    outer["5"]["inputs"] |= {"preset.phase1_steps": 3, "preset.phase2_steps": 3}
    learned = learn.prompt("l", info, **MODELS, **scene)
    used = use.prompt("u", info, **MODELS, concepts=learn.output("l", "concepts"), steps=6, width=128, height=128)
    wanted = {name: learn.output("l", name) for name in ("scene", "curves")}
    wanted |= {name: use.output("u", name) for name in ("images", "grid", "heatmap")}
    found = drawn(server, outer | learned | used, **wanted)
    assert len(found["images"]) == 2
    for name, pictures in found.items():
        assert pictures[0].min() < pictures[0].max(), name


def test_one_node_paints_anew_what_a_word_names_and_nothing_else(server):
    """Oracle: the drawing itself: outside of the mask it is the same to the pixel, inside it is another picture."""
    blueprint = Blueprint(FILES["Inpaint by Word"])
    scene = {
        "class_type": "SceneScope_DemoScene",
        "inputs": {"seed": 3, "things": "2", "masks": "exact", "width": 128, "height": 128},
    }
    prompt = blueprint.prompt("i", server.get_json("/object_info"), **MODELS, image=["s", 0])
    masks = {"class_type": "MaskToImage", "inputs": {"mask": blueprint.output("i", "mask")}}
    found = drawn(
        server,
        prompt | {"s": scene, "masks": masks},
        image=blueprint.output("i", "image"),
        before=["s", 0],
        mask=["masks", 0],
    )
    (after,), (before,), (mask,) = (found[name] for name in ("image", "before", "mask"))
    outside = mask[..., 0] == 0
    assert 0.3 < outside.mean() < 0.97
    assert (after[outside] == before[outside]).all()
    assert np.abs(after[~outside].astype(int) - before[~outside]).mean() > 10
