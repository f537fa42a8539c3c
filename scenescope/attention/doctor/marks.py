"""Verdicts attached to their words, for a screen that shows the words."""

from __future__ import annotations

from typing import Any

from ...errors import SceneScopeError
from ..read.ask import asked_columns
from ..record.recording import Entry, Recording
from ..record.selection import POSITIVE
from .diagnosis import Examined, Finding, dropped, examine_pictures, view_of_words
from .things import things_of

Mark = dict[str, Any]
"""`kind`, `word`, its `columns`, the `rival`, the `number` and its `limit`: a verdict as plain data."""


def marks_of(recording: Recording, entry: Entry, images: int) -> list[list[Mark]]:
    """The verdicts on one prompt's words, for each of its first pictures.

    The verdicts are about the prompt that the Prompt Doctor reads: the first positive one, where its words are known.
    Words that were asked for after the run are no part of what the run was given.

    Args:
        recording: what a run left, with cross-attention.
        entry: whose words.
        images: for how many pictures.

    Returns:
        A list for each picture; nothing where nothing can be said.
    """
    if (entry.branch, entry.index) != (POSITIVE, 0) or entry.table is None:
        return []
    lost = [_mark(finding, finding.number) for finding in dropped(entry.table)]
    try:
        things = [thing for thing in things_of(entry.table) if not asked_columns(recording, thing.columns)]
        examined = examine_pictures(recording, things, view_of_words(recording)) if things else []
    except SceneScopeError:  # the prompt has no thing, or none of its maps was recorded
        examined = []
    pictures = [[mark for item in found for mark in _marks(item)] + lost for found in examined[:images]]
    return pictures or ([lost] * images if lost else [])


def _marks(item: Examined) -> list[Mark]:
    """Of one thing; a fine one has its number too."""
    return [_mark(f, item.winning if f.kind == "fine" else f.number) for f in item.findings]


def _mark(finding: Finding, number: float | None) -> Mark:
    return {
        "kind": finding.kind,
        "word": finding.word,
        "columns": list(finding.columns),
        "rival": finding.rival,
        "number": None if number is None else round(number, 4),
        "limit": None if finding.limit is None else round(finding.limit, 4),
    }
