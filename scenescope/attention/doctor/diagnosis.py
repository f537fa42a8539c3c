"""A verdict for each thing of a prompt and each of its adjectives, with the number and the limit that it comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...errors import SelectionError
from ..read.cautions import WEAK, outside_corners
from ..read.heatmap import Heatmaps, heatmaps, heatmaps_of
from ..read.view import View, Viewed, level_name, viewed
from ..record.recording import Recording
from ..record.selection import first_steps
from ..words.find import WordMatch
from ..words.tokens import TokenTable, Word, fold
from .measures import cosines, winning_mass
from .things import Thing

VerdictKind = Literal["fine", "neglected", "merged", "leaking", "split", "dropped", "sink", "cannot say"]

KEPT, KEPT_EARLY = 0.82, 0.70
"""The share of its mass that a noun keeps against each rival, after the whole run and after its first quarter.

Below it, the noun is called neglected.

Calibrated on 200 pictures of the demo model (500 things, 25 missing): nine of ten things that came out keep more,
against one rival (0.82) and against two (0.67). Of 300 other things, in threes (`dev.py bench doctor`), all 17 keep
less that left nothing in the picture (AUC 0.99, and 0.83 after a quarter), of 29 that were drawn badly 13. The same
share a rival is expected of other models; where it begins there is not known.
"""
MERGED = 0.82
"""Cosine of two nouns' maps from which they are called merged: one in twenty things that came out is above it."""
LEAKING = 0.0
"""Cosine of an adjective with its own noun, less that with the nearest other one, below which it leaks: so of 2 in 100
adjectives of things that came out, and of 16 in 100 of those that did not."""
COARSEST = 8
"""Words are told apart on the coarsest grid of at least this many cells a side, down to the latent / 4: 16x16 for a
512x512 picture, which others use too (Attend-and-Excite), and 8x8 for the demo model, where missing things were found
best."""

_EMBEDDING = re.compile(r"embedding:([^\s,()<\[]+)")


@dataclass(frozen=True)
class Finding:
    """One verdict.

    Args:
        kind: what is the matter; `fine` where nothing is.
        word: whose, as the prompt has it.
        text: the verdict in a sentence.
        number: what it comes from; None where there is none.
        limit: where it begins; None where there is none.
        columns: the word that it is shown at: an adjective that leaks, else the noun; empty for a word without any.
        rival: the other thing that it speaks of; empty where there is none.
    """

    kind: VerdictKind
    word: str
    text: str
    number: float | None = None
    limit: float | None = None
    columns: tuple[int, ...] = ()
    rival: str = ""

    @property
    def guess(self) -> bool:
        """Whether it depends on a limit measured on another model, rather than on the prompt's tokens."""
        return self.limit is not None

    @property
    def called(self) -> str:
        """The verdict as it is shown: a guess is marked as one."""
        return f"{self.kind} (a guess)" if self.guess else self.kind


@dataclass(frozen=True)
class Examined:
    """One thing with its numbers.

    Args:
        thing: the words.
        winning: share of its noun's mass where it beats the other nouns, 0..1.
        likest: the other thing whose noun's map is most like its own, and how like, 0..1; None for a thing alone.
        findings: the verdicts; one `fine` where there is nothing else.
    """

    thing: Thing
    winning: float
    likest: tuple[str, float] | None
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> bool:
        """Whether the picture may not show it."""
        return any(finding.kind == "neglected" for finding in self.findings)


@dataclass(frozen=True)
class Diagnosis:
    """What a prompt's maps say about it.

    Args:
        prompt: as it was typed.
        things: in the prompt's order.
        others: verdicts that belong to no thing.
        start: share of all attention that the start token takes.
        steps: how many steps were read.
        grid: where, `latent/4` for example.
        early: the doubted things after the first part of the run, None where that was not recorded.
    """

    prompt: str
    things: tuple[Examined, ...]
    others: tuple[Finding, ...]
    start: float
    steps: int
    grid: str
    early: tuple[str, ...] | None = None


def view_of_words(recording: Recording, image: int = 0) -> View:
    """The grid on which words are told apart: the coarsest recorded one of at least COARSEST cells a side."""
    levels = sorted({layer.level for layer in recording.layers if layer.kind == "cross" and layer.level <= 2})
    side = min(recording.latent)
    fitting = [level for level in levels if side / 2**level >= COARSEST] or levels[:1] or [0]
    return View(resolution=level_name(fitting[-1]), image=image)


def diagnose(recording: Recording, things: Sequence[Thing], view: View, early: float = 0.25) -> Diagnosis:
    """Examine the things of a prompt.

    Args:
        recording: what a run left.
        things: as `things_of` gives them.
        view: branch, entry, grid, and picture of the batch.
        early: share of the run after which the early verdict is given; 0 for none.

    Raises:
        RecordingError, SelectionError: the view names what was not recorded.
    """
    seen = viewed(recording, view)
    table = seen.entry.table or TokenTable("", ())
    found = _examined(heatmaps_of(seen, _words(things)), things)
    before: tuple[str, ...] | None = None
    if early:
        last = max(0, first_steps(early, recording.steps) - 1)
        try:
            first = heatmaps(recording, _words(things), replace(view, steps=f"0-{last}"))
            before = tuple(item.thing.text for item in _examined(first, things, KEPT_EARLY) if item.missing)
        except SelectionError:  # these steps were not recorded
            before = None
    return Diagnosis(
        prompt=table.prompt,
        things=tuple(replace(item, findings=_with_split(item, table)) for item in found),
        others=dropped(table),
        start=_start_share(seen, table),
        steps=len(seen.steps),
        grid=view.resolution,
        early=before,
    )


def examine_pictures(recording: Recording, things: Sequence[Thing], view: View) -> list[tuple[Examined, ...]]:
    """Examine the things in each picture of the batch, after the whole run.

    Args:
        recording: what a run left.
        things: as `things_of` gives them.
        view: branch, entry and grid; its picture does not count.

    Raises:
        RecordingError, SelectionError: the view names what was not recorded.
    """
    seen = viewed(recording, replace(view, image=None))
    table, maps = seen.entry.table or TokenTable("", ()), heatmaps_of(seen, _words(things))
    pictures = (_examined(maps, things, image=image) for image in range(len(maps.values)))
    return [tuple(replace(item, findings=_with_split(item, table)) for item in found) for found in pictures]


def _words(things: Sequence[Thing]) -> tuple[WordMatch, ...]:
    """Nouns first, then the adjectives of each."""
    words = [thing.noun for thing in things] + [word for thing in things for word in thing.adjectives]
    return tuple(WordMatch(word.text, (word.columns,), word.weight, (word,)) for word in words)


def _examined(maps: Heatmaps, things: Sequence[Thing], kept: float = KEPT, image: int = 0) -> list[Examined]:
    values = maps.values[image].movedim(-1, 0)  # (word height width)
    nouns, adjectives = values[: len(things)], iter(values[len(things) :])
    winning, alike = winning_mass(nouns), cosines(nouns, nouns)
    found = []
    for place, thing in enumerate(things):
        likest = None
        if len(things) > 1:
            row = alike[place].clone()
            row[place] = -1
            likest = things[int(row.argmax())].text, float(row.max())
        findings = _of_noun(place, things, float(winning[place]), likest, nouns[place], kept)
        for word in thing.adjectives:
            findings += _of_adjective(word, place, things, cosines(next(adjectives)[None], nouns)[0])
        fine = Finding("fine", thing.text, f"`{thing.text}` has a place of its own.", columns=thing.noun.columns)
        found.append(Examined(thing, float(winning[place]), likest, tuple(findings) or (fine,)))
    return found


def _of_noun(
    place: int,
    things: Sequence[Thing],
    winning: float,
    likest: tuple[str, float] | None,
    values: Tensor,
    kept: float,
) -> list[Finding]:
    thing, found = things[place], []
    own = thing.noun.columns
    if likest is None:
        text = f"`{thing.text}` is the only thing, so there is no other word to compare it with."
        found.append(Finding("cannot say", thing.text, text, columns=own))
    else:
        limit, rival = neglected_below(len(things), kept), likest[0]
        if winning < limit:
            text = f"other things beat `{thing.text}` in too much of where it looks, so it may be missing."
            found.append(Finding("neglected", thing.text, text, winning, limit, own))
        if likest[1] >= MERGED:
            text = f"`{thing.text}` and `{rival}` look at the same places, so they may have become one thing."
            found.append(Finding("merged", thing.text, text, likest[1], MERGED, own, rival))
    in_corner, elsewhere = outside_corners(values)
    if bool(in_corner) and float(elsewhere) < WEAK:
        text = f"`{thing.noun.text}` looks into a corner, as a sink does: where the thing is cannot be seen."
        found.append(Finding("sink", thing.text, text, float(elsewhere), WEAK, own))
    return found


def neglected_below(things: int, kept: float = KEPT) -> float:
    """The winning mass below which one of this many things is called neglected: the same share against each rival.

    >>> [round(neglected_below(things), 2) for things in (2, 3, 4)]
    [0.82, 0.67, 0.55]
    """
    return float(kept ** (things - 1))


def _of_adjective(word: Word, place: int, things: Sequence[Thing], alike: Tensor) -> list[Finding]:
    """Whether an adjective lies on another noun rather than on its own."""
    if len(things) < 2:
        return []
    others = alike.clone()
    others[place] = -1
    gap = float(alike[place] - others.max())
    if gap >= LEAKING:
        return []
    onto = things[int(others.argmax())]
    text = f"`{word.text}` lies on `{onto.noun.text}` rather than on `{things[place].noun.text}`: it may colour both."
    return [Finding("leaking", word.text, text, gap, LEAKING, word.columns, onto.noun.text)]


def _with_split(item: Examined, table: TokenTable) -> tuple[Finding, ...]:
    chunks = {table.tokens[column].chunk for column in item.thing.columns if column < len(table.tokens)}
    if len(chunks) < 2:
        return item.findings
    text = f"`{item.thing.text}` is split between two chunks of the prompt, so its words don't read each other."
    rest = tuple(finding for finding in item.findings if finding.kind != "fine")
    return (*rest, Finding("split", item.thing.text, text, columns=item.thing.noun.columns))


def dropped(table: TokenTable) -> tuple[Finding, ...]:
    """Name the embeddings that the prompt has and the tokens do not: the host leaves out what it does not find."""
    known = {re.sub(r"\.(safetensors|pt|bin)$", "", fold(word.text)) for word in table.words() if word.embedding}
    named = dict.fromkeys(_EMBEDDING.findall(table.prompt))
    return tuple(
        Finding("dropped", name, f"`embedding:{name}` was not found, so it was left out of the prompt.")
        for name in named
        if re.sub(r"\.(safetensors|pt|bin)$", "", fold(name)) not in known
    )


def _start_share(seen: Viewed, table: TokenTable) -> float:
    columns = table.columns("start")
    if not columns:
        return 0.0
    start = heatmaps_of(seen, [WordMatch("<start>", tuple((column,) for column in columns))], merge="sum")
    return float(torch.mean(start.values)) * len(columns)
