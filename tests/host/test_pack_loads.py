"""The pack loads as a user's ComfyUI loads it: quietly and quickly."""

from __future__ import annotations

import asyncio
import compileall
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from app.node_replace_manager import NodeReplaceManager
from comfy_api.latest import io
from pack import comfy_entrypoint
from pack.devtools.comfyui import ROOT
from pack.devtools.server import install_pack
from pack.host.version import OLDEST, refuse_older_host
from pack.nodes import NODES, REPLACEMENTS, register
from pack.scenescope.errors import HostError
from PIL import Image

SECONDS_TO_LOAD = 0.3
# Loads what the host has loaded before it comes to the packs (0.33.0, main.py; comfy_config with the first pack), then
# the pack with the host's loader, and prints what happened.
SCRIPT = """
import asyncio, json, logging, pathlib, sys, time, warnings
sys.path.insert(0, sys.argv[1])
from devtools.comfyui import use_comfyui
del sys.path[0]  # our `nodes/` would hide the host's nodes.py
use_comfyui(pathlib.Path(sys.argv[2]))
import comfy_config.config_parser, execution, nodes, server
said = []
class Listen(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger().addHandler(Listen(logging.WARNING))
before, clock = set(nodes.NODE_CLASS_MAPPINGS), time.process_time()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    loaded = asyncio.run(nodes.load_custom_node(sys.argv[3]))
seconds = time.process_time() - clock
said += [str(warning.message) for warning in caught]
print(json.dumps([loaded, seconds, said, sorted(set(nodes.NODE_CLASS_MAPPINGS) - before)]))
"""


@pytest.fixture(scope="module")
def loading(comfy_path, tmp_path_factory):
    """What the host's own loader does with the pack, in a process of its own that has loaded the host already."""
    folder = tmp_path_factory.mktemp("custom_nodes")
    install_pack(folder)
    for ring in ("nodes", "host", "scenescope"):
        compileall.compile_dir(ROOT / ring, quiet=1)
    command = [sys.executable, "-c", SCRIPT, ROOT, comfy_path, folder / "SceneScope"]
    done = subprocess.run(command, cwd=comfy_path, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    loaded, seconds, said, node_ids = json.loads(done.stdout.splitlines()[-1])
    return {"loaded": loaded, "seconds": seconds, "said": said, "node_ids": node_ids}


def test_the_pack_loads_without_a_warning(loading):
    """Oracle: the host's own loader (0.33.0, nodes.load_custom_node) and everything logged or warned meanwhile."""
    assert loading["said"] == []
    assert loading["loaded"]


def test_every_node_of_the_pack_reaches_the_host(loading):
    """Oracle: the pack's own list."""
    assert loading["node_ids"] == sorted(node.GET_SCHEMA().node_id for node in NODES)


def test_the_pack_loads_quickly(loading):
    """Oracle: the bound, in processor seconds, so that a busy machine does not count."""
    assert loading["seconds"] < SECONDS_TO_LOAD


def test_a_pack_that_cannot_load_says_why(monkeypatch, caplog):
    """Oracle: the traceback in the log; the host itself would log one line of it."""
    monkeypatch.setitem(sys.modules, "pack.nodes", None)
    with pytest.raises(ImportError):
        comfy_entrypoint().send(None)
    assert "Traceback" in caplog.text
    assert "SceneScope: the nodes could not be loaded" in caplog.text


@pytest.mark.parametrize("version", ["0.27.9", "0.25.0", "0.3.75", "0.9"])
def test_an_older_host_is_refused_at_loading_in_one_sentence(version, monkeypatch, caplog):
    """Oracle: the message, which the host logs as it is (0.25.0 to 0.33.0, nodes.load_custom_node); no traceback."""
    monkeypatch.setattr("comfyui_version.__version__", version)
    said = f"^SceneScope: this ComfyUI is {version}, and the pack needs 0.28.0 or newer. Update"
    with pytest.raises(HostError, match=said):
        comfy_entrypoint().send(None)
    assert not caplog.text


@pytest.mark.parametrize("version", ["0.28.0", "0.33.0", "1.0", "0.28.0-mine", "nightly"])
def test_hosts_from_the_oldest_on_and_unreadable_versions_are_let_through(version):
    """Oracle: by hand."""
    refuse_older_host(version)


def test_the_oldest_host_is_the_same_wherever_it_is_named():
    """Oracle: the number in `host/version.py`; registry, README and CI matrix follow it."""
    oldest = ".".join(map(str, OLDEST))
    for name, words in {
        "pyproject.toml": f'requires-comfyui = ">={oldest}"',
        "README.md": f"ComfyUI {oldest} or newer",
        ".github/workflows/tests.yml": f'comfyui: ["v{oldest}"',
        "host/__init__.py": f"(supported from {oldest})",
    }.items():
        assert words in (ROOT / name).read_text("utf-8"), name


def test_a_replaced_node_reaches_the_host(monkeypatch):
    """Oracle: the host's own manager (0.28.0 to 0.33.0, app/node_replace_manager.py), and a made-up replacement."""
    known = NodeReplaceManager()
    monkeypatch.setattr("server.PromptServer.instance", SimpleNamespace(node_replace_manager=known), raising=False)
    made_up = io.NodeReplace("SceneScope_TokenHeatmap", "SceneScope_OldHeatmap", ["words"])
    asyncio.run(register([made_up]))
    assert known.get_replacement("SceneScope_OldHeatmap") == [made_up]
    ours = {node.GET_SCHEMA().node_id for node in NODES}
    assert {replacement.new_node_id for replacement in REPLACEMENTS} <= ours
    assert not {replacement.old_node_id for replacement in REPLACEMENTS} & ours


def test_the_registry_is_told_of_pictures_that_are_there():
    """Oracle: the registry's own rules: an icon of at most 400x400 pixels, a banner of 21:9."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    sizes = {}
    for name in ("Icon", "Banner"):
        (path,) = re.findall(rf'^{name} = ".*/main/(.*)"$', text, re.MULTILINE)
        with Image.open(ROOT / path) as picture:
            sizes[name] = picture.size
    (icon, banner) = sizes["Icon"], sizes["Banner"]
    assert icon == (400, 400)
    assert banner[0] * 9 == banner[1] * 21
