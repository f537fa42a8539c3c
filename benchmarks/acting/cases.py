"""Results of cases, each written as soon as it is done, so that an interrupted bench resumes where it stopped."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pack.benchmarks.lab import markdown
from pack.benchmarks.lab.files import write
from pack.devtools.environment import cache_folder
from pack.scenescope.world.demo_file import DEMO_FILE

Figures = dict[str, float]
Result = list[tuple[str, Figures]]
"""Arms of one case with their figures; an arm may come several times."""


class Cases:
    """The results of one bench on one model.

    Args:
        file: where they are kept; what is there already is known.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}

    def add(self, name: str, result: Any) -> None:
        """Keep a result, at once."""
        self.known[name] = result
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write(self.file, json.dumps(self.known))

    def missing(self, names: Sequence[str]) -> Iterator[str]:
        """The names without a result, told on the screen as they are done."""
        lacking, start = [name for name in names if name not in self.known], time.monotonic()
        for number, name in enumerate(lacking, start=1):
            yield name
            told = f"{name}: {number} of {len(lacking)}, {time.monotonic() - start:.0f} s"
            print(told, file=sys.stderr, flush=True)

    def arms(self, names: Iterable[str]) -> dict[str, dict[str, list[float]]]:
        """The figures of these cases: arm -> figure -> a value for each case or thing."""
        found: dict[str, dict[str, list[float]]] = {}
        for name in names:
            for arm, figures in self.known.get(name, ()):
                for figure, value in figures.items():
                    found.setdefault(arm, {}).setdefault(figure, []).append(float(value))
        return found


def table(arms: dict[str, dict[str, list[float]]]) -> str:
    """Arms as Markdown: the mean of each figure, of how many, and its interval.

    >>> print(table({"plain": {"iou": [0.25, 0.75]}, "steered": {"iou": [0.5], "back": [0.0]}}))
    |  | iou | back |
    | --- | --- | --- |
    | plain | 0.500 (2: 0.010 to 0.990) |  |
    | steered | 0.500 (1) | 0.000 (1: 0.000 to 0.793) |
    """
    names = list(dict.fromkeys(name for figures in arms.values() for name in figures))
    rows = [[arm, *(_cell(figures.get(name)) for name in names)] for arm, figures in arms.items()]
    return markdown.table(["", *names], rows)


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    around = " to ".join(f"{end:.3f}" for end in interval(values))
    return f"{np.mean(values):.3f} ({len(values)}{': ' if around else ''}{around})"


def interval(values: Sequence[float]) -> tuple[float, ...]:
    """Where the true mean lies, 95 %: Wilson's interval for shares, the normal one for numbers; none for one number.

    >>> [round(end, 3) for end in interval([1.0] * 9 + [0.0])]
    [0.596, 0.982]
    """
    number, mean = len(values), float(np.mean(values))
    if set(values) <= {0.0, 1.0}:
        z = 1.96**2
        centre, half = mean + z / 2 / number, 1.96 * math.sqrt(mean * (1 - mean) / number + z / 4 / number**2)
        return (centre - half) / (1 + z / number), (centre + half) / (1 + z / number)
    if number < 2:
        return ()
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(number)
    return mean - half, mean + half


def shared_arguments(reader: argparse.ArgumentParser, pictures: int) -> None:
    """Options that every bench of acting has."""
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--pictures", type=int, default=pictures, help=f"prompts for each part ({pictures})")
    reader.add_argument("--model", type=Path, default=DEMO_FILE, help="a demo model's file (the pack's own)")
    reader.add_argument("--report", action="store_true", help="print the results so far, and measure nothing")
    reader.add_argument(
        "--folder", type=Path, default=cache_folder() / "acting", help="where results are kept, to resume from"
    )


def cases_of(bench: str, options: argparse.Namespace) -> Cases:
    """The results of a bench so far, for the model of these options: of another model they are others."""
    digest = hashlib.sha256()
    with options.model.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return Cases(options.folder / f"{bench}-{digest.hexdigest()[:8]}.json")
