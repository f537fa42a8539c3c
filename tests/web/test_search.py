"""The node search, by the words that people bring along."""

from __future__ import annotations

import pytest
from pack.tests.web.editor import Editor
from pack.tests.web.examples.test_blueprints import EMPTY, put

MEANT = {
    "daam": "Sample and Record",
    "heatmap": "Token Heatmap",
    "break": "Train Concepts",
    "attention map": "Attention Maps",
}


@pytest.mark.parametrize("typed", MEANT)
def test_the_first_node_that_a_search_finds_is_the_one_that_is_meant(editor: Editor, typed: str):
    """Oracle: by hand: what the tool of that name, the word or the paper is about."""
    editor.load(EMPTY)
    editor.page.keyboard.press("Escape")  # the search of a test before, if that failed
    put(editor, MEANT[typed], typed)
    assert editor.page.evaluate("() => app.graph.nodes.map(node => node.title)") == [MEANT[typed]]
