"""What is released, and by whom: the workflow files, and the archive that the registry gives out."""

from __future__ import annotations

import re
from pathlib import Path

from pack.scenescope.world.demo_file import DEMO_FILE
from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_foreign_actions_are_named_by_commit():
    """Oracle: forty hexadecimal digits; a tag can be moved to other code."""
    used = [line for file in WORKFLOWS for line in re.findall(r"uses: (.*)", file.read_text("utf-8"))]
    foreign = [line for line in used if not line.startswith("./")]
    assert len(foreign) >= 6
    assert [line for line in foreign if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_the_registrys_token_is_in_a_job_of_main_alone():
    """Oracle: by hand; `workflow_dispatch` can be started on every branch."""
    holders = [file for file in WORKFLOWS if "secrets." in file.read_text("utf-8")]
    assert [file.name for file in holders] == ["publish.yml"]
    job = holders[0].read_text("utf-8").partition("\n  publish:\n")[2]
    assert "secrets." in job
    assert "if: github.ref == 'refs/heads/main'" in job
    assert "environment: registry" in job


def test_pages_say_where_the_tools_are_that_the_archive_leaves_out():
    """Oracle: `.comfyignore`: a page that is in the archive and tells of a tool that is not says where it is."""
    assert "dev.py" in (ROOT / ".comfyignore").read_text("utf-8").split()
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("demo/*.md"), *ROOT.glob("web/docs/*.md")]
    about = [page for page in pages if "dev.py" in page.read_text("utf-8")]
    assert len(about) >= 3
    silent = [page for page in about if "in a clone of the repository" not in page.read_text("utf-8").casefold()]
    assert silent == []


def test_the_archive_holds_of_the_demo_model_what_a_user_needs():
    """Oracle: by hand: the weights that Demo Model reads, and their card. What makes and measures them stays out."""
    lines = [line for name in (".gitignore", ".comfyignore") for line in (ROOT / name).read_text("utf-8").splitlines()]
    left_out = GitIgnoreSpec.from_lines(lines)  # the archive is made of the files that git knows
    files = [file.relative_to(ROOT).as_posix() for file in (ROOT / "demo").rglob("*") if file.is_file()]
    assert {"demo/train.py", "demo/judge/checker.py"} <= set(files)
    kept = sorted(file for file in files if not left_out.match_file(file))
    assert kept == ["demo/README.md", DEMO_FILE.relative_to(ROOT).as_posix()]
