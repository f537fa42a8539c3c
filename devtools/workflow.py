"""Turn a workflow as the editor saves it into a prompt as the server runs it. Standard library only.

Enough of the format for this pack's own workflows: widgets, widgets with a link, growing and dynamic inputs.
Subgraphs, reroutes, and muted or bypassed nodes are refused by name.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from .comfyui import find_comfyui
from .get_comfyui import get_comfyui
from .server import Place, Server
from .setup import ROOT, Setup

NOTES = ("Note", "MarkdownNote")
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
SOCKETS_ONLY = ("COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3")
Json = dict[str, Any]
WORKFLOWS = ROOT / "example_workflows"
API = WORKFLOWS / "api"
"""Beside the examples, in a folder, because the editor lists every .json of the upper one as a template."""


def to_prompt(workflow: Json, object_info: Json) -> Json:
    """Return the prompt that the editor would queue for a saved workflow.

    Args:
        workflow: with `nodes` and `links`, as the editor saves it
        object_info: what the server's /object_info answers

    Returns:
        prompt: node id -> {"class_type", "inputs"}; a link is [node id, slot]

    Raises:
        ValueError: a node is unknown, is not plainly active, or its values do not fit its inputs
    """
    origins = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: Json = {}
    for node in workflow["nodes"]:
        kind, who = node["type"], f"node {node['id']} ({node['type']})"
        if kind in NOTES:
            continue
        if kind not in object_info:
            raise ValueError(f"{who}: the server does not know this node. Is the pack that has it installed?")
        if node.get("mode", 0) != 0:
            raise ValueError(f"{who}: it is muted or bypassed (mode {node['mode']}). Delete or activate it.")
        linked = {
            slot["name"]: origins[slot["link"]] for slot in node.get("inputs", []) if slot.get("link") is not None
        }
        prompt[str(node["id"])] = {"class_type": kind, "inputs": _widgets(node, object_info[kind], who) | linked}
    return prompt


def _widgets(node: Json, info: Json, who: str) -> Json:
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        return values
    sockets = {slot["name"] for slot in node.get("inputs", []) if "widget" not in slot}
    left = list(values)
    inputs: Json = {}
    for name, spec in _specs(info["input"], info.get("input_order")):
        _take(name, spec, sockets, left, inputs)
    if left:
        raise ValueError(f"{who}: {len(left)} of its values belong to no widget: {left}. Save it again.")
    return inputs


def _specs(sections: Json, order: Json | None = None) -> list[tuple[str, list[Any]]]:
    found = [(name, sections[part][name]) for part in ("required", "optional") for name in sections.get(part, {})]
    if order is None:
        return found
    place = {name: number for number, name in enumerate(order.get("required", []) + order.get("optional", []))}
    return sorted(found, key=lambda pair: place[pair[0]])


def _take(name: str, spec: list[Any], sockets: set[str], left: list[Any], inputs: Json) -> None:
    """Move the values of one input, and of those that it brings along, from `left` to `inputs`."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if name in sockets or kind in SOCKETS_ONLY or not left:
        return
    inputs[name] = left.pop(0)
    if kind == DYNAMIC_COMBO:
        chosen = next(option for option in options["options"] if option["key"] == inputs[name])
        for inner, inner_spec in _specs(chosen["inputs"]):
            _take(f"{name}.{inner}", inner_spec, sockets, left, inputs)
    # The editor keeps two values more that the server never sees: what to do with a seed, and an upload button.
    if kind == "INT" and left and left[0] in AFTER_GENERATE:
        left.pop(0)
    if any(key.endswith("_upload") for key in options) and left and left[0] == "image":
        left.pop(0)


def api_text(workflow: Path, object_info: dict[str, Any]) -> str:
    """The text of an example in API format: node id -> class_type and inputs."""
    prompt = to_prompt(json.loads(workflow.read_text("utf-8")), object_info)
    return json.dumps(prompt, indent=2, ensure_ascii=False) + "\n"


def workflows(options: argparse.Namespace) -> int:
    """Write the API form of every example, after one was changed."""
    comfyui = find_comfyui() or get_comfyui()
    python = Setup.make(comfyui).python
    with Server(Place(comfyui, python, Path(tempfile.mkdtemp(prefix="scenescope-")))) as server:
        object_info = server.get_json("/object_info")
    API.mkdir(exist_ok=True)
    texts = {file.name: api_text(file, object_info) for file in sorted(WORKFLOWS.glob("*.json"))}
    for old in API.glob("*.json"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        (API / name).write_text(text, "utf-8")
        print(API / name)
    return 0
