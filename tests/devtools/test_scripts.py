"""The compiler for the front end's scripts is kept outside of the clone, and a machine without it is told so."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from pack.devtools.web.scripts import PACKAGE, RULES, WEB, InstallError, compiler, install, project
from pack.tests.devtools.test_dev import ROOT, run_python
from pack.tests.devtools.test_environment import Maker

REASON = "from devtools import tiers; print(tiers.TIERS['tsc'].why_not(None))"


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path, monkeypatch):
    """Nothing here touches the machine's real cache."""
    monkeypatch.setenv("SCENESCOPE_CACHE", str(tmp_path / "cache"))


def program(folder: Path, name: str, text: str) -> None:
    """Put a program of this Python on a path of its own."""
    script = folder / f"{name}.py"
    script.write_text(text, "utf-8")
    if sys.platform == "win32":
        (folder / f"{name}.bat").write_text(f'@"{sys.executable}" "{script}" %*\n', "utf-8")
    else:
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', "utf-8")
        (folder / name).chmod(0o755)


def test_the_compiler_is_found_again_while_the_package_stays(tmp_path):
    """Oracle: an invariant; the name follows the contents, and lies in the cache."""
    package, make = tmp_path / "package.json", Maker()
    package.write_text("{}", "utf-8")
    first = compiler(package, make=make)
    assert first.parent == tmp_path / "cache"
    assert compiler(package, make=make) == first
    package.write_text('{"private": true}', "utf-8")
    assert compiler(package, make=make) != first
    assert len(make.made) == 2


def test_a_machine_without_node_says_so_and_does_not_fail(tmp_path):
    """Oracle: the reason that the tier gives for not running."""
    done = run_python("-c", REASON, PATH=str(tmp_path))
    assert "npm and node were not found" in done.stdout, done.stderr
    assert not list((tmp_path / "cache").glob("*.lock"))


def test_an_installation_that_fails_says_why_and_is_tried_again(tmp_path):
    """Oracle: npm's first line, from a program that stands for an npm without a network."""
    program(tmp_path, "npm", "import sys\nprint('npm error code ENOTFOUND', file=sys.stderr)\nsys.exit(1)\n")
    program(tmp_path, "node", "")
    for _ in range(2):
        done = run_python("-c", REASON, PATH=str(tmp_path))
        assert "npm could not install TypeScript and Biome (npm error code ENOTFOUND)" in done.stdout, done.stderr


def test_what_is_installed_leaves_no_lockfile_and_nothing_in_the_clone(tmp_path, monkeypatch):
    """Oracle: the words that npm is given, and where; they are written down by a program that stands for npm."""
    text = "import json, os, sys\njson.dump([os.getcwd(), sys.argv[1:]], open('called.json', 'w'))\n"
    program(tmp_path, "npm", text)
    program(tmp_path, "node", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    home = tmp_path / "home"
    install(home, PACKAGE)
    where, words = json.loads((home / "called.json").read_text("utf-8"))
    assert Path(where) == home
    assert words[0] == "install"
    assert "--no-package-lock" in words
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InstallError, match="not found"):
        install(home, PACKAGE)


def test_the_project_names_files_that_are_there(tmp_path):
    """Oracle: the disk."""
    made = json.loads(project(tmp_path, ROOT / "web" / "js"))
    assert Path(made["extends"]) == WEB / "tsconfig.json"
    for place in (made["extends"], *made["include"]):
        assert Path(place.removesuffix("/**/*.js")).exists()
    (types,) = made["compilerOptions"]["paths"]
    assert types in json.loads(PACKAGE.read_text("utf-8"))["devDependencies"]
    assert types in (WEB / "host.d.ts").read_text("utf-8")
    assert shutil.which("git") is None or not list(WEB.glob("*lock*"))


def test_the_rules_keep_functions_and_files_short():
    """Oracle: the house's figures for scripts, 60 lines a function and 300 a file; Biome reads the file as it is."""
    rules = json.loads(RULES.read_text("utf-8"))["linter"]["rules"]
    assert rules["complexity"]["noExcessiveLinesPerFunction"] == {"level": "error", "options": {"maxLines": 60}}
    assert rules["style"]["noExcessiveLinesPerFile"] == {"level": "error", "options": {"maxLines": 300}}
    assert "@biomejs/biome" in json.loads(PACKAGE.read_text("utf-8"))["devDependencies"]
