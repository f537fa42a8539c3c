"""Everything that the pack writes for its users: whole or not at all, under a name that nothing had, on any disk."""

from __future__ import annotations

import json
import os
import resource
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.host.concepts.export import plan_export
from pack.host.demo import load_demo_model
from pack.host.training.monitor import write_shown
from pack.host.training.samples import load_samples, save_samples
from pack.nodes.concepts import CONCEPTS
from pack.nodes.files import MAPS
from pack.scenescope.attention.files.maps import load_recording, save_recording
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.errors import FileError
from pack.scenescope.files.safetensors_file import read_container, write_container
from pack.scenescope.training.learned.concepts import Concepts, load_concepts, save_concepts
from pack.scenescope.training.run.history import History, load_history, save_history
from pack.scenescope.training.run.state import State, load_state, save_state
from pack.scenescope.training.settings import lora_settings
from pack.tests.support.host.learned import made_up
from pack.tests.support.saved import full_recording
from pack.tests.support.viewfiles import read as read_view
from safetensors.torch import load_file

LIMIT = 256  # bytes of a file on the disk that is full


@pytest.fixture(scope="module")
def concepts() -> Concepts:
    """Two tokens and low-rank changes for the demo model."""
    with torch.inference_mode():
        return made_up(load_demo_model(), "lora")


def state() -> State:
    """A run after its third step."""
    return State(3, lora_settings(), "base", "scene", "", torch.rand(2, 768), {}, {}, None)


def curves() -> History:
    """What one step measured."""
    return History(("<asset0>",), torch.ones(1).double(), torch.rand(1, 3), torch.rand(1, 1), torch.rand(1, 64, 64))


NUMBERED: dict[str, Callable[[Concepts], list[Path]]] = {
    "maps": lambda _: [save_recording(full_recording(), MAPS.names("maps/same"))],
    "concepts": lambda concepts: [save_concepts(concepts, CONCEPTS.names("concepts/same"))],
    "exports": lambda concepts: list(plan_export(concepts, "same").write().files),
}
"""What takes the next free name."""

REPLACED: dict[str, Callable[[Concepts, Path], object]] = {
    "maps": lambda _, folder: save_recording(full_recording(), folder / "file"),
    "concepts": lambda concepts, folder: save_concepts(concepts, folder / "file"),
    "state": lambda _, folder: save_state(state(), folder / "file"),
    "curves": lambda _, folder: save_history(curves(), folder / "file"),
    "samples": lambda _, folder: save_samples(torch.rand(1, 128, 128, 3), folder, 3, "wish"),
    "viewer": lambda _, folder: write_view(full_recording(), folder / "file", limit=10**6),
}
"""What takes the place of an earlier file."""

FORM = {"format": "class pictures"}
SHARED: dict[str, tuple[Callable[[Concepts, Path], object], Callable[[Path], object]]] = {
    "maps": (REPLACED["maps"], lambda folder: load_recording(folder / "file")),
    "concepts": (REPLACED["concepts"], lambda folder: load_concepts(folder / "file")),
    "state": (REPLACED["state"], lambda folder: load_state(folder / "file")),
    "curves": (
        lambda _, folder: save_history(curves(), folder / "file"),
        lambda folder: load_history(folder / "file"),
    ),
    "samples": (REPLACED["samples"], lambda folder: load_samples(folder, 3)),
    "viewer": (REPLACED["viewer"], lambda folder: read_view(folder / "file")),
    "dashboard": (
        lambda _, folder: write_shown({"steps": list(range(500))}, folder / "dashboard.json"),
        lambda folder: json.loads((folder / "dashboard.json").read_text("utf-8")),
    ),
    "class pictures": (
        lambda _, folder: write_container({"latents": torch.rand(2, 4, 4, 4)}, folder / "file", FORM, "Test"),
        lambda folder: read_container(folder / "file", FORM, "Test").tensors["latents"],
    ),
}
"""What two workers may write under one name, and what reads it."""
FORKS = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12, where threads are


@pytest.mark.parametrize("what", list(NUMBERED))
def test_savers_of_one_name_at_the_same_time_replace_nothing(folders: Path, concepts: Concepts, what: str) -> None:
    """Oracle: counted: twenty saves from four threads are as many files as twenty saves have, all different."""
    before = files_in(folders)
    with ThreadPoolExecutor(4) as pool:
        saved = list(pool.map(lambda _: NUMBERED[what](concepts), range(20)))
    paths = [path for files in saved for path in files]
    assert set(paths) == files_in(folders) - before
    assert len(set(paths)) == 20 * len(saved[0])


def in_two_processes(work: Callable[[], object]) -> None:
    """Do something at the same time in two processes, which both have to end well."""
    ready, begin = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            code = 1
            try:
                os.close(begin)
                os.read(ready, 1)  # until the other end is closed
                work()
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                os._exit(code)
        children.append(child)
    os.close(ready)
    os.close(begin)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


@FORKS
@pytest.mark.parametrize("what", list(NUMBERED))
def test_two_processes_that_save_under_one_name_replace_nothing(folders: Path, concepts: Concepts, what: str) -> None:
    """Oracle: counted: two processes save eight times each, and all files are there and can be read."""
    before = files_in(folders)

    def save() -> None:
        for _ in range(8):
            NUMBERED[what](concepts)

    in_two_processes(save)
    new = files_in(folders) - before
    each = len(NUMBERED[what](concepts))
    assert len(new) == 16 * each
    for path in new:
        assert load_file(path)


@FORKS
@pytest.mark.parametrize("what", list(SHARED))
def test_two_processes_that_write_one_file_leave_it_whole(tmp_path: Path, concepts: Concepts, what: str) -> None:
    """Oracle: its own reader, after two processes wrote it eight times each; nothing else is left."""
    write, read = SHARED[what]
    write(concepts, tmp_path)
    before = set(content(tmp_path))

    def again() -> None:
        for _ in range(8):
            write(concepts, tmp_path)
            assert read(tmp_path) is not None  # whole at any moment

    in_two_processes(again)
    assert set(content(tmp_path)) == before
    assert read(tmp_path) is not None


@contextmanager
def full_disk() -> Iterator[None]:
    """A file may have so many bytes and no more, as on a disk that fills up while it is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files_in(folder: Path) -> set[Path]:
    """Every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("what", list(REPLACED))
def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(tmp_path: Path, concepts: Concepts, what: str) -> None:
    """Oracle: the sentence, and the earlier bytes; first where nothing was, then over a sound file."""
    for _ in range(2):
        before = content(tmp_path)
        with full_disk(), pytest.raises(FileError, match=r"can't be written \(File too large\)\. Free some space"):
            REPLACED[what](concepts, tmp_path)
        assert content(tmp_path) == before
        REPLACED[what](concepts, tmp_path)
    assert max(map(len, content(tmp_path).values())) > LIMIT


@pytest.mark.parametrize("what", list(REPLACED))
def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, concepts: Concepts, what: str) -> None:
    """Oracle: the sentence; a file stands where the folder should be."""
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(FileError, match=r"can't be written \(Not a directory\)\. Free some space, or choose a name"):
        REPLACED[what](concepts, tmp_path / "folder")


@pytest.mark.parametrize("what", list(NUMBERED))
def test_an_output_folder_that_is_full_leaves_nothing_behind(folders: Path, concepts: Concepts, what: str) -> None:
    """Oracle: the sentence, and no file, not even a half one."""
    before = files_in(folders)
    with full_disk(), pytest.raises(FileError, match=r"can't be written \(File too large\)"):
        NUMBERED[what](concepts)
    assert files_in(folders) == before


def test_a_read_only_output_folder_is_a_sentence(folders: Path, monkeypatch: Any) -> None:
    """Oracle: the sentence, where the system refuses every new file; root is refused nothing otherwise."""

    def refuse(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if "x" in mode:
            raise OSError(30, os.strerror(30))
        return kept(self, mode, *rest, **more)

    kept = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileError, match=r"can't be written \(Read-only file system\)"):
        NUMBERED["maps"](None)  # type: ignore[arg-type]
