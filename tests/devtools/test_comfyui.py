"""A ComfyUI is looked for in the order that the documentation gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pack.devtools.comfyui import find_comfyui, got_comfyui, is_comfyui
from pack.devtools.get_comfyui import RELEASE, get_comfyui, install
from pack.devtools.trouble import TroubleError


def comfyui_at(path: Path) -> Path:
    """Make what looks like a ComfyUI."""
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").write_text("", "utf-8")
    return path.resolve()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder with nothing in it, a cache of its own, and no variable."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setenv("SCENESCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    return tmp_path


def test_the_variable_comes_first_then_the_packs_own_host_then_the_usual_places(home, monkeypatch):
    """Oracle: the order in the documentation; places are added from last to first."""
    around = home / "elsewhere"
    pack = around / "custom_nodes" / "SceneScope"
    assert find_comfyui(pack) is None
    for place in (got_comfyui(RELEASE), home / "ComfyUI", home / "comfy" / "ComfyUI", around):
        made = comfyui_at(place)
        assert find_comfyui(pack) == made
    named = comfyui_at(home / "named")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert find_comfyui(pack) == named


def test_a_variable_that_names_no_comfyui_is_an_error_and_not_passed_over(home, monkeypatch):
    """Oracle: the message; the usual place holds one, and is not taken."""
    comfyui_at(home / "ComfyUI")
    monkeypatch.setenv("COMFYUI_PATH", str(home / "nowhere"))
    with pytest.raises(TroubleError, match="COMFYUI_PATH is .*nowhere, but there is no main.py"):
        find_comfyui(home)


def test_a_comfyui_is_got_once_into_the_cache_and_told_of_before(home, capsys):
    """Oracle: by hand: the folder, one line, and one call."""
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(comfyui_at(folder))

    first, again = get_comfyui(make=make), get_comfyui(make=make)
    assert first == again == home.resolve() / "cache" / f"comfyui-{RELEASE}"
    assert is_comfyui(first)
    assert len(made) == 1
    assert capsys.readouterr().out == f"Getting ComfyUI {RELEASE} with comfy-cli into {first}, once.\n"
    assert find_comfyui(home) == first


def test_a_comfyui_that_came_in_part_is_not_taken_for_one(home):
    """Oracle: an invariant; the folder gets its name when all of it is there."""

    def stop(folder: Path) -> None:
        comfyui_at(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_comfyui(make=stop)
    assert find_comfyui(home) is None
    assert get_comfyui(make=lambda folder: comfyui_at(folder) and None)


def test_a_machine_without_git_is_told_so_before_anything_is_made(home, monkeypatch):
    """Oracle: the sentence; the cache stays empty."""
    monkeypatch.setenv("PATH", str(home / "no programs"))
    with pytest.raises(TroubleError, match=f"^Could not get ComfyUI {RELEASE}: there is no git on this machine\\.$"):
        install(home / "ComfyUI")
    assert not (home / "cache").exists()


if os.name == "posix":  # where a script can stand in for a program

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("fatal: unable to access 'https://x/': Could not resolve host: x", "there is no network"),
            ("fatal: write error: No space left on device", "the disk is full"),
            ("ERROR: Cannot install a and b\nERROR: ResolutionImpossible: for help visit x", "Cannot install a and b"),
        ],
    )
    def test_a_comfyui_that_cannot_be_got_says_why_in_a_sentence(home, monkeypatch, said, reason):
        """Oracle: what git prints, from a comfy-cli that only prints it."""
        program = home / "bin" / "comfy"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n', "utf-8")
        program.chmod(0o755)
        monkeypatch.setattr("pack.devtools.get_comfyui.environment", lambda wanted: program.with_name("python"))
        with pytest.raises(TroubleError, match=f"^Could not get ComfyUI {RELEASE}: {reason}.$"):
            install(home / "there")
