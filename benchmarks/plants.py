"""Whether the rehearsal finds mistakes: each is planted in a copy of the pack, and the tests that should see it run.

Each runs in a fork of this process, which has torch and ComfyUI loaded but nothing of the copy (Linux and macOS).

Run the tier `rehearsal` before: where it fails without any mistake, what is found here says nothing.

    python dev.py bench plants
    python dev.py bench plants --only 3 7
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from pack.benchmarks.lab.mistakes import MISTAKES, Mistake
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "example_workflows")
TESTS_FAILED, NOTHING_RUN = 1, 5  # pytest's exit statuses
LONGEST = 600.0  # seconds for the tests of one mistake
WIDTH = 240
LOADED = "ignore::pytest.PytestAssertRewriteWarning"
"""A plugin that was loaded before pytest began is no fault of the tests'."""
LOADED_BEFORE = ("comfy.sd", "comfy.samplers", "comfy.sample", "comfy_api.latest", "nodes")
"""Of the host, with all that they load: most of the time that the tests of one mistake take."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--only", nargs="+", type=int, metavar="N", help="these mistakes alone, by number")
    return reader.parse_args()


def planted(mistake: Mistake, pack: Path) -> bool:
    """Copy the pack and plant a mistake; whether the text to change stands in it once."""
    shutil.copytree(ROOT, pack, ignore=LEFT_OUT)
    file = pack / mistake.file
    text = file.read_text("utf-8")
    file.write_text(text.replace(mistake.old, mistake.new), "utf-8")
    return text.count(mistake.old) == 1


def outcome(mistake: Mistake) -> tuple[str, str]:
    """Plant a mistake and run its tests.

    Returns:
        `found`, `missed`, `not planted` or `no answer`, and the reason.
    """
    with tempfile.TemporaryDirectory() as place:
        pack, said = Path(place) / "pack", Path(place) / "said"
        if not planted(mistake, pack):
            return "not planted", f"{mistake.file} does not hold once: {mistake.old.strip()}"
        file, expression = mistake.tests
        words = [str(pack / "tests" / "rehearsal" / file), "-k", expression, "-x", "-q", "--tb=short"]
        process = multiprocessing.get_context("fork").Process(target=run_tests, args=(pack, words, said))
        process.start()
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
            return "no answer", f"the tests took more than {LONGEST:.0f} s"
        lines = said.read_text("utf-8", "replace").splitlines()
    ended = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    failed = [test for _, parted, test in (name.rpartition("::") for name in ended) if parted]
    if process.exitcode == TESTS_FAILED and failed:
        test = failed[0]
        at = next((place for place, line in enumerate(lines) if line.startswith("E  ")), None)
        return "found", test if at is None else f"{test}: {lines[at - 1].strip()}: {lines[at][1:].strip()}"
    if process.exitcode:
        why = "no test has this name" if process.exitcode == NOTHING_RUN else (lines or ["no word"])[-1]
        return "no answer", f"{file} -k {expression!r}: {why}"
    return "missed", mistake.passes or f"no test of {file} -k {expression!r} fails"


def run_tests(pack: Path, words: list[str], said: Path) -> None:
    """Run tests of a copy in this process, which forgets the pack that it came from, and end with their status."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(pack)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pack"]:
        del sys.modules[name]
    status = int(pytest.main([*words, "-p", "no:cacheprovider", "-W", LOADED]))
    sys.stdout.flush()
    os._exit(status)


def main() -> int:
    """Plant each in turn, and tell; 1 where a mistake was missed for no known reason, or there is no answer."""
    options = arguments()
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit(f"plants: no ComfyUI was found; the rehearsal needs one. {HOW_TO_GET_ONE}")
    os.environ["COMFYUI_PATH"], sys.dont_write_bytecode = str(comfyui), True
    use_comfyui(comfyui)
    torch.set_num_threads(1)
    for name in LOADED_BEFORE:
        importlib.import_module(name)
    picked = options.only or range(1, len(MISTAKES) + 1)
    if unknown := [number for number in picked if not 1 <= number <= len(MISTAKES)]:
        raise SystemExit(f"plants: there is no mistake {unknown[0]}; expected 1 to {len(MISTAKES)}. Correct --only.")
    print("| | mistake | | reason |\n|---|---|---|---|", flush=True)
    outcomes = []
    for number in picked:
        mistake = MISTAKES[number - 1]
        how, why = outcome(mistake)
        outcomes.append((how, mistake.passes))
        print(f"| {number} | {mistake.name} | {how} | {why[:WIDTH].replace('|', '/')} |", flush=True)
    found = sum(how == "found" for how, _ in outcomes)
    print(f"\n{found} of {len(outcomes)} were found.")
    return int(any(how != "found" and not (how == "missed" and passes) for how, passes in outcomes))


if __name__ == "__main__":
    sys.exit(main())
