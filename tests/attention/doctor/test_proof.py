"""Proof by word drop, on maps drawn by hand."""

from __future__ import annotations

import json

import pytest
import torch
from pack.scenescope.attention.doctor.examine import examine
from pack.scenescope.errors import InputError
from pack.tests.attention.doctor.test_diagnosis import APART, LEFT, PROMPT, RIGHT
from pack.tests.support.drawn import drawn

PICTURE = torch.full((1, 128, 192, 3), 0.5)


def without(where: torch.Tensor) -> torch.Tensor:
    """A picture that is another one where this map (16 24) is above 0.5."""
    return PICTURE + 0.25 * (where > 0.5).float().repeat_interleave(8, 0).repeat_interleave(8, 1)[None, ..., None]


@pytest.mark.parametrize(("change", "shown"), [(LEFT, True), (RIGHT, False)])
def test_a_change_where_the_noun_looked_proves_its_map_and_one_elsewhere_does_not(change, shown):
    """Oracle: by hand: all change lies in the cells that one map puts first, and in none of the other's."""
    found = examine(drawn(PROMPT, APART), picture=PICTURE, without=without(change), dropped="Red Circle")
    ((name, control),) = found.proof.controls
    cells = float((change > 0.5).float().mean())
    assert (name, found.proof.thing) == ("green star", "red circle")
    assert found.proof.shown is shown
    own, other = (found.proof.covers, control) if shown else (control, found.proof.covers)
    assert own == pytest.approx(1 - cells / 2, abs=0.01)
    assert other < 0.5
    assert f"Proof: {found.proof.text}" in found.report
    assert json.loads(found.data)["proof"]["shown"] is shown
    assert found.summary.splitlines()[-1] == f"proof: {found.proof.text}"


def test_the_first_thing_is_meant_where_none_is_named_and_none_is_proved_without_a_picture():
    """Oracle: the prompt's order."""
    assert examine(drawn(PROMPT, APART), picture=PICTURE, without=without(LEFT)).proof.thing == "red circle"
    assert examine(drawn(PROMPT, APART), picture=PICTURE).proof is None


def test_transparency_is_no_part_of_a_proof():
    """Oracle: the proof of the same pictures without it."""
    clear = torch.cat([PICTURE, torch.rand(PICTURE[..., :1].shape)], dim=-1)
    found = examine(drawn(PROMPT, APART), picture=clear, without=without(LEFT)).proof
    assert found == examine(drawn(PROMPT, APART), picture=PICTURE, without=without(LEFT)).proof


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"picture": PICTURE, "without": PICTURE}, "picture and without are the same"),
        ({"picture": PICTURE, "without": PICTURE[:, :64]}, r"picture is \(128, 192\) and without \(64, 192\) pixels"),
        ({"without": PICTURE}, "the proof needs picture 0 with the thing and without it"),
        ({"picture": PICTURE, "without": without(LEFT), "dropped": "dog"}, "one of the things red circle, green star"),
    ],
)
def test_pictures_that_cannot_be_compared_are_refused(more, said):
    """Oracle: the sentences."""
    with pytest.raises(InputError, match=said):
        examine(drawn(PROMPT, APART), **more)


def test_verdicts_with_a_limit_say_that_they_are_guesses():
    """Oracle: by hand: a noun that is beaten everywhere is a guess, a thing with a place of its own is not."""
    found = examine(drawn(PROMPT, APART | {"star": LEFT}))
    assert "**neglected (a guess)**" in found.report
    assert found.summary.startswith("neglected (a guess): ")
    guesses = {f["kind"]: f["guess"] for thing in json.loads(found.data)["things"] for f in thing["findings"]}
    assert guesses["neglected"] is True
    fine = examine(drawn(PROMPT, APART))
    assert "a guess" not in fine.summary
