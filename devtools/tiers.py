"""The tiers of `dev.py test`: what each runs, what it needs, and about how long it takes. Standard library only.

A new tier is one entry of `TIERS`.
"""

from __future__ import annotations

import shutil
import tempfile
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .browser import HOW_TO_GET_ONE as HOW_TO_GET_A_BROWSER
from .browser import find_browser
from .comfyui import HOW_TO_GET_ONE
from .setup import ROOT, Setup
from .web.scripts import check as check_scripts
from .web.scripts import why_no_compiler

TYPED = ("__init__.py", "dev.py", "devtools", "scenescope", "host", "diffusers_adapter", "nodes")
NOTHING_SELECTED = 5  # pytest's exit status

Need = Callable[[Path | None], "str | None"]
"""Given the ComfyUI, or None, says why a tier cannot run here and how to get what is missing; None where nothing is."""


@dataclass(frozen=True)
class Outcome:
    """How one tier went."""

    passed: int
    failed: int


@dataclass(frozen=True)
class Tier:
    """A part of the tests that runs by itself.

    Args:
        run: runs it.
        needs: what it cannot do without.
        minutes: about how long it takes on one core; the longest begin first.
    """

    run: Callable[[Setup], Outcome]
    needs: tuple[Need, ...] = ()
    minutes: float = 0.1

    def why_not(self, comfyui: Path | None) -> str | None:
        """Say why it cannot run here, or None."""
        return next((reason for need in self.needs if (reason := need(comfyui))), None)


def lint(setup: Setup) -> Outcome:
    """Check the style with ruff."""
    status = setup.call(setup.script("ruff"), "check", "--output-format=concise", ".")
    return Outcome(int(status == 0), int(status != 0))


def types(setup: Setup) -> Outcome:
    """Check the types with mypy, on a copy named `pack`: the clone's own folder may have any name."""
    cache = setup.python.parent.parent / "mypy_cache"
    with tempfile.TemporaryDirectory() as place:
        pack = Path(place) / "pack"
        pack.mkdir()
        for name in TYPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, pack / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            elif source.exists():
                shutil.copy2(source, pack / name)
        words = ("--config-file", ROOT / "pyproject.toml", "--cache-dir", cache, "-p", "pack")
        status = setup.call(setup.python, "-m", "mypy", *words, cwd=Path(place))
    return Outcome(int(status == 0), int(status != 0))


def scripts(setup: Setup) -> Outcome:
    """Check the front end's scripts with TypeScript and Biome, which are kept beside the environment."""
    with tempfile.TemporaryDirectory() as place:
        status = check_scripts(ROOT / "web" / "js", Path(place))
    return Outcome(int(status == 0), int(status != 0))


def pytest_tier(*words: str) -> Callable[[Setup], Outcome]:
    """Return a tier that runs pytest with `words` and counts from its report."""

    def run(setup: Setup) -> Outcome:
        with tempfile.TemporaryDirectory() as place:
            report = Path(place) / "report.xml"
            # The program, not `python -m pytest`: that would put the root, and so our `nodes/`, on sys.path.
            status = setup.call(setup.script("pytest"), *words, f"--junitxml={report}", *setup.pytest_words)
            suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
        if suite is None:
            return Outcome(0, 1)
        tests, skipped, *wrong = (int(suite.get(name, "0")) for name in ("tests", "skipped", "failures", "errors"))
        crashed = status not in (0, NOTHING_SELECTED) and not sum(wrong)
        return Outcome(tests - skipped - sum(wrong), sum(wrong) + int(crashed))

    return run


def a_host(comfyui: Path | None) -> str | None:
    """A ComfyUI."""
    return None if comfyui else f"no ComfyUI was found. {HOW_TO_GET_ONE}"


def a_browser(comfyui: Path | None) -> str | None:
    """A Chromium."""
    return None if find_browser() else f"no Chromium was found. {HOW_TO_GET_A_BROWSER}"


def a_compiler(comfyui: Path | None) -> str | None:
    """The TypeScript compiler, which is installed if it is not there."""
    return why_no_compiler()


def a_gpu(comfyui: Path | None) -> str | None:
    """A GPU."""
    return None if shutil.which("nvidia-smi") else "no GPU was found. Run it on a machine that has one."


def tests_in(folder: str) -> Need:
    """Tests in a folder of `tests/`."""

    def need(comfyui: Path | None) -> str | None:
        there = any((ROOT / "tests" / folder).rglob("test_*.py"))
        return None if there else f"there are no tests in tests/{folder} yet"

    return need


APART = ("test_docs.py", "diffusers_adapter", "host", "rehearsal", "web", "gpu")
WORKFLOWS = "tests/host/test_workflows.py"
"""Every example in a server: the half of what needs a ComfyUI that shares nothing with the other half."""

TIERS: dict[str, Tier] = {
    "lint": Tier(lint),
    "types": Tier(types, minutes=0.5),
    "tsc": Tier(scripts, (a_compiler,)),
    "core": Tier(pytest_tier("tests", *(f"--ignore=tests/{name}" for name in APART)), minutes=1),
    "docs": Tier(pytest_tier("tests/test_docs.py"), minutes=0.5),
    "diffusers": Tier(pytest_tier("tests/diffusers_adapter"), (tests_in("diffusers_adapter"),), minutes=1),
    "host": Tier(pytest_tier("tests/host", f"--ignore={WORKFLOWS}"), (a_host,), minutes=10),
    "workflows": Tier(pytest_tier(WORKFLOWS), (a_host,), minutes=5),
    "rehearsal": Tier(pytest_tier("tests/rehearsal"), (tests_in("rehearsal"), a_host), minutes=3),
    "web": Tier(pytest_tier("tests/web"), (a_host, a_browser), minutes=18),
    "gpu": Tier(pytest_tier("tests/gpu"), (tests_in("gpu"), a_host, a_gpu), minutes=1),
}
