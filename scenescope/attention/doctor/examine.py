"""The whole examination: from a recording to verdicts, a report, a sheet and a repair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ...dims import indexed
from ...errors import InputError, WordError
from ..act.place import Place
from ..act.steer import Steering
from ..read.view import viewed_entry
from ..record.recording import Recording
from ..words.find import asking_for
from ..words.tokens import TokenTable
from .diagnosis import Diagnosis, diagnose, view_of_words
from .proof import Proof, prove
from .repair import Placed
from .repair import repair as place_again
from .report import markdown, report_json
from .sheet import draw_sheet
from .things import things_of

Repair = Literal["place", "lift", "none"]
REPAIRS: tuple[Repair, ...] = get_args(Repair)
INSIDE, OUTSIDE, LIFT = 6.0, -6.0, 2.0
"""Log-odds of the repairs; with them, places brought back 36 of 49 missing things, and lifting alone 36 of 60."""


@dataclass(frozen=True)
class Examination:
    """What the Prompt Doctor gives.

    Args:
        diagnosis: the verdicts.
        report: as Markdown.
        data: as JSON.
        sheet: (1 height width 3) float32 0..1.
        repair: for Steer Words; empty where nothing is missing.
        proof: what switching a thing off changed; None without a picture of that.
    """

    diagnosis: Diagnosis
    report: str
    data: str
    sheet: Tensor
    repair: tuple[Steering, ...]
    proof: Proof | None = None

    @property
    def summary(self) -> str:
        """A line for each thing."""
        findings = [finding for item in self.diagnosis.things for finding in item.findings]
        lines = [f"{f.called}: {f.text}" for f in (*findings, *self.diagnosis.others)]
        return "\n".join([*lines, *([f"proof: {self.proof.text}"] if self.proof else [])])


def examine(
    recording: Recording,
    words: str = "",
    *,
    picture: Tensor | None = None,
    repair: Repair = "place",
    early: float = 0.25,
    image_index: int = 0,
    without: Tensor | None = None,
    dropped: str = "",
) -> Examination:
    """Examine a run.

    Args:
        recording: what it left.
        words: its things, one on a line; empty to find them in the prompt.
        picture: (image height width 3) 0..1 of the run, to lie under the maps.
        repair: how what is missing is to be brought back.
        early: share of the run after which the early verdict is given; 0 for none.
        image_index: picture of the batch, from 0.
        without: (image height width 3) 0..1 from the same noise, one thing's words switched off; needs `picture`.
        dropped: which thing; empty for the first.

    Raises:
        InputError: there is no such picture, or `without` cannot be compared with it.
        WordError: the conditioning carries no words, or the things are not among them.
        RecordingError: no cross-attention of the positive prompt was recorded.
    """
    if not 0 <= image_index < recording.images:
        raise InputError(
            f"Prompt Doctor: image_index is {image_index}, but this run has {indexed(recording.images, 'picture')}. "
            "Choose one of them."
        )
    view = view_of_words(recording, image_index)
    table = viewed_entry(recording, view).table
    if table is None:
        raise WordError(
            "Prompt Doctor: the positive conditioning doesn't carry its words. Put Trace Words between the CLIP and "
            "CLIP Text Encode."
        )
    things = things_of(table, words)
    diagnosis = diagnose(recording, things, view, early)
    missing = [item.missing for item in diagnosis.things]
    placed = place_again(recording, things, missing, view) if repair == "place" else ()
    own, other = (None if each is None else each[image_index : image_index + 1] for each in (picture, without))
    own = None if own is None or not len(own) else own
    if other is not None and (own is None or not len(other)):
        raise InputError(
            f"Prompt Doctor: the proof needs picture {image_index} with the thing and without it. Connect the recorded "
            "run's own to `picture`, and the one without the thing to `without`."
        )
    proof = prove(recording, things, view, (own, other), dropped) if other is not None and own is not None else None
    return Examination(
        diagnosis,
        markdown(diagnosis, placed, proof),
        report_json(diagnosis, placed, proof),
        draw_sheet(recording, diagnosis, view, own, placed),
        _placing(placed) if repair == "place" else _lifting(diagnosis, table) if repair == "lift" else (),
        proof,
    )


def _placing(placed: Sequence[Placed]) -> tuple[Steering, ...]:
    return tuple(
        Steering(item.words, INSIDE, OUTSIDE, Place(item.mask), who="Steer Words (Prompt Doctor's repair)")
        for item in placed
    )


def _lifting(diagnosis: Diagnosis, table: TokenTable) -> tuple[Steering, ...]:
    return tuple(Steering(asking_for(table, item.thing.words), LIFT) for item in diagnosis.things if item.missing)
