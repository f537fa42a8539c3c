"""Train Concepts as a person uses it: queued in a real server, cancelled, killed, and queued again."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pack.devtools.server import Place, Server
from pack.scenescope.training.learned.concepts import load_concepts
from pack.scenescope.training.run.state import load_state
from pack.tests.support.host.prompts import choosing, node
from pack.tests.support.toy_runs import bits

STEPS = (12, 8)


def graph(info: dict[str, Any], name: str) -> dict[str, Any]:
    """From the demo scene to a picture with its things, and to a file of what was learned."""
    chosen = {"phase1_steps": STEPS[0], "phase2_steps": STEPS[1], "rank": 4}
    parts = {"model": ["model", 0], "clip": ["model", 1], "vae": ["model", 2]}
    applied = {"model": ["apply", 0], "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["size", 0]}
    return {
        "model": node(info, "SceneScope_DemoModel"),
        "things": node(info, "SceneScope_DemoScene"),
        "scene": node(
            info, "SceneScope_BuildScene", image=["things", 0], resolution=128, **{"masks.mask0": ["things", 1]}
        ),
        "settings": choosing(info, "SceneScope_TrainSettings", "preset", "lora", **chosen),
        "train": node(
            info,
            "SceneScope_TrainConcepts",
            **parts,
            scene=["scene", 0],
            settings=["settings", 0],
            run_name=name,
            save_every=2,
            sample_count=1,
            sample_steps=2,
        ),
        "save": node(info, "SceneScope_SaveConcepts", concepts=["train", 0], filename_prefix=f"concepts/{name}"),
        "apply": node(info, "SceneScope_ApplyConcepts", model=["model", 0], clip=["model", 1], concepts=["train", 0]),
        "text": node(info, "CLIPTextEncode", text="a photo of <asset0>", clip=["apply", 1]),
        "size": node(info, "EmptyLatentImage", width=128, height=128, batch_size=1),
        "sample": node(info, "KSampler", **applied, steps=2, cfg=1.0, sampler_name="euler", scheduler="normal"),
        "decode": node(info, "VAEDecode", samples=["sample", 0], vae=["model", 2]),
        "show": node(info, "PreviewImage", images=["decode", 0]),
    }


def heard(server: Server, prompt: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Queue a prompt and listen on the websocket until it has ended, as the editor does.

    Returns:
        What the training told.
    """

    async def listen() -> list[dict[str, Any]]:
        payload: list[dict[str, Any]] = []
        address = f"ws://127.0.0.1:{server.port}/ws?clientId={server.client}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            await asyncio.to_thread(server.queue, prompt)
            async for message in socket:
                event = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {"type": None}
                if event["type"] == "scenescope.training":
                    payload.append(event["data"])
                    await asyncio.to_thread(on_event, event["data"])
                if event["type"] == "executing" and event["data"]["node"] is None:
                    break
        return payload

    return asyncio.run(listen())


def folder_of(server: Server, name: str) -> Path:
    """Where a run is kept."""
    return server.place.base / "output" / "training" / name


def saved_bits(server: Server, name: str) -> dict[str, bytes]:
    """What the prompt saved at its end."""
    (path,) = (server.place.base / "output" / "concepts").glob(f"{name}_*.concepts.safetensors")
    return bits(load_concepts(path))


@pytest.fixture(scope="module")
def whole(running_server: Server) -> dict[str, bytes]:
    """What a run that nobody disturbed learns."""
    running_server.run(graph(running_server.get_json("/object_info"), "whole"))
    return saved_bits(running_server, "whole")


def test_a_run_that_is_cancelled_in_the_editor_is_kept_and_goes_on(server, whole):
    """Oracle: the run that was not cancelled; the events by hand; the picture that the graph ends with."""
    prompt, pressed = graph(server.get_json("/object_info"), "cancelled"), []

    def cancel(event: dict[str, Any]) -> None:
        if event["status"] == "training" and event["step"] >= 4 and not pressed:
            pressed.append(event["step"])
            server.post("/interrupt", {})

    payload = heard(server, prompt, cancel)
    assert [event["status"] for event in (payload[0], payload[-1])] == ["preparing", "stopped"]
    kept = load_state(folder_of(server, "cancelled") / "state.safetensors").step
    assert pressed[0] <= kept < sum(STEPS)
    assert f"Cancelled after step {kept} of {sum(STEPS)}" in payload[-1]["message"]
    assert payload[-1]["curves"]["steps"] == list(range(1, kept + 1))
    shown = {"filename": "dashboard.json", "subfolder": "training/cancelled", "type": "output"}
    assert {"node": "train", **json.loads(server.view(shown))} == payload[-1]
    payload = heard(server, prompt, lambda event: None)
    assert [event["status"] for event in (payload[0], payload[-1])] == ["preparing", "finished"]
    assert {event["node"] for event in payload} == {"train"}
    assert payload[0]["step"] == kept
    assert min(event["step"] for event in payload if event["status"] == "training") > kept
    assert payload[-1]["curves"]["steps"] == list(range(1, sum(STEPS) + 1))
    assert saved_bits(server, "cancelled") == whole
    (picture,) = payload[-1]["images"]
    assert server.path_of(picture).is_file()


def test_a_server_that_is_killed_while_it_trains_loses_nothing(server, whole, tmp_path, comfy_path):
    """Oracle: the run that nobody disturbed; the process is ended by a signal that it cannot catch."""
    with Server(Place(comfy_path, Path(sys.executable), tmp_path)) as other:
        other.queue(graph(other.get_json("/object_info"), "killed"))
        kept = folder_of(other, "killed") / "state.safetensors"
        end = time.monotonic() + 300
        while not (kept.exists() and load_state(kept).step >= 6):
            assert time.monotonic() < end, other.log[-2000:]
            time.sleep(0.05)
        other.kill()
    assert load_state(kept).step < sum(STEPS)
    assert json.loads((kept.parent / "dashboard.json").read_text("utf-8"))["status"] == "training"
    shutil.copytree(kept.parent, folder_of(server, "killed"))
    (folder_of(server, "killed") / ".half.tmp").write_bytes(b"what was being written")
    server.run(graph(server.get_json("/object_info"), "killed"))
    assert saved_bits(server, "killed") == whole
    left = {path.name for path in folder_of(server, "killed").iterdir()}
    assert left == {kept.name, "curves.safetensors", "dashboard.json", f"sample_{sum(STEPS):06}_00.png"}
