"""Find the ComfyUI on this machine, and make its modules importable. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .environment import cache_folder
from .trouble import TroubleError

ROOT = Path(__file__).resolve().parent.parent
HOW_TO_GET_ONE = "Set COMFYUI_PATH to a ComfyUI folder, or run `python dev.py test --get-host` to get one."


def find_comfyui(root: Path = ROOT) -> Path | None:
    """Look where a ComfyUI may be: `$COMFYUI_PATH`, around the pack, `~/comfy/ComfyUI`, `~/ComfyUI`, the cache.

    Args:
        root: the pack's folder; if it lies in a `custom_nodes`, that folder's parent is looked at

    Returns:
        path: the folder that holds ComfyUI's main.py, or None

    Raises:
        TroubleError: `$COMFYUI_PATH` is set and holds no ComfyUI
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not is_comfyui(Path(named)):
            raise TroubleError(
                f"COMFYUI_PATH is {named}, but there is no main.py of a ComfyUI in it. Correct or unset it."
            )
        return Path(named).resolve()
    around = [root.parent.parent] if root.parent.name == "custom_nodes" else []
    usual = [Path.home() / "comfy" / "ComfyUI", Path.home() / "ComfyUI"]
    got = sorted(cache_folder().glob("comfyui-*[0-9]"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path.resolve() for path in around + usual + got if is_comfyui(path)), None)


def need_comfyui(who: str) -> Path:
    """Find a ComfyUI, or end with a sentence that says how to get one.

    Args:
        who: what needs it

    Returns:
        path: as `find_comfyui` gives it
    """
    path = find_comfyui()
    if path is None:
        raise SystemExit(f"{who}: no ComfyUI was found. {HOW_TO_GET_ONE}")
    return path


def got_comfyui(release: str) -> Path:
    """Where `dev.py` keeps a release that it got by itself."""
    return cache_folder() / f"comfyui-{release}"


def use_comfyui(path: Path, *, cpu: bool = True) -> None:
    """Put ComfyUI's modules on `sys.path`, ahead of everything, and choose the device before they load.

    Host contract (0.33.0): comfy/cli_args.py parses no arguments unless asked to, and comfy/model_management.py reads
    `args.cpu` when it is first imported.

    Args:
        path: what `find_comfyui` returned
        cpu: whether to leave a GPU alone
    """
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    from comfy.cli_args import args

    args.cpu = cpu


def is_comfyui(path: Path) -> bool:
    """Whether a folder holds a ComfyUI."""
    return (path / "main.py").is_file() and (path / "comfy").is_dir()
