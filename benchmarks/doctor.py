"""How well the Prompt Doctor tells what is missing, on the demo model: its measure, its limits, and a control.

    python dev.py bench doctor --pictures 60 --seed 51
    python dev.py bench doctor --pictures 100 --seed 52      (not the seed that the limits were set on)

Pictures of two and of three things, in combinations that were held back from training, are sampled and recorded; the
world's own checker says which things came out. AUC is the share of pairs of a missing thing and one that is there that
the measure orders rightly; the control gives each thing the number of another one of its picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench doctor"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments  # noqa: E402
from pack.demo.judge.checker import find_things  # noqa: E402
from pack.demo.measure import Sitter, layouts  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.scenescope.attention.doctor.diagnosis import diagnose, neglected_below, view_of_words  # noqa: E402
from pack.scenescope.attention.doctor.things import things_of  # noqa: E402
from pack.scenescope.world.scene import Layout  # noqa: E402

EARLY = 5
"""Steps of the early reading: a quarter."""
FEWEST = 40
"""Leaks below which nothing is said of the verdict."""


@dataclass(frozen=True)
class Look:
    """One thing.

    Args:
        things: how many its prompt has.
        there: whether it came out, shape and colour.
        winning: its number after all steps.
        early: after the first quarter.
        other: another thing's of the same picture.
        shaped: whether its shape came out.
        leaking: whether one of its adjectives is said to leak.
    """

    things: int
    there: bool
    winning: float
    early: float
    other: float
    shaped: bool = False
    leaking: bool = False


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


def looks_of(sitter: Sitter, layout: Layout, index: int) -> Iterator[Look]:
    """Examine one picture."""
    picture, recording = sitter.picture(layout, index)
    found = find_things(picture)
    (entry,) = (entry for entry in recording.entries if entry.branch == "positive")
    assert entry.table is not None
    things = things_of(entry.table, "\n".join(" ".join(thing.words()) for thing in layout.things))
    view = view_of_words(recording)
    examined = diagnose(recording, things, view, 0).things
    numbers = [item.winning for item in examined]
    first = recording.where(lambda at: at.step < EARLY)
    early = [item.winning for item in diagnose(first, things, view, 0).things]
    others = [*numbers[1:], numbers[0]]
    for at, thing in enumerate(layout.things):
        there = any((each.shape, each.colour) == (thing.shape, thing.colour) for each in found)
        shaped = any(each.shape == thing.shape for each in found)
        leaks = any(finding.kind == "leaking" for finding in examined[at].findings)
        yield Look(len(layout.things), there, numbers[at], early[at], others[at], shaped, leaks)


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


def leaks(looks: Sequence[Look]) -> str:
    """Say how well leaking colours are found, where there are enough of them."""
    wrong = [look for look in looks if look.shaped and not look.there]
    right = [look for look in looks if look.there]
    told = f"{len(wrong)} of {len(wrong) + len(right)} shapes that came out have another colour than asked for"
    if len(wrong) < FEWEST:
        return f"{told}: too few to measure the verdict `leaking` by (at least {FEWEST} are wanted)."
    hits, alarms = (np.mean([look.leaking for look in group]) for group in (wrong, right))
    return f"{told}: `leaking` is said of {hits:.2f} of these, and of {alarms:.2f} of the others."


def main() -> None:
    """Measure what is missing, and print the table."""
    reader = argparse.ArgumentParser(prog="dev.py bench doctor", description=__doc__)
    shared_arguments(reader, 60)
    reader.add_argument("--seed", type=int, default=51, help="of the layouts; the limits were set on 51")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, sitter = cases_of(f"doctor-{options.seed}", options), None
    names = [f"{count} {index}" for count in (2, 3) for index in range(options.pictures)]
    wanted = {count: layouts(options.seed, options.pictures, count) for count in (2, 3)}
    with torch.inference_mode():
        for name in cases.missing(names):
            sitter, (count, index) = sitter or Sitter(load_demo_model(options.model)), map(int, name.split())
            cases.add(name, [asdict(look) for look in looks_of(sitter, wanted[count][index], index)])
    looks = [Look(**row) for name in names for row in cases.known[name]]
    print(f"{table(looks)}\n\n{leaks(looks)}\n\nKept in {cases.file}")


if __name__ == "__main__":
    main()
