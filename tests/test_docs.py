"""What the documentation says is run: docstrings, and the pages' commands (their Python: test_examples.py)."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITH_EXAMPLES = [
    ".".join(("pack", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for file in sorted((ROOT / "scenescope").rglob("*.py"))
    if ">>> " in file.read_text("utf-8")
]
RINGS = ("scenescope", "host", "nodes", "diffusers_adapter", "web", "docs", "demo", "devtools", "benchmarks")
PAGES = "\n".join(page.read_text("utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_in_the_docstrings_are_true(name):
    """Oracle: the results that the docstrings state."""
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.failed == 0
    assert result.attempted > 0


def test_the_commands_in_the_pages_are_ones_that_dev_py_takes():
    """Oracle: the command line's own parser."""
    commands = re.findall(r"^(?:\$ )?python3? dev\.py ([^\n#]*)", PAGES, re.MULTILINE)
    for command in commands:
        script = f"from devtools.command_line import parser; parser().parse_args({command.split()!r})"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_the_benchmarks_and_options_that_the_pages_name_are_there():
    """Oracle: the benchmarks' files, the options that they declare, and those that they share."""
    bench = ROOT / "benchmarks"
    shared = (bench / "acting" / "cases.py").read_text("utf-8")
    named = re.findall(r"dev\.py bench ([^`\n#]+)", PAGES)
    assert len(named) > 8
    for words in map(str.split, named):
        name = "checkpoint" if words[0] == "--checkpoint" else words[0]
        assert (bench / f"{name}.py").is_file(), " ".join(words)
        source = (bench / f"{name}.py").read_text("utf-8") + shared
        missing = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
        assert missing == [], f"{' '.join(words)}: {name} has no {missing}"


def test_every_file_that_comments_and_pages_name_is_there():
    """Oracle: the files; a name is a path below the repository's root, beginning with one of its folders."""
    path = re.compile(rf"\b(?:{'|'.join(RINGS)}|tests|examples)/[\w./-]+\.(?:py|js|md|json|css)\b")
    files = [file for ring in RINGS for file in (ROOT / ring).rglob("*") if file.suffix in (".py", ".js", ".md")]
    missing = [
        f"{file.relative_to(ROOT).as_posix()}: {name}"
        for file in files
        for name in path.findall(file.read_text("utf-8"))
        if not ((ROOT / name).is_file() or (file.parent / name).is_file())
    ]
    assert missing == []
