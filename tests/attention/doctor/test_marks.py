"""Verdicts as the viewer's file has them: at which words, for which picture, and when there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.doctor.marks import marks_of
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.attention.read.ask import ASKED_FROM
from pack.scenescope.attention.record.recording import Recording
from pack.tests.support.drawn import disc, drawn, even
from pack.tests.support.viewfiles import read

PROMPT = "a red circle and a green star"
LEFT, RIGHT, WIDE = disc(8, 6), disc(8, 18), disc(8, 6, 5.0)
APART = {"circle": LEFT, "red": LEFT, "star": RIGHT, "green": RIGHT}


def kinds(recording: Recording, images: int = 1) -> list[list[tuple[str, list[int]]]]:
    """What stands at which columns, for each picture."""
    found = marks_of(recording, recording.entries[0], images)
    return [[(mark["kind"], mark["columns"]) for mark in marks] for marks in found]


def test_a_mark_stands_at_the_noun_and_a_leak_at_the_adjective():
    """Oracle: by hand: the prompt's columns from 1; red lies on the star, which has nothing else the matter."""
    recording = drawn(PROMPT, APART | {"red": RIGHT})
    assert kinds(recording) == [[("leaking", [2]), ("fine", [7])]]
    leak, fine = marks_of(recording, recording.entries[0], 1)[0]
    assert (leak["word"], leak["rival"], leak["limit"]) == ("red", "star", 0.0)
    assert leak["number"] < 0
    assert fine["number"] > 0.82
    assert fine["limit"] is None


def test_each_picture_of_a_batch_has_its_own_marks(tmp_path):
    """Oracle: by hand: two maps in one batch; the viewer's file has both lists, and a reader of it finds them."""
    beaten = {"circle": WIDE, "red": WIDE, "star": even(), "green": even()}
    first, second = drawn(PROMPT, beaten), drawn(PROMPT, APART)
    maps = tuple(
        replace(one, maps=torch.cat([one.maps, other.maps])) for one, other in zip(first.maps, second.maps, strict=True)
    )
    batch = replace(first, maps=maps, images=2)
    expected = [[("fine", [3]), ("neglected", [7])], [("fine", [3]), ("fine", [7])]]
    assert kinds(batch, 2) == expected
    write_view(batch, tmp_path / "maps.view")
    (entry,) = read(tmp_path / "maps.view")[0]["entries"]
    assert [[(mark["kind"], mark["columns"]) for mark in marks] for marks in entry["verdicts"]] == expected


def test_an_embedding_that_was_not_found_is_marked_at_no_word():
    """Oracle: by hand; also where the rest of the prompt names no thing."""
    recording = drawn(PROMPT, APART)
    (entry,) = recording.entries
    lost = replace(entry, table=replace(entry.table, prompt=f"{PROMPT}, embedding:gone"))
    assert kinds(replace(recording, entries=(lost,)))[0][-1] == ("dropped", [])
    bare = drawn("in on", {})
    named = replace(bare.entries[0], table=replace(bare.entries[0].table, prompt="in on embedding:gone"))
    assert kinds(replace(bare, entries=(named,)), 2) == [[("dropped", [])]] * 2


@pytest.mark.parametrize("change", [{"branch": "negative"}, {"index": 1}, {"table": None}])
def test_only_the_first_positive_prompt_that_has_its_words_is_marked(change):
    """Oracle: nothing for the others, and no `verdicts` in their header."""
    recording = drawn(PROMPT, APART)
    assert marks_of(recording, replace(recording.entries[0], **change), 1) == []


def test_words_that_were_asked_for_after_the_run_are_not_judged():
    """Oracle: by hand: the star, from column 6 on, was asked for; the circle is then the only thing."""
    recording = replace(drawn(PROMPT, APART), about={ASKED_FROM: 6})
    assert kinds(recording) == [[("cannot say", [3])]]
