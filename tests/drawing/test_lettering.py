"""Letters: they are there in any script, and lines fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.drawing.lettering import FONTS, fitting, folded, font, lacking
from PIL import ImageFont

WORDS = st.lists(st.sampled_from(["a", "photo", "<asset0>", "(cat:1.2)", "雪地里", "的", "猫"]), max_size=12)


@settings(deadline=None)
@given(WORDS, st.sampled_from(["", " "]), st.integers(70, 300))
def test_folding_loses_no_letter_and_no_line_is_too_wide(words, between, width):
    """Oracle: invariants. Letter for letter the lines are the text, and each fits."""
    text = between.join(words)
    lines = folded(text, width, 13)
    if not any("..." in line for line in lines):  # without spaces a word may be wider than a line
        assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(font(13, line).getlength(line) <= width for line in lines)


@settings(deadline=None)
@given(st.text("aWi.雪é ", max_size=40), st.integers(0, 120))
def test_a_text_is_cut_at_its_last_letter_that_fits(text, width):
    """Oracle: the slow rule: letters are taken away one by one until the rest fits."""
    text = " ".join(text.split())
    face, slow = font(13, text), text
    if face.getlength(text) > width:
        while slow and face.getlength(slow + "...") > width:
            slow = slow[:-1]
        slow += "..."
    assert fitting(text, width, 13) == slow


def test_a_text_of_twenty_thousand_letters_is_not_measured_again_and_again(monkeypatch):
    """Oracle: counted: the letters that are measured, once the whole text and a little more."""
    measured = []
    whole = ImageFont.FreeTypeFont.getlength

    def counting(self, text, *more, **named):
        measured.append(len(text))
        return whole(self, text, *more, **named)

    monkeypatch.setattr(ImageFont.FreeTypeFont, "getlength", counting)
    assert fitting("x" * 20_000, 200, 13).endswith("x...")
    assert sum(measured) < 21_000


def test_the_last_line_says_that_there_would_be_more():
    """Oracle: the rule by hand: as many lines as there may be, the last one cut."""
    text = "a photo of <asset0> and <asset1> at the beach"
    assert folded(text, 120, 13, 2)[-1].endswith("...")
    assert len(folded(text, 120, 13, 2)) == 2
    assert not folded(text, 120, 13, 9)[-1].endswith("...")


def test_a_chinese_text_breaks_between_its_letters():
    """Oracle: a sentence without a space is longer than a line, and nothing of it is lost."""
    text = "一张照片雪地里旁边是一只蓝色的猫"
    lines = folded(text, 100, 13)
    assert len(lines) > 1
    assert "".join(lines) == text


@pytest.mark.parametrize("letters", ["猫雪", "äö", "жя", "éñ"])
def test_letters_are_drawn_and_not_boxes_where_a_font_has_them(letters):
    """Oracle: a typeface that lacks letters draws the same box for each of them; the fonts, opened one by one."""
    pictures = {bytes(font(24, letters).getmask(letter)) for letter in letters}
    assert len(pictures) == (2 if any(has(name, letters) for name in FONTS) else 1)


def has(name: str, letters: str) -> bool:
    """Whether a font is installed and has letters, by the table in its file that Pillow draws from."""
    try:
        face = ImageFont.truetype(name, 24)
    except OSError:
        return False
    return len({bytes(face.getmask(letter)) for letter in (*letters, "\U0010fffe")}) == 1 + len(letters)


def test_plain_letters_look_the_same_on_every_machine():
    """Oracle: Pillow's own typeface is taken for them, whatever else is installed."""
    assert font(13, "a cat (1.2) <asset0>").getname() == font(13).getname()


def test_a_text_of_several_scripts_gets_the_font_that_lacks_the_fewest_letters():
    """Oracle: no installed font, opened by itself, lacks fewer."""
    text = "Mäuse und 猫猫 ж"
    own = [ImageFont.load_default(13), *(ImageFont.truetype(name, 13) for name in FONTS if has(name, "a"))]
    assert lacking(font(13, text), text) == min(lacking(face, text) for face in own)
