"""Files that are there whole or not at all, whoever else writes, and whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

import pytest
from pack.scenescope.errors import FileError
from pack.scenescope.files import atomic
from pack.scenescope.files.atomic import sweep, write_whole

ROOT = Path(atomic.__file__).parents[2]
WRITER = """
import itertools, pathlib, runpy, sys
runpy.run_path(sys.argv[1])["load_pack"]()
from pack.scenescope.files.atomic import write_whole
folder = pathlib.Path(sys.argv[2])
sys.stdin.read()
for number in range(20):
    names = (folder / f"{at}" for at in itertools.count())
    print(write_whole(lambda file: file.write(sys.argv[3].encode()), names, "Test"))
"""


def numbered(folder: Path) -> Iterator[Path]:
    """0, 1, 2, ... in a folder."""
    return (folder / str(number) for number in count())


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_is_replaced_and_a_free_name_is_taken(tmp_path):
    """Oracle: by hand."""
    assert write_whole(lambda file: file.write(b"old"), tmp_path / "0", "Test") == tmp_path / "0"
    assert write_whole(lambda file: file.write(b"new"), tmp_path / "0", "Test") == tmp_path / "0"
    assert write_whole(lambda file: file.write(b"next"), numbered(tmp_path), "Test") == tmp_path / "1"
    assert content(tmp_path) == {"0": b"new", "1": b"next"}


def test_processes_that_save_at_the_same_time_replace_nothing(tmp_path):
    """Oracle: counted: four processes save twenty files each under the first free number, and all eighty are there."""
    script = [sys.executable, "-c", WRITER, str(ROOT / "devtools" / "as_pack.py"), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*script, name], **pipes) for name in "abcd"]
    for writer in writers:
        writer.stdin.close()  # now they all begin
    said: dict[str, list[str]] = {}
    for name, writer in zip("abcd", writers, strict=True):
        with writer.stdout as lines:
            said[name] = lines.read().split()
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    assert content(tmp_path) == {Path(path).name: name.encode() for name, paths in said.items() for path in paths}
    assert len(content(tmp_path)) == 80


def test_a_file_system_without_links_replaces_nothing_either(tmp_path, monkeypatch):
    """Oracle: by hand; FAT refuses a second name for a file."""
    monkeypatch.setattr(os, "link", refusing(1, "Operation not permitted"))
    names = [write_whole(lambda file: file.write(b"x"), numbered(tmp_path), "Test").name for _ in range(3)]
    assert names == ["0", "1", "2"]
    assert content(tmp_path) == dict.fromkeys("012", b"x")


def refusing(number: int, reason: str) -> Callable[..., None]:
    """A function of the system's that only fails."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, reason)

    return refuse


def test_what_goes_wrong_first_is_what_is_raised(tmp_path, monkeypatch):
    """Oracle: the writer's own error, where taking the half file away fails too, as on a disk that became read-only."""
    monkeypatch.setattr(Path, "unlink", refusing(30, "Read-only file system"))

    def broken(file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError("the first error")

    with pytest.raises(RuntimeError, match="the first error"):
        write_whole(broken, tmp_path / "name", "Test")


def test_a_full_disk_leaves_the_file_that_was_there_and_no_other(tmp_path, monkeypatch):
    """Oracle: the earlier bytes."""
    (tmp_path / "name").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", refusing(28, "No space left on device"))
    with pytest.raises(FileError, match=r"^Test: name can\'t be written \(No space left on device\)\. Free"):
        write_whole(lambda file: file.write(b"after"), tmp_path / "name", "Test")
    assert content(tmp_path) == {"name": b"before"}


def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    """Oracle: by hand: one file of a process that is gone, one that is written while the folder is swept."""
    (tmp_path / ".gone.tmp").write_bytes(b"half")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        sweep(tmp_path)
        assert not (tmp_path / ".gone.tmp").exists()
        file.write(b" and half")

    write_whole(write, tmp_path / "name", "Test")
    assert content(tmp_path) == {"name": b"half and half"}


def test_every_file_that_is_moved_into_place_is_written_by_one_function():
    """Oracle: the source: the file of that function alone names a move."""
    shipped = (
        path for name in ("scenescope", "host", "nodes", "demo", "benchmarks") for path in (ROOT / name).rglob("*.py")
    )
    assert [path.name for path in shipped if "os.replace" in path.read_text("utf-8")] == ["atomic.py"]
