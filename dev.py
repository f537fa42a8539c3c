#!/usr/bin/env python3
"""One command for each thing a developer or a visitor does; each sets itself up. Standard library only.

    python dev.py test     lint, types, core tests, doctests, and what needs a ComfyUI, a browser or Node.js
    python dev.py bench    the figures that the README quotes; `bench NAME --help` for a benchmark's own options
    python dev.py demo     every example workflow in a real ComfyUI: what was learned, and where the pictures are

The Python environment is kept outside the repository, in `$SCENESCOPE_CACHE` or the user's cache folder, under a name
made of what is in it; a second clone finds it there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devtools.browser import HOW_TO_GET_ONE as HOW_TO_GET_A_BROWSER
from devtools.browser import find_browser
from devtools.comfyui import HOW_TO_GET_ONE, find_comfyui
from devtools.environment import cache_folder, environment
from devtools.processes import run_to_its_end
from devtools.server import Place, Server, WorkflowError
from devtools.typescript import check as check_scripts
from devtools.typescript import why_no_compiler
from devtools.workflow import to_prompt

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
TYPED = ("__init__.py", "dev.py", "devtools", "scenescope", "host", "nodes")
NOTHING_SELECTED = 5  # pytest's exit status
HOST_HOME = Path.home() / "comfy" / "ComfyUI"


@dataclass(frozen=True)
class Setup:
    """What a command runs with.

    The environment's Python; a ComfyUI if there is one; words for pytest; more variables of the environment; and the
    file that takes what is said, if it is not the screen.
    """

    python: Path
    comfyui: Path | None
    pytest_words: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    said: Path | None = None

    @classmethod
    def make(cls, comfyui: Path | None, pytest_words: tuple[str, ...] = ()) -> Setup:
        """Make the environment for this ComfyUI."""
        host = [comfyui / "requirements.txt"] if comfyui else []
        return cls(environment([REQUIREMENTS, *host]), comfyui, pytest_words)

    def call(self, *command: object, cwd: Path = ROOT) -> int:
        """Run a command of the environment and return its exit status."""
        variables = {"SCENESCOPE_CACHE": str(cache_folder()), "PYTHONUTF8": "1", **dict(self.variables)}
        if self.comfyui:
            variables["COMFYUI_PATH"] = str(self.comfyui)
        words, variables = [str(word) for word in command], os.environ | variables
        with self.said.open("a", encoding="utf-8") if self.said else contextlib.nullcontext() as file:
            return run_to_its_end(
                words, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT if file else None
            )

    def script(self, name: str) -> Path:
        """Return a program of the environment, such as pytest."""
        return self.python.with_name(name + self.python.suffix)


# ----------------------------------------------------------------------------------------------------------------------
# test


@dataclass(frozen=True)
class Outcome:
    """How one tier went."""

    passed: int
    failed: int


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
    """Check the types of the front end's scripts with TypeScript, which is kept beside the environment."""
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


TIERS: dict[str, Callable[[Setup], Outcome]] = {
    "lint": lint,
    "types": types,
    "tsc": scripts,
    "core": pytest_tier("tests", *(f"--ignore=tests/{name}" for name in ("test_docs.py", "host", "web", "gpu"))),
    "docs": pytest_tier("tests/test_docs.py"),
    "host": pytest_tier("tests/host"),
    "web": pytest_tier("tests/web"),
    "gpu": pytest_tier("tests/gpu"),
}
BESIDE = "web"
"""The tier that runs at the same time as the others: it waits for the browser most of its time."""


def why_not(tier: str, comfyui: Path | None) -> str | None:
    """Return why a tier cannot run here and how to get it, or None."""
    if tier in ("host", "web", "gpu") and not any((ROOT / "tests" / tier).glob("test_*.py")):
        return f"there are no tests in tests/{tier} yet"
    if tier in ("host", "web", "gpu") and comfyui is None:
        return f"no ComfyUI was found. {HOW_TO_GET_ONE}"
    if tier == "tsc":
        return why_no_compiler()
    if tier == "web" and find_browser() is None:
        return f"no Chromium was found. {HOW_TO_GET_A_BROWSER}"
    if tier == "gpu" and not shutil.which("nvidia-smi"):
        return "no GPU was found. Run it on a machine that has one."
    return None


def test(options: argparse.Namespace) -> int:
    """Run the tiers and say how each went; the last line alone tells it all."""
    comfyui = find_comfyui()
    if options.require_host and comfyui is None:
        raise SystemExit(f"dev.py test: no ComfyUI was found; --require-host wants one. {HOW_TO_GET_ONE}")
    # The models of the tests are small: a second thread costs more than it gives, most of all where cores are busy.
    threads = (("OMP_NUM_THREADS", "1"),)
    setup = replace(Setup.make(comfyui, ("-k", options.k) if options.k else ()), variables=threads)
    wanted = [name for name in TIERS if not options.only or name in options.only]
    lines = {name: f"{name:6} did not run: {reason}" for name in wanted if (reason := why_not(name, comfyui))}
    here = [name for name in wanted if name not in lines]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as beside:
        aside = None
        if BESIDE in here and len(here) > 1:
            here.remove(BESIDE)
            said = Path(place) / "said"
            print(f"{BESIDE} runs beside the others; what it says comes after theirs.", flush=True)
            aside = beside.submit(run_tier, BESIDE, replace(setup, said=said))
        for name in here:
            print(headline(name), flush=True)
            outcome, lines[name] = run_tier(name, setup)
            outcomes.append(outcome)
        if aside is not None:
            outcome, lines[BESIDE] = aside.result()
            outcomes.append(outcome)
            print(headline(BESIDE) + "\n" + said.read_text("utf-8"), flush=True)
    passed, failed = (sum(getattr(outcome, field) for outcome in outcomes) for field in ("passed", "failed"))
    print("\n" + "\n".join(lines[name] for name in wanted) + f"\n{passed} passed, {failed} failed", flush=True)
    return int(failed > 0 or not passed)


def headline(tier: str) -> str:
    """What stands over a tier's own words."""
    return f"\n== {tier} " + "=" * 70


def run_tier(name: str, setup: Setup) -> tuple[Outcome, str]:
    """Run a tier, and return how it went and the line that tells it."""
    start = time.monotonic()
    outcome = TIERS[name](setup)
    seconds = time.monotonic() - start
    return outcome, f"{name:6} {outcome.passed:5} passed {outcome.failed:4} failed {seconds:7.1f} s"


# ----------------------------------------------------------------------------------------------------------------------
# bench


def bench(options: argparse.Namespace) -> int:
    """Run the benchmarks, each in a process of its own; each prints a table."""
    found = {file.stem: file for file in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    if "--checkpoint" in options.words and not options.names:
        options.names = ["checkpoint"]
    if options.words and len(options.names) != 1:
        raise SystemExit(f"dev.py bench: {' '.join(options.words)} is for one benchmark; expected its name before it.")
    if options.list:
        print("\n".join(found) or "There are no benchmarks yet.")
        return 0
    if unknown := sorted(set(options.names) - set(found)):
        raise SystemExit(
            f"dev.py bench: {', '.join(unknown)} is not among the benchmarks; expected {', '.join(found)}."
        )
    setup = Setup.make(find_comfyui())
    failed = 0
    for name in options.names or found:
        print(f"\n== {name} " + "=" * 70, flush=True)
        words = (ROOT / "devtools" / "as_pack.py", found[name], *options.words)
        failed += setup.call(setup.python, *words, cwd=Path.cwd()) != 0
    return int(failed > 0)


# ----------------------------------------------------------------------------------------------------------------------
# demo


def demo(options: argparse.Namespace) -> int:
    """Start ComfyUI with the pack in a folder of its own, run every example workflow, list what came of it."""
    comfyui = find_comfyui()
    if comfyui is None and options.get_host:
        comfyui = get_host()
    if comfyui is None:
        raise SystemExit(f"dev.py demo: no ComfyUI was found; the demo needs one. {HOW_TO_GET_ONE}")
    setup = Setup.make(comfyui)
    probe = [str(setup.python), "-c", "import torch; raise SystemExit(not torch.accelerator.is_available())"]
    on_cpu = options.cpu or subprocess.run(probe, check=False).returncode != 0
    place = Place(comfyui, setup.python, Path(tempfile.mkdtemp(prefix="scenescope-")), ("--cpu",) if on_cpu else ())
    rows, learned, failed = [], [], 0
    print(f"Starting ComfyUI from {comfyui} {'on the CPU' if on_cpu else 'on the GPU'} ...", flush=True)
    with Server(place) as server:
        object_info = server.get_json("/object_info")
        for file in sorted((ROOT / "example_workflows").glob("*.json")):
            print(f"{file.stem} ... ", end="", flush=True)
            start = time.monotonic()
            try:
                entry = server.run(to_prompt(json.loads(file.read_text("utf-8")), object_info), within=3600)
            except (WorkflowError, ValueError) as error:
                failed += 1
                print(f"failed\n{error}", flush=True)
                continue
            print(f"{time.monotonic() - start:.1f} s", flush=True)
            files = [item for output in entry["outputs"].values() for item in output.get("images", [])]
            rows.append((file.stem, [server.path_of(item) for item in files]))
            learned += [(file.stem, run) for run in runs_in(entry)]
        print(f"\n{'workflow':32} {'learned in':12} what: fit of its attention map and its mask (IoU) at the end")
        for name, run in learned:
            print(f"{name:32} {run['step']:6} steps {run['message']}")
        print(f"\n{'workflow':32} pictures")
        for name, pictures in rows:
            print("\n".join(f"{name if not line else '':32} {path}" for line, path in enumerate(pictures or ["-"])))
        if options.stay:
            with contextlib.suppress(KeyboardInterrupt):
                input(f"\nThe editor is at {server.address}; press Enter to stop it. ")
    return int(failed > 0)


def runs_in(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The summaries of the training runs in an entry of the server's history.

    >>> runs_in({"outputs": {"5": {"scenescope_training": [{"step": 9}]}, "6": {"images": []}}})
    [{'step': 9}]
    """
    return [run for output in entry["outputs"].values() for run in output.get("scenescope_training", [])]


def get_host() -> Path:
    """Install the latest ComfyUI release with comfy-cli; the packages that it needs go into our environment."""
    wanted = cache_folder() / "comfy-cli.txt"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text("comfy-cli==1.23.0\n", "utf-8")
    comfy = environment([wanted]).with_name("comfy.exe" if os.name == "nt" else "comfy")
    words = ["--skip-prompt", "--workspace", str(HOST_HOME), "install", "--version", "latest", "--cpu"]
    words += ["--skip-manager", "--skip-torch-or-directml", "--skip-requirement"]
    subprocess.run([comfy, *words], check=True)
    return HOST_HOME


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; `run` among the options is the command's function."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = reader.add_subparsers(required=True, metavar="test | bench | demo")
    testing = commands.add_parser("test", help=test.__doc__)
    testing.add_argument("--only", nargs="+", choices=TIERS, help="run these tiers alone")
    testing.add_argument("--require-host", action="store_true", help="a missing ComfyUI is an error")
    testing.add_argument("-k", metavar="EXPRESSION", help="passed to pytest: run the tests whose names match")
    testing.set_defaults(run=test)
    benching = commands.add_parser("bench", help=bench.__doc__)
    benching.add_argument("names", nargs="*", help="which; all of them if none is named")
    benching.add_argument("--list", action="store_true", help="name them and stop")
    benching.set_defaults(run=bench, words=[])
    showing = commands.add_parser("demo", help=demo.__doc__)
    showing.add_argument("--get-host", action="store_true", help=f"install a ComfyUI into {HOST_HOME} if there is none")
    showing.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    showing.add_argument("--stay", action="store_true", help="keep the editor open afterwards")
    showing.set_defaults(run=demo)
    return reader


def read(words: list[str]) -> argparse.Namespace:
    """Read the command line; after the names of benchmarks, options are the benchmark's own."""
    own = next((place for place, word in enumerate(words) if word.startswith("--") and word != "--list"), 0)
    if words[:1] != ["bench"] or not own or words[1] == "--help":
        return parser().parse_args(words)
    chosen = parser().parse_args(words[:own])
    chosen.words = words[own:]
    return chosen


if __name__ == "__main__":
    chosen = read(sys.argv[1:])
    try:
        sys.exit(chosen.run(chosen))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
