"""What cannot be drawn is said before it is tried: nothing recorded, and sizes that would take minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.choices import choose_resolution
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, RecordingError
from pack.tests.support.recordings import Run, entry, match, record


def test_a_conditioning_of_which_nothing_was_recorded_says_why():
    """Oracle: the reasons that the run counted; without any, that the branch was not chosen."""
    both = record(Run(entries=(entry("a cat"), entry("a dog", "negative"))))
    reasons = {"input 1 cross: another patch changed the batch (rows are 4 and 4)": 32}
    alone = replace(both.where(lambda at: at.branch == "positive"), skipped=reasons)
    with pytest.raises(RecordingError, match=r"nothing was recorded of the negative .*changed the batch.*\(32 times\)"):
        heatmaps(alone, [match("dog", (2,))], View(branch="negative"))
    with pytest.raises(RecordingError, match="It was not chosen, or never evaluated"):
        heatmaps(replace(alone, skipped={}), [match("dog", (2,))], View(branch="negative"))


@pytest.mark.parametrize("size", ["99999x99999", "5000", "2x9999999", "1" * 5000])
def test_a_size_that_would_take_minutes_is_refused_at_once(size):
    """Oracle: the message; the latent's own grid is always allowed, and 1024x1024 too."""
    with pytest.raises(InputError, match="the size is|is not a size"):
        heatmaps(record(), [match("cat", (2,))], View("all", size))
    assert choose_resolution("all", "1024x1024", Grid(64, 64)).grid == (1024, 1024)
    assert choose_resolution("all", "2048x1024", Grid(2048, 1024)).grid == (2048, 1024)
