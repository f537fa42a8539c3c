"""Whether the rehearsal finds mistakes: each is planted in a copy of the pack, and the tests that should see it run.

Run the tier `rehearsal` before: where it fails without any mistake, what is found here says nothing.

    python dev.py bench plants
    python dev.py bench plants --only 3 7
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pack.benchmarks.lab.mistakes import MISTAKES, Mistake
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "example_workflows")
TESTS_FAILED, NOTHING_RUN = 1, 5  # pytest's exit statuses
LONGEST = 600.0  # seconds for the tests of one mistake
WIDTH = 170


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


def outcome(mistake: Mistake, comfyui: Path) -> tuple[str, str]:
    """Plant a mistake and run its tests.

    Returns:
        `found`, `missed`, `not planted` or `no answer`, and the reason.
    """
    with tempfile.TemporaryDirectory() as place:
        pack = Path(place) / "pack"
        if not planted(mistake, pack):
            return "not planted", f"{mistake.file} does not hold once: {mistake.old.strip()}"
        file, expression = mistake.tests
        pytest = Path(sys.executable).with_name("pytest" + Path(sys.executable).suffix)
        words = [pytest, pack / "tests" / "rehearsal" / file, "-k", expression, "-x", "-q", "--tb=short"]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "COMFYUI_PATH": str(comfyui), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [*map(str, words), "-p", "no:cacheprovider"],
                cwd=pack, env=variables, capture_output=True, text=True, timeout=LONGEST, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "no answer", f"the tests took more than {LONGEST:.0f} s"
    lines = done.stdout.splitlines()
    if done.returncode == TESTS_FAILED:
        at = next((place for place, line in enumerate(lines) if line.startswith("E  ")), None)
        return "found", "a test failed" if at is None else f"{lines[at - 1].strip()}: {lines[at][1:].strip()}"
    if done.returncode:
        why = "no test has this name" if done.returncode == NOTHING_RUN else done.stderr.strip() or done.stdout.strip()
        return "no answer", f"{file} -k {expression!r}: {why.splitlines()[-1]}"
    return "missed", mistake.passes or f"no test of {file} -k {expression!r} fails"


def main() -> int:
    """Plant each in turn, and tell; 1 where a mistake was missed for no known reason, or there is no answer."""
    options = arguments()
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit(f"plants: no ComfyUI was found; the rehearsal needs one. {HOW_TO_GET_ONE}")
    picked = options.only or range(1, len(MISTAKES) + 1)
    if unknown := [number for number in picked if not 1 <= number <= len(MISTAKES)]:
        raise SystemExit(f"plants: there is no mistake {unknown[0]}; expected 1 to {len(MISTAKES)}. Correct --only.")
    print("| | mistake | | reason |\n|---|---|---|---|", flush=True)
    outcomes = []
    for number in picked:
        mistake = MISTAKES[number - 1]
        how, why = outcome(mistake, comfyui)
        outcomes.append((how, mistake.passes))
        print(f"| {number} | {mistake.name} | {how} | {why[:WIDTH].replace('|', '/')} |", flush=True)
    found = sum(how == "found" for how, _ in outcomes)
    print(f"\n{found} of {len(outcomes)} were found.")
    return int(any(how != "found" and not (how == "missed" and passes) for how, passes in outcomes))


if __name__ == "__main__":
    sys.exit(main())
