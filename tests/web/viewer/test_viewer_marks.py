"""What the viewer marks at the words: the doctor's verdicts, and what steering did to their shares."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from pack.devtools.comfyui import ROOT
from pack.scenescope.attention.act.acts import SHARES, Effect
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.attention.record.recording import Recording
from pack.tests.support.drawn import disc, drawn, even
from pack.tests.web.editor import Editor
from pack.tests.web.viewer.test_viewer import HEATMAP, chip, shown

GIVE = "([type, output]) => app.graph.nodes.filter(node => node.type === type).at(-1).onExecuted(output)"
PLACED = Effect("green star", "positive", 0, (6, 7), 6.0, -6.0, (0, 9), (0.05, 0.412), (0.0421, 0.0012))
LIFTED = Effect("red circle", "positive", 0, (2, 3), 2.0, None, (0, 3), (0.11, 0.23))


def run_with_all() -> Recording:
    """Two pictures: in the first the star is beaten everywhere, in the second both things have a place of their own."""
    left, right = disc(8, 6, 5.0), disc(8, 18, 5.0)
    words = {"circle": left, "red": left, "star": even(), "green": even()}
    first, second = (
        drawn("a red circle and a green star", words | more) for more in ({}, {"star": right, "green": right})
    )
    both = [
        replace(one, maps=torch.cat([one.maps, other.maps])) for one, other in zip(first.maps, second.maps, strict=True)
    ]
    (entry,) = first.entries
    table = replace(entry.table, prompt=f"{entry.table.prompt}, embedding:lost_one")
    about = {SHARES: json.dumps([asdict(PLACED), asdict(LIFTED)])}
    return replace(first, maps=tuple(both), images=2, entries=(replace(entry, table=table),), about=about)


@pytest.fixture
def marked(editor: Editor):
    """The viewer of that run."""
    folder = editor.server.place.base / "temp"
    folder.mkdir(exist_ok=True)
    write_view(run_with_all(), folder / "marked.view")
    return lambda: open_marked(editor)


def open_marked(editor: Editor):
    """Token Heatmap's viewer with the run's file, the words as phrases that it was asked for."""
    editor.page.mouse.move(760, 985)
    editor.load("first_heatmap")
    words = [{"label": "red circle", "columns": [2, 3]}, {"label": "green star", "columns": [6, 7]}]
    file = {"filename": "marked.view", "subfolder": "", "type": "temp", "words": words}
    editor.page.evaluate(GIVE, [HEATMAP, {"scenescope_view": [file]}])
    editor.page.wait_for_function("panel => panel.querySelector('.ss-lost')", arg=editor.panel(HEATMAP, "viewer"))
    return shown(editor, HEATMAP)


def signs(panel) -> dict[str, list[str]]:
    """What stands at each word beside its name."""
    found = {}
    for one in panel.query_selector_all(".ss-chip"):
        marks = [
            mark.get_attribute("data-kind") or mark.get_attribute("data-sign")
            for mark in one.query_selector_all("[data-sign]")
        ]
        found |= {one.inner_text().strip(): marks} if marks else {}
    return found


def test_words_carry_their_verdict_and_what_steering_did(marked, editor):
    """Oracle: by hand: the even map is beaten in 24 of 96 cells, and the strengths' shares are those of the file."""
    panel = marked()
    assert signs(panel) == {"red circle": ["0.11→0.23", "fine"], "green star": ["0.050→0.41", "neglected"]}
    told = chip(panel, "green star").get_attribute("title")
    assert "green star is neglected" in told
    assert "It wins 0.75 of its attention; in doubt below 0.82." in told
    assert "by +6 inside its place and −6 outside, in steps 1 to 10" in told
    assert "in the place 0.050→0.41, elsewhere 0.042→0.0012" in told
    assert "Steered: red circle by +2 in steps 1 to 4" in chip(panel, "red circle").get_attribute("title")
    lost = panel.query_selector(".ss-lost")
    assert lost.inner_text() == "lost_one"
    assert "no embedding of this name was found" in lost.get_attribute("title")


def test_a_word_s_marks_stand_at_its_last_token_and_follow_the_picture(marked, editor):
    """Oracle: by hand: as words, a phrase's marks are at its noun; in the second picture the star has a place."""
    panel = marked()
    panel.query_selector(".ss-more").click()
    panel.query_selector('select[aria-label="Words as"]').select_option("words")
    editor.drawn()
    assert signs(panel) == {"circle": ["0.11→0.23", "fine"], "star": ["0.050→0.41", "neglected"]}
    panel.query_selector('select[aria-label="Picture"]').select_option(index=1)
    editor.drawn()
    assert signs(panel) == {"circle": ["0.11→0.23", "fine"], "star": ["0.050→0.41", "fine"]}


def test_who_hears_the_page_is_told_the_verdict(marked, editor):
    """Oracle: the sentence, after the word's largest share."""
    panel = marked()
    chip(panel, "red circle").focus()
    for _ in range(3):
        editor.page.keyboard.press("ArrowRight")
    assert "green star is neglected" in panel.query_selector(".ss-spoken").inner_text()


@pytest.mark.parametrize(("palette", "locale", "told"), [("light", "en", "is neglected"), ("dark", "zh", "被忽略")])
def test_marks_follow_the_editor_s_theme_and_language(marked, editor, palette, locale, told):
    """Oracle: the sentence in that language, and no brace that a value should have filled."""
    with editor.looks(palette, locale):
        panel = marked()
        for word in ("red circle", "green star"):
            title = chip(panel, word).get_attribute("title")
            assert "{" not in title
        assert told in title
        name = f"viewer_marks_{palette}_{locale}_{editor.renderer}.png"
        panel.query_selector(".ss-chips").scroll_into_view_if_needed()
        editor.page.screenshot(path=ROOT / "artifacts" / "web" / name)
