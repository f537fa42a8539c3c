"""The benchmarks of acting, on as little as they can run with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pack.benchmarks.acting.cases import table
from pack.benchmarks.causal import ALL, CONTROL, measure
from pack.benchmarks.replay import edit_of
from pack.demo.measure import layouts
from pack.demo.studio import Studio
from pack.host.demo import load_demo_model
from pack.host.recording.sampling import SamplerSettings
from pack.scenescope.attention.doctor.proof import covered


@pytest.fixture(scope="module")
def parts():
    """The demo model."""
    return load_demo_model()


def test_an_order_that_finds_all_change_first_covers_most():
    """Oracle: by hand: one cell of four changes; met first the area is 7/8, met last 1/8, even change gives a half."""
    change = torch.tensor([0.0, 3.0, 0.0, 0.0])
    assert covered(change, torch.tensor([1, 0, 2, 3])) == pytest.approx(7 / 8)
    assert covered(change, torch.tensor([0, 2, 3, 1])) == pytest.approx(1 / 8)
    assert covered(torch.ones(4), torch.tensor([3, 1, 2, 0])) == pytest.approx(1 / 2)


def test_the_table_has_a_row_for_each_block_all_of_them_and_the_control(parts):
    """Oracle: the model's sixteen blocks; every figure is a share."""
    studio = Studio(parts, 0, SamplerSettings(0, 2, 2.0, "euler", "normal"))
    rows = dict(measure(studio, "a photo of a red circle and a green star at night", 0, quick=True))
    assert len(rows) == 18
    assert {ALL, CONTROL, "middle 0"} <= set(rows)
    assert all(0 <= value <= 1 for row in rows.values() for value in row.values())
    arms = {name: {figure: [value] for figure, value in row.items()} for name, row in rows.items()}
    assert table(arms).count("\n") == 19


@pytest.mark.parametrize("kind", ["colour", "shape", "texture", "background"])
def test_an_edit_changes_one_word_of_the_prompt(kind):
    """Oracle: the layouts compared word by word: one taken, one given, or one of the two."""
    layout = layouts(1, 1, 2)[0]
    changed = edit_of(kind, layout, np.random.default_rng(0)).layout
    before = [*layout.things[0].words(), *layout.things[1].words(), layout.background]
    after = [*changed.things[0].words(), *changed.things[1].words(), changed.background]
    assert len(set(before) ^ set(after)) in (1, 2)
