"""The things that a prompt names."""

from __future__ import annotations

import pytest
from pack.scenescope.attention.doctor.things import things_of
from pack.scenescope.errors import WordError
from pack.tests.support.recordings import table


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("a photo of a red circle and a striped green star in the snow", ["red circle", "striped green star"]),
        ("an old dog , two cats with hats", ["old dog", "cats", "hats"]),
        ("a cat on a mat , a red hat", ["cat", "red hat"]),
        ("a bottle of wine", ["bottle", "wine"]),
        ("cat", ["cat"]),
        ("a woman wearing a red hat , holding a dog", ["woman", "red hat", "dog"]),
        ("a cat sitting on a chair , a smiling dog running", ["cat", "smiling dog"]),
        ("masterpiece , best quality , 1 girl , blue t - shirt , oil painting", ["girl", "blue t shirt"]),
        ("close - up of a cat in front of a house", ["cat"]),
        ("a painting", ["painting"]),
        ("a girl dressed up , a dog", ["girl dressed up", "dog"]),
    ],
)
def test_things_are_runs_of_words_with_the_noun_last(prompt: str, things: list[str]):
    """Oracle: by hand: settings, articles, `a photo of`, what things are doing, and style are left out."""
    found = things_of(table(prompt))
    assert [thing.text for thing in found] == things
    assert [thing.noun.text for thing in found] == [text.split()[-1] for text in things]


def test_typed_things_are_taken_as_they_are_in_every_place():
    """Oracle: columns by hand: the second cat is the sixth column."""
    found = things_of(table("a cat and a red cat in snow"), "red cat\n\nsnow, cat#1")
    assert [(thing.text, thing.columns) for thing in found] == [("red cat", (5, 6)), ("snow", (8,)), ("cat", (2,))]


def test_a_noun_that_is_typed_twice_is_one_thing_with_the_most_of_its_words():
    """Oracle: by hand: of two cats the second is red."""
    found = things_of(table("a cat and a red cat"), "cat\nred cat")
    assert [(thing.text, thing.columns) for thing in found] == [("cat", (2,)), ("red cat", (5, 6))]


@pytest.mark.parametrize(("prompt", "typed"), [("in the snow", ""), ("a cat", "dog"), ("a cat", "<start>")])
def test_what_is_no_thing_is_refused(prompt: str, typed: str):
    """Oracle: the kind of error; the message says what to type."""
    with pytest.raises(WordError, match="Type|Ask|Remove"):
        things_of(table(prompt), typed)
