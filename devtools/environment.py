"""The Python environment and other things that are slow to make, kept outside the repository. Standard library only.

Made by venv and pip, not by uv. uv would be faster, but it does not read pip's configuration (mirror, certificate,
constraints), by which machines behind a company's walls reach packages at all, and pip would have to fetch it first.
"""

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

from .trouble import ADVICE, TroubleError, reason_in


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
    """Make a virtual environment in `home` and install the packages that the files name.

    Raises:
        TroubleError: the packages cannot be had, or Python cannot make environments; the message says why.
    """
    try:
        venv.create(home, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        raise TroubleError(no_environment(error.output)) from error
    wanted = [word for file in requirements for word in ("-r", str(file))]
    words = [str(python_of(home)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        reason = reason_in(done.stdout)
        advice = ADVICE.get(reason, "Fix that")
        raise TroubleError(f"The packages could not be installed: {reason}. {advice}, and run it again.")


def no_environment(output: bytes) -> str:
    """Say why Python could not put pip into a new environment: no room, or Debian's Python, which ships venv apart."""
    reason = reason_in(output.decode(errors="replace"))
    if reason in ADVICE:
        return f"The Python environment could not be made: {reason}. {ADVICE[reason]}, and run it again."
    return (
        f"{sys.executable} cannot make a virtual environment. Install its venv module (Debian: apt install "
        "python3-venv), and run it again."
    )


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
    """Hold `lock` while a thing is looked for or made; one that a killed run has left is ignored.

    Where one cannot ask whether the run lives (Windows, a cache on a shared disk), it is ignored after an hour.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while not _taken(lock):
        if not told:
            print(f"Another run holds {lock}; waiting for it.", flush=True)
        told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _taken(lock: Path) -> bool:
    """Take a lock, unless a living run has it."""
    try:
        with lock.open("x", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {platform.node()}")
        return True
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            process, _, machine = lock.read_text("utf-8").partition(" ")
            dead = process.isdigit() and machine == platform.node() and not _lives(int(process))
            if dead or time.time() - lock.stat().st_mtime > 3600:
                lock.unlink()
        return False


def _lives(process: int) -> bool:
    """Whether a process of this machine runs; Windows, where asking would end it, is always told yes."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
