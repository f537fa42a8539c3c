"""How well the Prompt Doctor tells what is missing, on the demo model: its measure, its limits, and a control.

    python dev.py bench doctor --pictures 100 --seed 52

Pictures of two and of three things, in combinations that were held back from training, are sampled and recorded; the
world's own checker says which things came out. What did not is `gone` where nothing in its colour is in the picture,
and `spoilt` where something is: in another shape, or grown together with another thing. AUC is the share of pairs of
such a thing and one that is there that the measure orders rightly; the control gives each thing the number of another
one of its picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench doctor"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.lab import markdown  # noqa: E402
from pack.demo.judge.checker import find_things, shows_colour  # noqa: E402
from pack.demo.measure import layouts  # noqa: E402
from pack.demo.studio import Studio  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.scenescope.attention.doctor.diagnosis import diagnose, neglected_below, view_of_words  # noqa: E402
from pack.scenescope.attention.doctor.things import things_of  # noqa: E402
from pack.scenescope.attention.record.recording import Recording  # noqa: E402
from pack.scenescope.world.scene import Layout, full_caption  # noqa: E402

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
        gone: whether nothing in its colour is there either; what is neither there nor gone was drawn badly, or has
            grown together with another thing.
        shaped: whether its shape came out.
        leaking: whether one of its adjectives is said to leak.
    """

    things: int
    there: bool
    winning: float
    early: float
    other: float
    gone: bool = False
    shaped: bool = False
    leaking: bool = False

    @property
    def spoilt(self) -> bool:
        """Whether something is there in its colour, but not in its shape, or not apart from another thing."""
        return not self.there and not self.gone


def auc(looks: Sequence[Look], number: str, missing: str = "gone") -> float:
    """The share of pairs (missing, there) in which the missing one's number is lower; ties count half.

    Args:
        looks: the things.
        number: `winning`, `early` or `other`.
        missing: `gone` or `spoilt`, which are told from those that are there.

    >>> looks = [Look(2, True, 0.9, 0, 0), Look(2, False, 0.2, 0, 0, gone=True), Look(2, False, 0.9, 0, 0, gone=True)]
    >>> auc(looks, "winning"), auc([*looks, Look(2, False, 0.95, 0, 0)], "winning", "spoilt")
    (0.75, 0.0)
    """
    own, others = ([getattr(look, number) for look in looks if getattr(look, kind)] for kind in (missing, "there"))
    if not own or not others:
        return float("nan")
    apart = np.subtract.outer(np.array(others), np.array(own))
    return float((apart > 0).mean() + (apart == 0).mean() / 2)


def looks_of(picture: np.ndarray, recording: Recording, layout: Layout) -> Iterator[Look]:
    """Examine one picture (height width 3)."""
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
        gone = not there and not shows_colour(picture, thing.colour)
        yield Look(len(layout.things), there, numbers[at], early[at], others[at], gone, shaped, leaks)


def table(looks: Sequence[Look]) -> str:
    """Write the figures as Markdown: what is gone, and what was drawn badly, each against what is there."""
    titles = ["things", "not there", "how many", "AUC, all steps", "first quarter", "control", "below the limit"]
    rows = []
    for counts in ((2,), (3,), (2, 3)):
        own = [look for look in looks if look.things in counts]
        for kind in ("gone", "spoilt", "there"):
            those = [look for look in own if getattr(look, kind)]
            below = sum(look.winning < neglected_below(look.things) for look in those)
            rates = [f"{auc(own, name, kind):.2f}" if kind != "there" else "" for name in ("winning", "early", "other")]
            rows.append([" and ".join(map(str, counts)), kind, f"{len(those)} of {len(own)}", *rates, str(below)])
    return markdown.table(titles, rows)


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
    reader.add_argument("--seed", type=int, default=51, help="of the layouts (51)")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, studio = cases_of(f"doctor-{options.seed}", options), None
    names = [f"{count} {index}" for count in (2, 3) for index in range(options.pictures)]
    wanted = {count: layouts(options.seed, options.pictures, count) for count in (2, 3)}
    with torch.inference_mode():
        for name in cases.missing([] if options.report else names):
            studio = studio or Studio(load_demo_model(options.model), options.seed)
            count, index = map(int, name.split())
            picture, recording = studio.recorded(full_caption(wanted[count][index]), index)
            cases.add(name, [asdict(look) for look in looks_of(picture, recording, wanted[count][index])])
    looks = [Look(**row) for name in names for row in cases.known.get(name, ())]
    print(f"{table(looks)}\n\n{leaks(looks)}\n\nKept in {cases.file}")


if __name__ == "__main__":
    main()
