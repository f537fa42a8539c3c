"""The pack in a real server, over its HTTP and websocket API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
from pack.devtools.comfyui import ROOT
from pack.nodes import NODES
from pack.scenescope.dims import bytes_text
from pack.tests.support.host.prompts import node

OURS = [node.GET_SCHEMA().node_id for node in NODES]


def described(server) -> dict[str, Any]:
    """Return what the server says of this pack's nodes."""
    return {name: info for name, info in server.get_json("/object_info").items() if name in OURS}


def options_of(sections: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the path and the options of every input, down into the dynamic ones."""
    for part in ("required", "optional"):
        for name, spec in sections.get(part, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            yield f"{path}.{name}", options
            for choice in options["options"] if spec[0] == "COMFY_DYNAMICCOMBO_V3" else ():
                yield from options_of(choice["inputs"], f"{path}.{name}.{choice['key']}")


def test_the_server_has_every_node_of_the_pack(server):
    """Oracle: the pack's own list."""
    assert sorted(described(server)) == sorted(OURS)


def test_every_input_has_a_tooltip(server):
    """Oracle: the server's description of each node, as the editor reads it."""
    inputs = [pair for name, info in described(server).items() for pair in options_of(info["input"], name)]
    assert [path for path, options in inputs if not options.get("tooltip")] == []


def test_every_output_has_a_tooltip(server):
    """Oracle: as above."""
    outputs = {name: info["output_tooltips"] or [None] for name, info in described(server).items() if info["output"]}
    assert [name for name, tips in outputs.items() if not all(tips)] == []


def test_every_node_has_a_description_a_plain_name_and_words_to_find_it_by(server):
    """Oracle: as above; a display name carries no prefix."""
    for name, info in described(server).items():
        assert info["description"], name
        assert info["search_aliases"], name
        assert info["category"].startswith("SceneScope"), name
        assert "SceneScope" not in info["display_name"], name


def test_every_node_has_a_help_page_where_the_editor_looks_for_it(server):
    """Oracle: the address that the editor asks for (front end 1.49.6): /extensions/<folder>/docs/<node id>.md."""
    pages = {name: ROOT / "web" / "docs" / f"{name}.md" for name in OURS}
    assert [name for name, page in pages.items() if not page.exists()] == []
    for name, page in pages.items():
        assert server.get(f"/extensions/SceneScope/docs/{name}.md").decode() == page.read_text("utf-8")


def test_a_prompt_reports_its_progress_over_the_websocket(server):
    """Oracle: the server's messages for a prompt of stock nodes: each is announced, then the end."""
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert asyncio.run(_announced(server, prompt)) == ["1", "2", None]


async def _announced(server, prompt: dict[str, Any]) -> list[str | None]:
    nodes: list[str | None] = []
    address = f"ws://127.0.0.1:{server.port}/ws?clientId={server.client}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await asyncio.to_thread(server.queue, prompt)
        async for message in socket:
            event = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {"type": None}
            if event["type"] == "executing":
                nodes.append(event["data"]["node"])
                if nodes[-1] is None:
                    break
    return nodes


def test_the_full_size_checkpoint_of_the_stock_loader_is_recorded(server, served_checkpoint):
    """Oracle: by hand, for one step at 256x256 without CFG: 16 maps of 5 x 1024 + 5 x 256 + 5 x 64 + 16 queries."""
    info = server.get_json("/object_info")
    prompt = {
        "model": node(info, "CheckpointLoaderSimple", ckpt_name=served_checkpoint),
        "words": node(info, "SceneScope_TraceWords", clip=["model", 1]),
        "text": node(info, "CLIPTextEncode", text="a cat on a sofa", clip=["words", 0]),
        "size": node(info, "EmptyLatentImage", width=256, height=256, batch_size=1),
        "record": node(info, "SceneScope_RecordAttention", model=["model", 0]),
        "sample": node(
            info,
            "KSampler",
            model=["record", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["size", 0],
            steps=1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="normal",
        ),
        "decode": node(info, "VAEDecode", samples=["sample", 0], vae=["model", 2]),
        "maps": node(info, "SceneScope_AttentionMaps", recorder=["record", 1], result=["sample", 0]),
        "heatmap": node(info, "SceneScope_TokenHeatmap", attention_maps=["maps", 0], words="cat, sofa"),
        "report": node(info, "PreviewAny", source=["heatmap", 2]),
        "shapes": node(info, "SceneScope_BlockShapes", maps=["maps", 0]),
        "log": node(info, "PreviewAny", source=["shapes", 1]),
        "show": node(info, "PreviewImage", images=["decode", 0]),
    }
    outputs = server.run(prompt)["outputs"]
    picture = server.view(outputs["show"]["images"][0])
    assert (int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")) == (256, 256)  # PNG header
    report = json.loads(outputs["report"]["text"][0])
    assert [word["word"] for word in report["words"]] == ["cat", "sofa"]
    assert (report["grid"], len(report["blocks"])) == ("16x16", 5)
    log = json.loads(outputs["log"]["text"][0])
    assert len(log["blocks"]) == 16
    held = 77 * 2 * (5 * 1024 + 5 * 256 + 5 * 64 + 16)
    assert f"Recording {bytes_text(held)} for 1 step " in server.log
