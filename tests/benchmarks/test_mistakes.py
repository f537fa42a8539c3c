"""Mistakes for the rehearsal: each can still be planted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pack.benchmarks.lab.mistakes import MISTAKES, Mistake

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_can_be_planted(mistake: Mistake):
    """Oracle: the files: the text to change stands in its file once, the new one is Python, and its tests are there."""
    text = (ROOT / mistake.file).read_text("utf-8")
    assert text.count(mistake.old) == 1
    compile(text.replace(mistake.old, mistake.new), mistake.file, "exec")
    assert (ROOT / "tests" / "rehearsal" / mistake.tests[0]).is_file()
