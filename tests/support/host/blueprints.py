"""A subgraph blueprint as the server runs it: its inner nodes, with what is connected from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pack.devtools.comfyui import ROOT
from pack.devtools.workflow import to_prompt

FOLDER = ROOT / "subgraphs"
INPUT, OUTPUT = -10, -20  # the nodes that stand for a subgraph's own inputs and outputs; front end 1.49
Json = dict[str, Any]


class Blueprint:
    """One blueprint.

    Args:
        file: below `subgraphs`.
    """

    def __init__(self, file: Path) -> None:
        workflow = json.loads(file.read_text("utf-8"))
        (self.host,) = workflow["nodes"]
        (self.graph,) = workflow["definitions"]["subgraphs"]
        self.nodes = {node["id"]: node for node in self.graph["nodes"]}

    def prompt(self, prefix: str, object_info: Json, **given: Any) -> Json:
        """The inner nodes in API format.

        Args:
            prefix: of their ids.
            object_info: what the server answers.
            given: input name -> value, or [node id, slot] of another node; the others keep their widgets' values.
        """
        outer = {link["id"]: link for link in self.graph["links"] if link["origin_id"] == INPUT}
        nodes = json.loads(json.dumps(list(self.nodes.values())))
        for slot in (slot for node in nodes for slot in node["inputs"]):
            slot["link"] = None if slot["link"] in outer else slot["link"]
        sides = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        inner = [[link[side] for side in sides] for link in self.graph["links"] if link["target_id"] != OUTPUT]
        made = to_prompt({"nodes": nodes, "links": inner}, object_info)
        for node in made.values():
            links = {name: value for name, value in node["inputs"].items() if isinstance(value, list)}
            node["inputs"] |= {name: [prefix + origin, slot] for name, (origin, slot) in links.items()}
        for link in outer.values():
            name = self.graph["inputs"][link["origin_slot"]]["name"]
            if name in given:
                slot = self.nodes[link["target_id"]]["inputs"][link["target_slot"]]["name"]
                made[str(link["target_id"])]["inputs"][slot] = given[name]
        return {prefix + node: content for node, content in made.items()}

    def output(self, prefix: str, name: str) -> list[Any]:
        """Where an output comes from, as [node id, slot]."""
        (at,) = (at for at, output in enumerate(self.graph["outputs"]) if output["name"] == name)
        sources = [
            (link["origin_id"], link["origin_slot"])
            for link in self.graph["links"]
            if (link["target_id"], link["target_slot"]) == (OUTPUT, at)
        ]
        ((node, slot),) = sources
        return [f"{prefix}{node}", slot]
