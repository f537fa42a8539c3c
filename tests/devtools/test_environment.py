"""Environments are made once, and found again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pack.devtools.environment import cache_folder, environment, no_environment, one_at_a_time
from pack.devtools.trouble import TroubleError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path, monkeypatch):
    """Nothing here touches the machine's real cache."""
    monkeypatch.setenv("SCENESCOPE_CACHE", str(tmp_path / "cache"))


@dataclass
class Maker:
    """Makes folders instead of what takes minutes, and remembers them."""

    made: list[Path] = field(default_factory=list)

    def __call__(self, home: Path, _wanted: list[Path] | Path) -> None:
        home.mkdir(exist_ok=True)
        self.made.append(home)


def test_an_environment_is_found_again_while_its_requirements_stay(tmp_path):
    """Oracle: an invariant; the name follows the contents."""
    wanted, make = tmp_path / "requirements.txt", Maker()
    wanted.write_text("torch", "utf-8")
    first = environment([wanted], make=make)
    assert environment([wanted], make=make) == first
    assert len(make.made) == 1
    wanted.write_text("torch, and more", "utf-8")
    assert environment([wanted], make=make) != first
    assert len(make.made) == 2


def test_an_environment_that_was_not_completed_is_made_again(tmp_path):
    """Oracle: an invariant; the marker is written last, so a maker that fails leaves none."""
    wanted, make = tmp_path / "requirements.txt", Maker()
    wanted.write_text("torch", "utf-8")

    def fail(home: Path, requirements: list[Path]) -> None:
        make(home, requirements)
        raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        environment([wanted], make=fail)
    environment([wanted], make=make)
    environment([wanted], make=make)
    assert len(make.made) == 2


def test_two_runs_do_not_make_the_same_thing_at_once(tmp_path):
    """Oracle: an invariant; the lock is there while it is held, and gone after, even after an error."""
    lock = tmp_path / "cache" / "thing.lock"

    def fail_while_held() -> None:
        with one_at_a_time(lock):
            assert lock.exists()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail_while_held()
    assert not lock.exists()


def test_a_lock_of_which_nothing_is_known_is_taken_after_an_hour(tmp_path):
    """Oracle: the hour, by a clock set back."""
    lock = tmp_path / "thing.lock"
    lock.touch()
    two_hours_ago = time.time() - 7200
    os.utime(lock, (two_hours_ago, two_hours_ago))
    with one_at_a_time(lock):
        assert lock.stat().st_mtime > two_hours_ago + 3600


def test_the_cache_is_where_the_variable_says(tmp_path):
    """Oracle: the variable."""
    assert cache_folder() == (tmp_path / "cache").resolve()


if os.name == "posix":  # elsewhere nobody can ask whether a run lives

    def test_a_lock_that_a_killed_run_left_is_taken_at_once(tmp_path):
        """Oracle: a process that took it and was killed; nobody waits an hour."""
        lock = tmp_path / "thing.lock"
        code = "import os, pathlib, sys; from devtools import environment\n"
        code += "with environment.one_at_a_time(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", code, lock], cwd=ROOT, check=False)
        assert lock.exists()
        with one_at_a_time(lock):
            assert lock.read_text("utf-8").split()[0] == str(os.getpid())


def test_packages_that_cannot_be_installed_are_told_in_a_sentence(tmp_path, monkeypatch):
    """Oracle: the message, from a pip that may ask nobody; a package of this name is nowhere."""
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("scenescope-has-no-such-package\n", "utf-8")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(TroubleError, match="^The packages could not be installed: there is no network. Connect"):
        environment([wanted])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            b"OSError: [Errno 28] No space left on device: '/x/pip'",
            "The Python environment could not be made: the disk is full.",
        ),
        (b"No module named ensurepip", "Install its venv module"),
    ],
)
def test_an_environment_that_python_cannot_make_is_told_with_its_reason(output, told):
    """Oracle: by hand: what ensurepip printed on a full disk, and in Debian's Python."""
    assert told in no_environment(output)
