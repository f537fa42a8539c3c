"""Files that are complete or not there: written beside their place under another name, then moved into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from ..errors import FileError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows, where nobody can delete a file that somebody has open
    flock = None  # type: ignore[assignment]

Where = Path | Iterable[Path]
"""A file to write in place of an existing one; or names in one folder, of which the first that is free is taken,
whoever else writes there at the same time."""


def write_whole(write: Callable[[BinaryIO], object], where: Where, who: str) -> Path:
    """Write a file that gets its name once it is on the disk.

    Args:
        write: writes the content; what it raises comes through, and nothing is left behind.
        where: the place.
        who: the beginning of an error message.

    Returns:
        The file's path.

    Raises:
        FileError: it cannot be written; a file that was there is as it was.
    """
    names = iter([where] if isinstance(where, Path) else where)
    path = next(names)
    try:
        with _beside(path) as (file, aside):
            write(file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name with nothing in it
            if flock is None:
                file.close()  # Windows moves no open file; elsewhere it stays open, so that nobody sweeps it
            move = _replaced if isinstance(where, Path) else _named
            while not move(aside, path):
                path = next(names)
    except OSError as error:
        raise FileError(
            f"{who}: {path.name} can't be written ({error.strerror or error}). Free some space, or choose a name in a "
            "folder that you can write to."
        ) from error
    return path


def sweep(folder: Path) -> None:
    """Delete what killed writers left in a folder, and nothing that is being written now."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if flock is None:
                path.unlink()
                continue
            with path.open("r+b") as file:
                flock(file, LOCK_EX | LOCK_NB)  # an OSError where its writer lives
                if os.fstat(file.fileno()).st_size:  # an empty one may be about to be locked
                    path.unlink()


@contextmanager
def _beside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the folder of another; cleaning up never hides the error that came first."""
    aside = path.with_name(f".{uuid4().hex}.tmp")
    file = aside.open("xb")
    try:
        with suppress(OSError):  # some network shares know no locks, and then nothing is swept there either
            if flock is not None:
                flock(file, LOCK_EX)
        yield file, aside
    finally:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            aside.unlink()


def _replaced(aside: Path, path: Path) -> bool:
    os.replace(aside, path)
    return True


def _named(aside: Path, path: Path) -> bool:
    """Whether a file could be given a name that nothing had."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links, such as FAT: claim the name with an empty file, and replace that
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        os.replace(aside, path)
    return True
