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
from pack.devtools.comfyui import need_comfyui

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "example_workflows")
TESTS_FAILED = 1  # pytest's exit status
LONGEST = 600.0  # seconds for the tests of one mistake
WIDTH = 240


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
        pack = Path(place) / "pack"
        if not planted(mistake, pack):
            return "not planted", f"{mistake.file} does not hold once: {mistake.old.strip()}"
        file, expression = mistake.tests
        pytest = Path(sys.executable).with_name("pytest" + Path(sys.executable).suffix)
        words = [
            pytest,
            f"tests/rehearsal/{file}",
            "-k",
            expression,
            "-x",
            "-q",
            "--tb=short",
            "-p",
            "no:cacheprovider",
        ]
        try:
            done = subprocess.run(words, cwd=pack, capture_output=True, text=True, check=False, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return "no answer", f"the tests took more than {LONGEST:.0f} s"
    lines = (done.stdout + done.stderr).splitlines()
    ended = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    failed = [test for _, parted, test in (name.rpartition("::") for name in ended) if parted]
    if done.returncode == TESTS_FAILED and failed:
        test = failed[0]
        at = next((place for place, line in enumerate(lines) if line.startswith("E  ")), None)
        return "found", test if at is None else f"{test}: {lines[at - 1].strip()}: {lines[at][1:].strip()}"
    if done.returncode:
        return "no answer", f"{file} -k {expression!r}: {(lines or ['no word'])[-1]}"
    return "missed", f"no test of {file} -k {expression!r} fails"


def main() -> int:
    """Plant each in turn, and tell; 1 where one was not found."""
    options = arguments()
    os.environ |= {"COMFYUI_PATH": str(need_comfyui("plants")), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    picked = options.only or range(1, len(MISTAKES) + 1)
    if unknown := [number for number in picked if not 1 <= number <= len(MISTAKES)]:
        raise SystemExit(f"plants: there is no mistake {unknown[0]}; expected 1 to {len(MISTAKES)}. Correct --only.")
    print("| | mistake | | reason |\n|---|---|---|---|", flush=True)
    found = 0
    for number in picked:
        how, why = outcome(MISTAKES[number - 1])
        found += how == "found"
        print(f"| {number} | {MISTAKES[number - 1].name} | {how} | {why[:WIDTH].replace('|', '/')} |", flush=True)
    print(f"\n{found} of {len(picked)} were found.")
    return int(found < len(picked))


if __name__ == "__main__":
    sys.exit(main())
