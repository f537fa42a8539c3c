"""Get a ComfyUI where there is none: a named release, by comfy-cli, into the cache. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .comfyui import got_comfyui, is_comfyui
from .environment import cache_folder, environment, one_at_a_time
from .trouble import TroubleError, reason_in

RELEASE = "0.33.0"
"""The release that everything here was seen in."""
COMFY_CLI = "comfy-cli==1.23.0\n"
WITHIN = 1800  # seconds that an installation may take


def install(home: Path) -> None:
    """Install the release with comfy-cli, and nothing else: the packages that it needs go into our environment.

    Raises:
        TroubleError: it cannot be had; the message says why.
    """
    if shutil.which("git") is None:
        raise TroubleError(f"Could not get ComfyUI {RELEASE}: there is no git on this machine.")
    wanted = cache_folder() / "comfy-cli.txt"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text(COMFY_CLI, "utf-8")
    comfy = environment([wanted]).with_name("comfy.exe" if os.name == "nt" else "comfy")
    words = ["--skip-prompt", "--workspace", str(home), "install", "--version", RELEASE, "--cpu"]
    words += ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement"]
    # comfy-cli keeps notes in the user's configuration; ours stay beside what they are about.
    notes = str(home.parent / "comfy-cli")
    variables = os.environ | {"XDG_CONFIG_HOME": notes, "GIT_TERMINAL_PROMPT": "0", "DO_NOT_TRACK": "1"}
    variables["COLUMNS"] = "1000"  # what it says stays on one line, and is quoted whole
    try:
        done = subprocess.run(
            [str(comfy), *words],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=WITHIN,
        )
    except subprocess.TimeoutExpired as error:
        raise TroubleError(f"Could not get ComfyUI {RELEASE} within {WITHIN // 60} minutes.") from error
    if done.returncode or not is_comfyui(home):
        raise TroubleError(f"Could not get ComfyUI {RELEASE}: {reason_in(done.stdout)}.")


def get_comfyui(*, make: Callable[[Path], None] = install) -> Path:
    """Return a ComfyUI of our own, got on the first call and found again on the next.

    Args:
        make: gets it into a folder that is not there.

    Returns:
        path: the folder that holds ComfyUI's main.py, in the cache.

    Raises:
        TroubleError: it is not there and cannot be had; the message says why.
    """
    home = got_comfyui(RELEASE)
    with one_at_a_time(home.with_name(f"{home.name}.lock")):
        if not is_comfyui(home):
            print(f"Getting ComfyUI {RELEASE} with comfy-cli into {home}, once.", flush=True)
            part = home.with_name(f"{home.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(home)
    return home
