"""Odd values in every input of every node, sent to a real server: which errors are not the pack's own.

Each prompt is a sound graph of the demo model in which one to three inputs of one node are something else: numbers out
of bounds, texts of thousands of digits, literals in sockets of models, links from any other node, nothing. An error
that the pack raises on purpose, or the host's own refusal of the prompt, is an answer; every other error of one of our
nodes is foreign. The distinct foreign errors are printed; there should be none. The nodes take turns, and each prompt
follows from its number and the seed alone: an interrupted run resumes with `--first`, and one prompt is sent
again with `--first N --prompts 1`.

    python dev.py bench fuzz --prompts 5000
    python dev.py bench fuzz --prompts 100 --node SceneScope_TokenHeatmap
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pack.devtools.comfyui import need_comfyui
from pack.devtools.server import PACK_FOLDER, Place, Server
from pack.scenescope import errors
from pack.tests.support.host.prompts import choosing, node

OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
PATIENCE = 600.0
"""Seconds for the sound graph, which trains, samples and saves all that the others use."""

LITERALS: list[Any] = [
    0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, False, None, {},
    {"a": 1}, "", "x", "9" * 5000, "0-" + "9" * 5000, "\0", "../x", "cat", "all", "each", "<asset0>", "日本",
    "{}", "{tokens}", "%", "x" * 10_000, "1e5", "-3", "99999x1", {"__value__": [1, 2]},
    {"__value__": {"samples": 1}},
]  # fmt: skip
STOPPING = 120.0
"""Seconds in which work that is cancelled has to end, on a busy machine too."""
CACHED = 400
"""Results of nodes that the server keeps: all of the sound graph's, beside those of some ten prompts."""


def main() -> int:
    """Fuzz, and print what was found; the exit status says whether anything was."""
    options = arguments()
    comfyui = need_comfyui("bench fuzz")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(comfyui, Path(sys.executable), Path(folder), ("--cpu", "--cache-lru", str(CACHED)))
        with Server(place) as server:
            found = Fuzz(server).run(options)
    return 1 if found else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--prompts", type=int, default=300, help="how many")
    reader.add_argument("--first", type=int, default=0, help="number of the first prompt, to go on from there")
    reader.add_argument("--slow", type=float, default=20.0, help="seconds after which a prompt is cancelled")
    reader.add_argument("--node", default="", help="only nodes whose id holds this")
    reader.add_argument("--seed", type=int, default=0, help="of the random prompts")
    return reader.parse_args()


class Fuzz:
    """Prompts with odd values, and what became of them.

    Args:
        server: a running ComfyUI with the pack.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.info = server.get_json("/object_info")
        self.graph = sound_graph(self.info)
        self.foreign: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.last = ""  # what was odd in the prompt that runs

    def run(self, options: argparse.Namespace) -> Counter[str]:
        """Send prompts and count; returns the distinct foreign errors."""
        self.send(self.graph, PATIENCE)  # all that the prompts share is computed once, and cached by the server
        if not self.ends["ran"]:
            raise SystemExit(f"Fuzz: the sound graph does not run: {dict(self.ends)}, {list(self.foreign)}")
        names = [name for name, one in self.graph.items() if one["class_type"].startswith("SceneScope_")]
        names = [name for name in names if options.node in self.graph[name]["class_type"]]
        began, number = time.monotonic(), options.first
        try:
            for number in range(options.first, options.first + options.prompts):
                draw = random.Random(f"{options.seed} {number}")
                self.send(self.mutant(draw, names[number % len(names)]), options.slow)
        finally:  # what was found is told, however the run ends
            self.report(time.monotonic() - began)
            print(f"The last prompt was --first {number} --seed {options.seed}")
        return self.foreign

    def report(self, seconds: float) -> None:
        """Print how the prompts ended, and each distinct foreign error."""
        print(f"\n{sum(self.ends.values())} prompts in {seconds:.0f} s: {dict(self.ends)}")
        print(f"distinct foreign errors: {len(self.foreign)}")
        for error, count in self.foreign.most_common():
            print(f"{count:5} {error}")

    def mutant(self, draw: random.Random, name: str) -> dict[str, Any]:
        """The sound graph as far as one node needs it, with some of that node's inputs changed."""
        graph = json.loads(json.dumps(self.graph))
        inputs = graph[name]["inputs"]
        known = self.info[graph[name]["class_type"]]["input"]
        every = sorted({*inputs, *known.get("required", {}), *known.get("optional", {}), "masks.mask99", "unknown"})
        before = [source for source in graph if name not in needed(graph, source)]  # the others would close a circle
        given = {source: len(self.info[graph[source]["class_type"]]["output"]) for source in before}
        links = [[source, slot] for source, count in given.items() for slot in range(count)]
        for at in range(draw.randint(1, 3)):
            key = draw.choice(every)
            way = draw.choice(["literal", "alike", "alike", "link", "primitive", "gone"])
            if way == "literal":
                inputs[key] = draw.choice(LITERALS)
            elif way == "alike":  # the host lets these through more often
                inputs[key] = draw.choice(alike({**known.get("required", {}), **known.get("optional", {})}.get(key)))
            elif way == "link":
                inputs[key] = draw.choice(links)
            elif way == "primitive":
                kind = f"Primitive{draw.choice(['Int', 'Float', 'String', 'Boolean'])}"
                graph[f"odd{at}"] = {"class_type": kind, "inputs": {"value": draw.choice(LITERALS)}}
                inputs[key] = [f"odd{at}", 0]
            else:
                inputs.pop(key, None)
        odd = {key: inputs.get(key) for key in every if inputs.get(key) != self.graph[name]["inputs"].get(key)}
        self.last = f"{odd!r:.300} {[graph[key]['inputs'] for key in graph if key.startswith('odd')]!r:.100}"
        kept = needed(graph, name)
        return kept | self.looks(graph, kept, name)

    def looks(self, graph: dict[str, Any], kept: dict[str, Any], name: str) -> dict[str, Any]:
        """Nodes that ask for all that a node gives; what it puts on a model is only seen once that is sampled."""
        looks: dict[str, Any] = {}
        for slot, kind in enumerate(self.info[graph[name]["class_type"]]["output"]):
            looks[f"look{slot}"] = {"class_type": "PreviewAny", "inputs": {"source": [name, slot]}}
            if kind == "MODEL":
                inputs = {**graph["sampler"]["inputs"], "model": [name, slot], "steps": 1}
                looks[f"used{slot}"] = {"class_type": "KSampler", "inputs": inputs}
                looks[f"seen{slot}"] = {"class_type": "PreviewAny", "inputs": {"source": [f"used{slot}", 0]}}
                looks |= {key: one for key, one in needed(graph, "sampler").items() if key not in kept}
        return looks

    def send(self, prompt: dict[str, Any], slow: float) -> None:
        """Run one prompt and note how it ended; after so many seconds it is cancelled, which has to end it soon."""
        try:
            prompt_id = self.server.post("/prompt", {"prompt": prompt, "client_id": self.server.client})["prompt_id"]
        except urllib.error.HTTPError as error:
            self.note_refusal(error)
            return
        if (status := self.ended(prompt_id, slow)) is not None:
            self.note_end(status)
            return
        self.ends["slow"] += 1  # work may be long, but it can be cancelled
        self.server.post("/interrupt", {})
        if self.ended(prompt_id, STOPPING) is None:
            kinds = {one["class_type"] for one in prompt.values() if one["class_type"].startswith("SceneScope_")}
            self.note(f"deaf to a cancel: {', '.join(sorted(kinds))}")

    def ended(self, prompt_id: str, within: float) -> dict[str, Any] | None:
        """How a prompt ended, or None where it hasn't within so many seconds; a busy server may answer late."""
        began, pause = time.monotonic(), 0.002
        while time.monotonic() - began < within:
            with suppress(TimeoutError):
                history = self.server.get_json(f"/history/{prompt_id}")
                if prompt_id in history:
                    return dict(history[prompt_id]["status"])
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return None

    def note_refusal(self, error: urllib.error.HTTPError) -> None:
        """The host refused the prompt; our own part in that is the nodes' `validate_inputs`."""
        self.ends["refused"] += 1
        if error.code != 400:
            self.ends["the host's own failure"] += 1
            return
        answer = json.loads(error.read())
        for refused in (answer.get("node_errors") or {}).values():
            for each in refused["errors"]:
                kind = str(each.get("extra_info", {}).get("exception_type", "")).rpartition(".")[2]
                if each["type"].startswith("exception") and kind not in OURS and "SceneScope" in refused["class_type"]:
                    self.note(f"{refused['class_type']} while it is validated: {kind}: {each['details'][:150]}")

    def note_end(self, status: dict[str, Any]) -> None:
        """The prompt ran; where a node failed, note with what."""
        failed = next((more for kind, more in status["messages"] if kind == "execution_error"), None)
        if failed is None:
            self.ends["ran"] += 1
            return
        kind = failed["exception_type"].rpartition(".")[2]
        place = ([line.strip().split("\n")[0] for line in failed["traceback"]] or [""])[-1]  # a blocker has no lines
        inside = failed["node_type"].startswith("SceneScope_") or f"{os.sep}{PACK_FOLDER}{os.sep}" in place
        if kind in OURS or not inside:
            self.ends["our error" if kind in OURS else "another node's error"] += 1
            return
        self.ends["foreign"] += 1
        message = failed["exception_message"].strip().split("\n")[0][:120]
        self.note(f"{failed['node_type']}: {kind}: {message} | {place[-90:]}")

    def note(self, error: str) -> None:
        """Count a foreign error; the first of a kind is told at once, for a long run is watched."""
        if error not in self.foreign:
            print(f"after {sum(self.ends.values())} prompts: {error}\n      with {self.last[:400]}", flush=True)
        self.foreign[error] += 1


def alike(declared: list[Any] | None) -> list[Any]:
    """Values of the type that an input declares, in bounds and out of them; all literals where it has no such type."""
    kind, facts = (declared[0], declared[1] if len(declared) > 1 else {}) if declared else (None, {})
    options = kind if isinstance(kind, list) else facts.get("options")
    if options:
        return [option.get("key") if isinstance(option, dict) else option for option in options]
    if kind == "BOOLEAN":
        return [True, False]
    if kind in ("INT", "FLOAT"):
        bounds = [facts[name] for name in ("min", "max", "default") if facts.get(name) is not None]
        return [*bounds, *(value for value in LITERALS if type(value) in (int, float))]
    if kind == "STRING":
        return [value for value in LITERALS if isinstance(value, str)]
    return LITERALS


def needed(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """A node and all that it depends on."""
    found: dict[str, Any] = {}
    wanted = [name]
    while wanted:
        at = wanted.pop()
        if at in graph and at not in found:
            found[at] = graph[at]
            wanted += [value[0] for value in graph[at]["inputs"].values() if isinstance(value, list) and value]
    return found


def sound_graph(info: dict[str, Any]) -> dict[str, Any]:
    """A small graph with every node of the pack; the loaders name files that the savers write in its first run."""

    def one(kind: str, **inputs: Any) -> dict[str, Any]:
        return node(info, kind, **inputs)

    model, clip, vae, maps = ["model", 0], ["trace", 0], ["model", 2], ["sampled", 1]
    pair = {"positive": ["text", 0], "negative": ["empty", 0]}
    learned = {"model": model, "clip": clip, "concepts": ["train", 0]}
    return {
        "model": one("SceneScope_DemoModel"),
        "trace": one("SceneScope_TraceWords", clip=["model", 1]),
        "text": one("CLIPTextEncode", clip=clip, text="a red circle"),
        "empty": one("CLIPTextEncode", clip=clip, text=""),
        "size": one("EmptyLatentImage", width=64, height=64, batch_size=1),
        "record": one("SceneScope_RecordAttention", model=model),
        "sampler": one("KSampler", model=["record", 0], latent_image=["size", 0], steps=2, **pair),
        "frozen": one("SceneScope_AttentionMaps", recorder=["record", 1], result=["sampler", 0]),
        "sampled": one(
            "SceneScope_SampleAndRecord", model=model, latent_image=["size", 0], steps=2, keep_queries=True,
            attention="cross and self", **pair,
        ),
        "decoded": one("VAEDecode", samples=["sampled", 0], vae=vae),
        "shapes": one("SceneScope_BlockShapes", model=model),
        "heatmap": one("SceneScope_TokenHeatmap", attention_maps=maps, words="circle"),
        "overlay": one("SceneScope_HeatmapOverlay", image=["decoded", 0], mask=["heatmap", 1]),
        "mask": one("SceneScope_MapToMask", mask=["heatmap", 1], attention_maps=maps),
        "self": one("SceneScope_SelfAttention", attention_maps=maps, mask=["heatmap", 1], picture=["decoded", 0]),
        "ask": one("SceneScope_AskAgain", model=model, attention_maps=maps, conditioning=["text", 0]),
        "compare": one("SceneScope_CompareMaps", before=maps, after=maps),
        "save_maps": one("SceneScope_SaveMaps", maps=maps),
        "load_maps": {
            "class_type": "SceneScope_LoadMaps", "inputs": {"file": "maps/SceneScope_00001_.maps.safetensors"}
        },
        "demo": one("SceneScope_DemoScene", width=128, height=128),
        "scene": {
            "class_type": "SceneScope_BuildScene",
            "inputs": {
                "image": ["demo", 0], "masks.mask0": ["demo", 1], "handles": "", "words": "", "background": "",
                "resolution": 128,
            },
        },
        "settings": choosing(
            info, "SceneScope_TrainSettings", "preset", "lora", phase1_steps=1, phase2_steps=1, prior="off"
        ),
        "train": one(
            "SceneScope_TrainConcepts", model=model, clip=clip, vae=vae, scene=["scene", 0], settings=["settings", 0],
            sample_count=0,
        ),
        "apply": one("SceneScope_ApplyConcepts", **learned),
        "generate": one("SceneScope_GenerateFromTokens", **learned, vae=vae, width=64, height=64, steps=2),
        "save": one("SceneScope_SaveConcepts", concepts=["train", 0]),
        "load": {
            "class_type": "SceneScope_LoadConcepts",
            "inputs": {"file": "concepts/SceneScope_00001_.concepts.safetensors"},
        },
        **_acting_nodes(one, model, maps),
    }  # fmt: skip


def _acting_nodes(one: Callable[..., dict[str, Any]], model: list[Any], maps: list[Any]) -> dict[str, Any]:
    """The nodes that act on a model, and the one that tells them how."""
    return {
        "steer": one("SceneScope_SteerWords", model=model, words="circle", keep_others=maps, steering=["doctor", 3]),
        "region": one("SceneScope_WordRegion", model=model, base=["text", 0], inside=["empty", 0], words="circle"),
        "followed": one(
            "KSampler", model=["region", 0], latent_image=["size", 0], steps=2, positive=["region", 1],
            negative=["empty", 0],
        ),
        "region_mask": one("SceneScope_RegionMask", region=["region", 2], latent=["followed", 0]),
        "replay": one("SceneScope_ReplayAttention", model=model, attention_maps=maps, free=["heatmap", 1]),
        "doctor": one("SceneScope_PromptDoctor", attention_maps=maps, words="circle", picture=["decoded", 0]),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
