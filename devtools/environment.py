"""The Python environment and other things that are slow to make, kept outside the repository. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return where environments and made models are kept: `$SCENESCOPE_CACHE`, or the platform's cache folder."""
    if named := os.environ.get("SCENESCOPE_CACHE"):
        return Path(named).expanduser().resolve()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "scenescope" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "scenescope"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scenescope"


def environment(requirements: list[Path]) -> Path:
    """Return a Python that has `requirements`, made on the first call and found again on the next.

    Args:
        requirements: files for pip; their contents name the environment

    Returns:
        python: the interpreter
    """
    key = hashlib.sha256(f"{sys.platform} {platform.machine()} {sys.version} {sys.base_prefix}".encode())
    for file in requirements:
        key.update(file.read_bytes())
    home = cache_folder() / f"env-{key.hexdigest()[:12]}"
    complete = home / "complete"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with one_at_a_time(home.with_suffix(".lock")):
        if not complete.exists():
            print(f"Making an environment in {home}; this takes a few minutes, once.", flush=True)
            venv.create(home, with_pip=True, clear=True)
            wanted = [word for file in requirements for word in ("-r", str(file))]
            subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
            complete.write_text("complete\n", "utf-8")
    return python


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold `lock` while a thing is looked for or made; one left by a killed run is ignored after an hour."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            lock.touch(exist_ok=False)
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > 3600:
                    lock.unlink()
            time.sleep(1)
    try:
        yield
    finally:
        lock.unlink()
