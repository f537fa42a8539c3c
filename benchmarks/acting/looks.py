"""What the Prompt Doctor says of pictures of which it is known what came out: measure, limits, and a control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pack.benchmarks.lab import markdown
from pack.demo.judge.checker import find_things, shows_colour
from pack.scenescope.attention.doctor.diagnosis import diagnose, neglected_below, view_of_words
from pack.scenescope.attention.doctor.things import things_of
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.world.scene import Layout

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


def looks_from(figures: Mapping[str, Sequence[float]]) -> list[Look]:
    """The same things again from lists of their numbers.

    >>> looks_from({"things": [2.0], "there": [1.0], "winning": [0.9], "early": [0.8], "other": [0.7]})[0].there
    True
    """
    rows = (dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True))
    flags = ("there", "shaped", "leaking", "gone")
    return [
        Look(**{name: bool(v) if name in flags else int(v) if name == "things" else v for name, v in row.items()})
        for row in rows
    ]


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
