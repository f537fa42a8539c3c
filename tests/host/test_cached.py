"""What the host answers from its cache, run by its own executor."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import execution
import pytest
from pack.devtools.comfyui import ROOT
from pack.nodes import NODES

import nodes

EXAMPLES = ROOT / "example_workflows" / "api"
ENDS = {
    "first_heatmap": "SceneScope_TokenHeatmap",
    "record_any_sampler": "SceneScope_TokenHeatmap",
    "learn_one_concept": "SceneScope_BuildScene",
}
"""Examples, and the node that ends what is run of each."""


class Executor:
    """The host's, with a cache of many results and somebody who listens."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        server = SimpleNamespace(client_id=None, last_node_id=None, last_prompt_id=None, send_sync=self._hear)
        room = {"lru": 100, "ram": 0, "ram_inactive": 0}
        self._own = execution.PromptExecutor(server, cache_type=execution.CacheType.LRU, cache_args=room)

    def run(self, prompt: dict[str, Any], wanted: str) -> tuple[set[str], dict[str, Any]]:
        """Run a prompt: which of its nodes were not answered from the cache, and what each node showed."""
        self.shown = {}
        self._own.execute(prompt, "a prompt", {"client_id": "a page"}, [wanted])
        assert self._own.success, self._own.status_messages[-1]
        (cached,) = (data["nodes"] for event, data in self._own.status_messages if event == "execution_cached")
        return prompt.keys() - set(cached), self.shown

    def _hear(self, event: str, data: Any, *_: Any) -> None:
        if event == "executed" and data["output"]:
            self.shown[data["node"]] = data["output"]


def behind(prompt: dict[str, Any], node: str) -> dict[str, Any]:
    """The part of a prompt that a node needs, with itself."""
    found = {node: prompt[node]}
    for source, _ in (value for value in prompt[node]["inputs"].values() if isinstance(value, list)):
        found |= behind(prompt, source)
    return found


@pytest.mark.parametrize("example", ENDS)
def test_what_comes_from_the_cache_is_shown_again(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: what the nodes showed when they ran: a page that opens the workflow afresh has nothing else to show."""
    for node in NODES:
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, node.define_schema().node_id, node)
    whole = json.loads((EXAMPLES / f"{example}.json").read_text("utf-8"))
    (wanted,) = (key for key, node in whole.items() if node["class_type"] == ENDS[example])
    prompt = behind(whole, wanted)
    for node in prompt.values():
        node["inputs"] |= {"steps": 2} if "steps" in node["inputs"] and "sampler_name" in node["inputs"] else {}
    executor = Executor()
    ran, first = executor.run(prompt, wanted)
    assert ran == prompt.keys()
    ran, again = executor.run(prompt, wanted)
    assert ran == set()
    assert len(first) > 1
    assert again == first
