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
from collections.abc import Callable, Iterator
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


def install(home: Path, requirements: list[Path]) -> None:
    """Make a virtual environment in `home` and install the packages that the files name."""
    venv.create(home, with_pip=True, clear=True)
    wanted = [word for file in requirements for word in ("-r", str(file))]
    subprocess.run([python_of(home), "-m", "pip", "install", "-qq", *wanted], check=True)


def python_of(home: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment(requirements: list[Path], *, make: Callable[[Path, list[Path]], None] = install) -> Path:
    """Return a Python that has `requirements`, made on the first call and found again on the next.

    Args:
        requirements: files for pip; their contents name the environment
        make: makes it in a folder

    Returns:
        python: the interpreter
    """
    key = hashlib.sha256(f"{sys.platform} {platform.machine()} {sys.version} {sys.base_prefix}".encode())
    for file in requirements:
        key.update(file.read_bytes())
    home = cache_folder() / f"env-{key.hexdigest()[:12]}"
    complete = home / "complete"
    with one_at_a_time(home.with_suffix(".lock")):
        if not complete.exists():
            print(f"Making an environment in {home}; this takes a few minutes, once.", flush=True)
            make(home, requirements)
            complete.write_text("complete\n", "utf-8")
    return python_of(home)


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
