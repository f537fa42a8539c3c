"""One worker at a time on a run: a lease with an owner and a heartbeat in the run's folder, perhaps on a shared disk.

Machines' clocks may differ, so times are never compared: whoever finds a lease watches it, and takes the owner for dead
if its heart doesn't beat meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ...errors import InputError

NAME = "lease.json"
BEAT, PATIENCE = 5.0, 30.0
"""Seconds between heartbeats, and seconds for which a lease is watched before it counts as abandoned."""
POLL = 0.05  # seconds


class Lease:
    """The right to work in a folder, while entered; kept alive from a thread of its own.

    The lease of a killed worker on this machine is taken at once, another machine's when its heart has not beaten for
    `patience` seconds.

    Args:
        folder: the run's.
        who: the beginning of an error message.
        beat: seconds between heartbeats.
        patience: seconds; several beats.
        on_wait: called again and again while a lease is watched; raise from it to stop waiting.
        machine: this machine's name.
    """

    def __init__(
        self,
        folder: Path,
        who: str,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        on_wait: Callable[[], None] = lambda: None,
        machine: str | None = None,
    ) -> None:
        self._path, self._who, self._beat, self._patience = folder / NAME, who, beat, patience
        self._machine = machine if machine is not None else platform.node()
        self._on_wait, self._own = on_wait, uuid4().hex
        self._beats, self._lost, self._ended = 0, threading.Event(), threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Lease:
        while not self._taken():
            found = self._content()
            if found is None or self._is_dead(found) or self._is_silent(found):
                self._remove(found)
        self._heart = threading.Thread(target=self._live, name="scenescope lease", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Stop a worker that was taken for dead, such as a laptop that slept, and whose run another has taken over.

        Raises:
            InputError: the lease is another's now.
        """
        if self._lost.is_set():
            raise InputError(
                f"{self._who}: another worker has taken this run over, because this one was not heard from for "
                f"{self._patience:.0f} s. Let that one finish, or give this run another run_name."
            )

    def _taken(self) -> bool:
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(self._written())
            return True
        except FileExistsError:
            return False

    def _written(self) -> str:
        about = {"machine": self._machine, "process": os.getpid(), "owner": self._own, "beats": self._beats}
        return json.dumps(about)

    def _content(self) -> str | None:
        with suppress(FileNotFoundError):
            return self._path.read_text("utf-8")
        return None

    def _is_ours(self) -> bool:
        return self._own in (self._content() or "")

    def _is_dead(self, found: str) -> bool:
        """Whether the owner was a process of this machine that no longer exists; Windows is not asked."""
        about = _read(found)
        process = about.get("process")
        if os.name == "nt" or about.get("machine") != self._machine or not isinstance(process, int):
            return False
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _is_silent(self, found: str) -> bool:
        """Watch a lease: True if it stays unchanged, or disappears.

        Raises:
            InputError: its heart beats.
        """
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            self._on_wait()
            now = self._content()
            if now is None:
                return True
            if now != found:
                about = _read(now)
                raise InputError(
                    f"{self._who}: this run is being trained by {about.get('machine') or 'another machine'}, process "
                    f"{about.get('process', 'unknown')}. Let it finish, or give this run another run_name."
                )
            time.sleep(POLL)
        return True

    def _remove(self, found: str | None) -> None:
        """Remove the watched lease, and no other; of two workers that watched it, only one succeeds."""
        aside = self._path.with_name(f".{NAME}.{self._own}.tmp")
        with suppress(FileNotFoundError):
            self._path.rename(aside)
            if found is not None and aside.read_text("utf-8") != found and not self._path.exists():
                aside.rename(self._path)  # somebody was quicker; it is theirs
            aside.unlink(missing_ok=True)

    def _live(self) -> None:
        """Beat until the end, or until the lease is another's."""
        aside = self._path.with_name(f".{NAME}.{self._own}.beat.tmp")
        while not self._ended.wait(self._beat):
            if not self._is_ours():
                self._lost.set()
                return
            self._beats += 1
            with suppress(OSError):  # a disk may be unreachable for a while: the next beat may succeed
                aside.write_text(self._written(), "utf-8")
                aside.replace(self._path)
        aside.unlink(missing_ok=True)


def _read(content: str) -> dict[str, object]:
    """What a lease says; nothing where it is being written."""
    with suppress(ValueError):
        about = json.loads(content)
        return about if isinstance(about, dict) else {}
    return {}
