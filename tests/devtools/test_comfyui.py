"""A ComfyUI is looked for in the order that the documentation gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from pack.devtools.comfyui import find_comfyui


def comfyui_at(path: Path) -> Path:
    """Make what looks like a ComfyUI."""
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").write_text("", "utf-8")
    return path.resolve()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder with nothing in it, and no variable."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    return tmp_path


def test_the_variable_comes_first_then_the_packs_own_host_then_the_usual_places(home, monkeypatch):
    """Oracle: the order in the documentation; places are added from last to first."""
    around = home / "elsewhere"
    pack = around / "custom_nodes" / "SceneScope"
    assert find_comfyui(pack) is None
    for place in (home / "ComfyUI", home / "comfy" / "ComfyUI", around):
        made = comfyui_at(place)
        assert find_comfyui(pack) == made
    named = comfyui_at(home / "named")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert find_comfyui(pack) == named


def test_a_variable_that_names_no_comfyui_is_an_error_and_not_passed_over(home, monkeypatch):
    """Oracle: the message; the usual place holds one, and is not taken."""
    comfyui_at(home / "ComfyUI")
    monkeypatch.setenv("COMFYUI_PATH", str(home / "nowhere"))
    with pytest.raises(FileNotFoundError, match="COMFYUI_PATH: the folder is .*nowhere; expected one with"):
        find_comfyui(home)
