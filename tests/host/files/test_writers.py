"""Everything that the pack writes for its users: whole or not at all, under a name that nothing had, on any disk."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.host.concepts.export import plan_export
from pack.host.demo import load_demo_model
from pack.host.training.samples import save_samples
from pack.nodes.concepts import CONCEPTS
from pack.nodes.files import MAPS
from pack.scenescope.attention.files.maps import save_recording
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.errors import FileError
from pack.scenescope.training.learned.concepts import Concepts, save_concepts
from pack.scenescope.training.run.history import no_history, save_history
from pack.scenescope.training.run.state import State, save_state
from pack.scenescope.training.settings import lora_settings
from pack.tests.support.host.learned import made_up
from pack.tests.support.saved import full_recording

LIMIT = 256  # bytes of a file on the disk that is full


@pytest.fixture(scope="module")
def concepts() -> Concepts:
    """Two tokens and low-rank changes for the demo model."""
    with torch.inference_mode():
        return made_up(load_demo_model(), "lora")


def state() -> State:
    """A run after its third step."""
    return State(3, lora_settings(), "base", "scene", "", torch.rand(2, 768), {}, {}, None)


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
    "curves": lambda _, folder: save_history(no_history(("<asset0>",), (64, 64)), folder / "file"),
    "samples": lambda _, folder: save_samples(torch.rand(1, 128, 128, 3), folder, 3, "wish"),
    "viewer": lambda _, folder: write_view(full_recording(), folder / "file", limit=10**6),
}
"""What takes the place of an earlier file."""


@pytest.mark.parametrize("what", list(NUMBERED))
def test_savers_of_one_name_at_the_same_time_replace_nothing(folders: Path, concepts: Concepts, what: str) -> None:
    """Oracle: counted: twenty saves from four threads are as many files as twenty saves have, all different."""
    before = files_in(folders)
    with ThreadPoolExecutor(4) as pool:
        saved = list(pool.map(lambda _: NUMBERED[what](concepts), range(20)))
    paths = [path for files in saved for path in files]
    assert set(paths) == files_in(folders) - before
    assert len(set(paths)) == 20 * len(saved[0])


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
