"""`dev.py demo`: what the pack does, on this machine, in a ComfyUI or, where none can be had, without one.

Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .comfyui import find_comfyui
from .get_comfyui import get_comfyui
from .server import Place, Server, WorkflowError
from .setup import ROOT, Setup
from .trouble import TroubleError
from .workflow import to_prompt

EXAMPLES = ("where_words_went.py", "learn_a_token.py")
"""The scripts that do the same job without a ComfyUI."""


def demo(options: argparse.Namespace) -> int:
    """Run every example in a ComfyUI that is found or got; where none can be had, do the same job without one."""
    comfyui = None if options.no_host else find_comfyui()
    if comfyui is None and not options.no_host:
        try:
            comfyui = get_comfyui()
        except TroubleError as error:
            print(f"{error} The demo does the same job without ComfyUI.", flush=True)
    setup = Setup.make(comfyui)
    return _without_host(setup) if comfyui is None else _in_host(setup, comfyui, options)


def _without_host(setup: Setup) -> int:
    """Record, look, learn and paint through diffusers."""
    place = Path(tempfile.mkdtemp(prefix="scenescope-"))
    failed = 0
    for name in EXAMPLES:
        print(f"\n== {name} " + "=" * 70, flush=True)
        words = (ROOT / "devtools" / "as_pack.py", "--as", "scenescope", ROOT / "examples" / name, "--output", place)
        failed += setup.call(setup.python, *words) != 0
    print(f"\nThe pictures are in {place}", flush=True)
    return int(failed > 0)


def _in_host(setup: Setup, comfyui: Path, options: argparse.Namespace) -> int:
    """Start ComfyUI with the pack in a folder of its own, run every example workflow, list what came of it."""
    probe = [str(setup.python), "-c", "import torch; raise SystemExit(not torch.accelerator.is_available())"]
    on_cpu = options.cpu or subprocess.run(probe, check=False).returncode != 0
    place = Place(comfyui, setup.python, Path(tempfile.mkdtemp(prefix="scenescope-")), ("--cpu",) if on_cpu else ())
    rows, learned, failed = [], [], 0
    print(f"Starting ComfyUI from {comfyui} {'on the CPU' if on_cpu else 'on the GPU'} ...", flush=True)
    with Server(place) as server:
        object_info = server.get_json("/object_info")
        print(f"The editor is at {server.address} while this runs.", flush=True)
        for file in learning_order():
            print(f"{file.stem} ... ", end="", flush=True)
            start = time.monotonic()
            try:
                entry = server.run(to_prompt(json.loads(file.read_text("utf-8")), object_info), within=3600)
            except (WorkflowError, ValueError) as error:
                failed += 1
                print(f"failed\n{error}", flush=True)
                continue
            print(f"{time.monotonic() - start:.1f} s", flush=True)
            files = [item for output in entry["outputs"].values() for item in output.get("images", [])]
            rows.append((file.stem, [server.path_of(item) for item in files]))
            learned += [(file.stem, run) for run in runs_in(entry)]
        _report(rows, learned)
        if options.stay:
            with contextlib.suppress(KeyboardInterrupt):
                input(f"\nThe editor is at {server.address}; press Enter to stop it. ")
    return int(failed > 0)


def learning_order() -> list[Path]:
    """The example workflows as the README lists them: what one learns first comes first."""
    listed = (ROOT / "README.md").read_text("utf-8").partition("## Example workflows")[2]
    names = re.findall(r"\(example_workflows/([\w.]+\.json)\)", listed)
    return [ROOT / "example_workflows" / name for name in dict.fromkeys(names)]


def _report(rows: list[tuple[str, list[Path]]], learned: list[tuple[str, dict[str, Any]]]) -> None:
    """List what was learned, and the pictures."""
    print(f"\n{'workflow':32} {'learned in':12} what: IoU of its attention map and its mask at the end")
    for name, run in learned:
        print(f"{name:32} {run['step']:6} steps {run['message']}")
    print(f"\n{'workflow':32} pictures")
    for name, pictures in rows:
        print("\n".join(f"{name if not line else '':32} {path}" for line, path in enumerate(pictures or ["-"])))


def runs_in(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The summaries of the training runs in an entry of the server's history.

    >>> runs_in({"outputs": {"5": {"scenescope_training": [{"step": 9}]}, "6": {"images": []}}})
    [{'step': 9}]
    """
    return [run for output in entry["outputs"].values() for run in output.get("scenescope_training", [])]
