"""The pack loads as a user's ComfyUI loads it: quietly and quickly."""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys

import pytest
from pack import comfy_entrypoint
from pack.devtools.comfyui import ROOT
from pack.devtools.server import install_pack
from pack.nodes import NODES

SECONDS_TO_LOAD = 0.3
# Loads what the host has loaded before it comes to the packs (0.33.0, main.py; comfy_config with the first pack), then
# the pack with the host's loader, and prints what happened.
SCRIPT = """
import asyncio, json, logging, runpy, sys, time, warnings
runpy.run_path(sys.argv[1])["use_comfyui"](__import__("pathlib").Path(sys.argv[2]))
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
    tool = ROOT / "devtools" / "comfyui.py"
    command = [sys.executable, "-c", SCRIPT, tool, comfy_path, folder / "SceneScope"]
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
