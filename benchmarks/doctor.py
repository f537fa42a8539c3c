"""How well the Prompt Doctor tells what is missing, on the demo model: its measure, its limits, and a control.

    python dev.py bench doctor --pictures 60 --seed 51

Pictures of two and of three things, in combinations that were held back from training, are sampled and recorded; the
world's own checker says which things came out. AUC is the share of pairs of a missing thing and one that is there that
the measure orders rightly; the control gives each thing the number of another one of its picture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

COMFYUI = find_comfyui()
if COMFYUI is None:
    raise SystemExit(f"Doctor: no ComfyUI was found; the figures need one. {HOW_TO_GET_ONE}")
use_comfyui(COMFYUI)

from pack.demo.judge.checker import find_things  # noqa: E402
from pack.demo.measure import Sitter, layouts  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.scenescope.attention.doctor.diagnosis import diagnose, neglected_below, view_of_words  # noqa: E402
from pack.scenescope.attention.doctor.things import things_of  # noqa: E402

EARLY = 5
"""Steps of the early reading: a quarter."""


@dataclass(frozen=True)
class Look:
    """One thing: of how many, whether it came out, its number after all steps and early, and another thing's."""

    things: int
    there: bool
    winning: float
    early: float
    other: float


def auc(looks: Sequence[Look], number: str) -> float:
    """The share of pairs (missing, there) in which the missing one's number is lower; ties count half.

    >>> looks = [Look(2, True, 0.9, 0, 0), Look(2, False, 0.2, 0, 0), Look(2, False, 0.9, 0, 0)]
    >>> auc(looks, "winning")
    0.75
    """
    missing, there = ([getattr(look, number) for look in looks if look.there == is_there] for is_there in (False, True))
    if not missing or not there:
        return float("nan")
    apart = np.subtract.outer(np.array(there), np.array(missing))
    return float((apart > 0).mean() + (apart == 0).mean() / 2)


def looks_of(sitter: Sitter, options: argparse.Namespace) -> Iterator[Look]:
    """Examine pictures."""
    for count in (2, 3):
        for index, layout in enumerate(layouts(options.seed, options.pictures, count)):
            picture, recording = sitter.picture(layout, index)
            found = {(thing.shape, thing.colour) for thing in find_things(picture)}
            (entry,) = (entry for entry in recording.entries if entry.branch == "positive")
            assert entry.table is not None
            things = things_of(entry.table, "\n".join(" ".join(thing.words()) for thing in layout.things))
            view = view_of_words(recording)
            numbers = [item.winning for item in diagnose(recording, things, view, 0).things]
            first = recording.where(lambda at: at.step < EARLY)
            early = [item.winning for item in diagnose(first, things, view, 0).things]
            others = [*numbers[1:], numbers[0]]
            for thing, *told in zip(layout.things, numbers, early, others, strict=True):
                yield Look(count, (thing.shape, thing.colour) in found, *told)
            print(".", end="", file=sys.stderr, flush=True)


def table(looks: Sequence[Look]) -> str:
    """Write the figures as Markdown."""
    lines = ["| things | missing | AUC, all steps | first quarter | control | limit | kept by nine of ten there |"]
    lines.append("| --- " * 7 + "|")
    for counts in ((2,), (3,), (2, 3)):
        own = [look for look in looks if look.things in counts]
        there = [look.winning for look in own if look.there]
        missing = sum(not look.there for look in own)
        figures = " | ".join(f"{auc(own, name):.2f}" for name in ("winning", "early", "other"))
        single = len(counts) == 1 and there
        limit = f"{neglected_below(counts[0]):.2f} | {np.quantile(there, 0.1):.2f}" if single else "|"
        lines.append(f"| {' and '.join(map(str, counts))} | {missing} of {len(own)} | {figures} | {limit} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    reader = argparse.ArgumentParser(prog="dev.py bench doctor", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--pictures", type=int, default=60, help="of two things, and as many of three")
    reader.add_argument("--seed", type=int, default=51, help="of the layouts; the limits were set on 51")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    with torch.inference_mode():
        print(table(list(looks_of(Sitter(load_demo_model()), options))))


if __name__ == "__main__":
    main()
