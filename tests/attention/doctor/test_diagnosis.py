"""Verdicts on maps drawn by hand, and what is done about them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.doctor.diagnosis import Diagnosis, diagnose, view_of_words
from pack.scenescope.attention.doctor.examine import examine
from pack.scenescope.attention.doctor.measures import cosines, winning_mass
from pack.scenescope.attention.doctor.repair import free_square, repair
from pack.scenescope.attention.doctor.report import markdown, report_json
from pack.scenescope.attention.doctor.sheet import draw_sheet
from pack.scenescope.attention.doctor.things import things_of
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError, WordError
from pack.tests.support.drawn import disc, drawn, even

PROMPT = "a red circle and a green star"
LEFT, RIGHT, WIDE = disc(8, 6), disc(8, 18), disc(8, 6, 5.0)
APART = {"circle": LEFT, "red": LEFT, "star": RIGHT, "green": RIGHT}


def of(maps, prompt: str = PROMPT, typed: str = "") -> Diagnosis:
    """The diagnosis of maps."""
    recording = drawn(prompt, maps)
    return diagnose(recording, things_of(recording.entries[0].table, typed), view_of_words(recording))


def kinds(diagnosis: Diagnosis) -> list[list[str]]:
    """What each thing is called."""
    return [[finding.kind for finding in item.findings] for item in diagnosis.things]


def test_two_discs_apart_are_fine():
    """Oracle: by hand: each noun wins its own disc, where nearly all of its mass lies."""
    found = of(APART)
    assert kinds(found) == [["fine"], ["fine"]]
    assert all(item.winning > 0.82 for item in found.things)
    assert found.early == ()
    assert found.start == pytest.approx(0.3, abs=1e-3)
    assert found.steps == 4


def test_a_noun_that_is_beaten_in_too_much_of_its_mass_is_neglected():
    """Oracle: by hand: an even map loses the cells that the circle's disc touches, 24 of 8x12."""
    found = of(APART | {"circle": WIDE, "red": WIDE, "star": even(), "green": even()})
    assert kinds(found)[1] == ["neglected"]
    assert found.things[1].missing
    assert found.things[1].winning == pytest.approx(1 - 24 / 96)
    assert kinds(found)[0] == ["fine"]


def test_nouns_that_look_at_the_same_places_are_merged():
    """Oracle: the same map twice has the cosine 1, and wins nowhere."""
    found = of(APART | {"star": LEFT, "green": LEFT})
    assert kinds(found) == [["neglected", "merged"], ["neglected", "merged"]]
    assert found.things[0].likest == ("green star", pytest.approx(1.0))
    assert found.things[0].winning == 0


def test_an_adjective_on_the_wrong_noun_leaks_onto_it():
    """Oracle: by hand: red lies on the star."""
    found = of(APART | {"red": RIGHT})
    assert kinds(found) == [["leaking"], ["fine"]]
    (leak,) = found.things[0].findings
    assert leak.word == "red"
    assert "lies on `star` rather than on `circle`" in leak.text
    assert leak.number < 0


def test_a_maximum_in_a_corner_is_a_sink():
    """Oracle: by hand: a spike in the corner, far above the rest."""
    spike = 0.1 * LEFT
    spike[0, 0] = spike[1, 1] = spike[0, 1] = spike[1, 0] = 9.0
    assert "sink" in kinds(of(APART | {"circle": spike}))[0]


def test_a_thing_alone_cannot_be_compared():
    """Oracle: by hand: there is no rival."""
    found = of({"circle": LEFT, "red": LEFT}, "a red circle in snow")
    assert kinds(found) == [["cannot say"]]
    assert not found.things[0].missing


def test_an_embedding_that_the_host_left_out_is_named():
    """Oracle: by hand: of two in the prompt one has tokens."""
    recording = drawn(PROMPT, APART)
    (entry,) = recording.entries
    moss = replace(entry.table.tokens[1], kind="embedding", text="moss")
    tokens = (entry.table.tokens[0], moss, *entry.table.tokens[2:])
    table = TokenTable(f"{PROMPT}, embedding:moss.pt embedding:gone", tokens)
    recording = replace(recording, entries=(replace(entry, table=table),))
    found = diagnose(recording, things_of(table, "circle\nstar"), view_of_words(recording))
    assert [(finding.kind, finding.word) for finding in found.others] == [("dropped", "gone")]


def test_a_phrase_over_the_border_of_chunks_is_split():
    """Oracle: by hand: red ends the first chunk, circle begins the second."""
    recording = drawn(PROMPT, APART)
    (entry,) = recording.entries
    tokens = tuple(replace(token, chunk=int(token.column >= 3)) for token in entry.table.tokens)
    assert isinstance(tokens[0], Token)
    table = TokenTable(PROMPT, tokens)
    recording = replace(recording, entries=(Entry("positive", 0, len(tokens), table=table),))
    found = diagnose(recording, things_of(table), view_of_words(recording))
    assert kinds(found) == [["split"], ["fine"]]


def test_the_winning_mass_does_not_depend_on_how_strong_a_word_is():
    """Oracle: an invariant: shares of each map's own mass are compared."""
    maps = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    stronger = maps * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    assert torch.allclose(winning_mass(maps), winning_mass(stronger), atol=1e-6)
    assert torch.allclose(cosines(maps, maps), cosines(maps, stronger), atol=1e-6)
    assert winning_mass(torch.zeros(2, 3, 3)).tolist() == [0, 0]
    assert winning_mass(maps[:1]).tolist() == [1]


def test_the_largest_free_square_lies_nearest_to_the_middle():
    """Oracle: by hand."""
    taken = torch.zeros(4, 8, dtype=torch.bool)
    taken[:, 3:5] = True
    assert free_square(taken, 2).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert int(free_square(taken, 9).sum()) == 9
    assert free_square(torch.ones(3, 3, dtype=torch.bool), 2).nonzero().tolist() == [[1, 1]]


def test_the_repair_holds_what_was_found_and_gives_free_space_to_what_is_missing():
    """Oracle: by hand: the circle's disc is held, the star's square touches none of it."""
    maps = APART | {"star": LEFT * 0.5 + 0.05, "green": LEFT}
    recording = drawn(PROMPT, maps)
    view = view_of_words(recording)
    things = things_of(recording.entries[0].table)
    circle, star = repair(recording, things, (False, True), view)
    assert (circle.words, circle.missing) == ("red circle", False)
    assert (star.words, star.missing) == ("green star", True)
    held = (LEFT > 0.6) & (circle.mask > 0)
    assert held.sum() > 0.8 * (LEFT > 0.6).sum()
    assert not (star.mask.bool() & circle.mask.bool()).any()
    assert star.mask.sum() == 49
    assert repair(recording, things, (False, False), view) == ()


@pytest.mark.parametrize("how", ["place", "lift"])
def test_a_repair_names_its_things_so_that_their_prompt_has_them_and_nothing_else(how):
    """Oracle: the columns of each thing, by hand: an article in between, and a word that stands twice."""
    recording = drawn("half a dozen eggs and star , star", {"eggs": LEFT, "star": LEFT})
    found = examine(recording, repair=how).repair
    table = recording.entries[0].table
    columns = [sorted(c for match in find_words(table, item.words) for c in match.columns) for item in found]
    assert columns == [[1, 3, 4], [6], [8]]


def test_the_report_says_every_verdict_and_the_sheet_has_a_row_for_each_thing():
    """Oracle: the findings themselves; the sheet grows by a row."""
    recording = drawn(PROMPT, APART | {"red": RIGHT})
    view = view_of_words(recording)
    found = diagnose(recording, things_of(recording.entries[0].table), view)
    text = markdown(found, ())
    assert "| red circle | leaking |" in text
    assert "| green star | fine |" in text
    assert "the start token takes 30%" in text
    data = json.loads(report_json(found, ()))
    assert [thing["findings"][0]["kind"] for thing in data["things"]] == ["leaking", "fine"]
    assert data["prompt"] == PROMPT
    one, two = (draw_sheet(recording, replace(found, things=found.things[:count]), view, None) for count in (1, 2))
    assert two.shape[1] > 1.5 * one.shape[1]
    assert two.shape[2] == one.shape[2]


def test_an_examination_repairs_what_is_missing_and_nothing_else():
    """Oracle: by hand: the even star goes into free space, the circle is held; apart, nothing is done."""
    missing = drawn(PROMPT, APART | {"circle": WIDE, "red": WIDE, "star": even(), "green": even()})
    found = examine(missing)
    assert [steering.words for steering in found.repair] == ["red circle", "green star"]
    assert all((steering.strength, steering.outside) == (6.0, -6.0) for steering in found.repair)
    assert "Repair: `green star` into free space; `red circle` held in place." in found.report
    assert found.summary.startswith("fine: `red circle`")
    (lifted,) = examine(missing, repair="lift").repair
    assert (lifted.words, lifted.strength, lifted.place) == ("green star", 2.0, None)
    assert examine(missing, repair="none").repair == examine(drawn(PROMPT, APART)).repair == ()


def test_a_picture_that_is_not_there_and_a_prompt_without_words_are_refused():
    """Oracle: the sentences say what to do."""
    recording = drawn(PROMPT, APART)
    with pytest.raises(InputError, match=r"image_index is 1, but this run has 1 picture \(0\)"):
        examine(recording, image_index=1)
    nameless = replace(recording, entries=(replace(recording.entries[0], table=None),))
    with pytest.raises(WordError, match="Put Trace Words"):
        examine(nameless)
