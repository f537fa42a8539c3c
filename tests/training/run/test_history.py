"""Curves: what is kept of each step, how it is summed up, and that it is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pack.scenescope.errors import FileError
from pack.scenescope.training.run.history import (
    followed,
    load_history,
    no_history,
    recent_ious,
    save_history,
    smoothed,
    summary,
    totals,
)
from pack.scenescope.training.run.history_picture import LINES, draw_curves
from pack.scenescope.training.run.trainer import StepReport
from pack.scenescope.training.settings import lora_settings
from pack.scenescope.training.step.objective import StepResult


def told(step: int, prior: float | None, **ious: float) -> StepReport:
    """A step's report, with maps of the step's number."""
    maps = {handle: torch.full((2, 3), step / 100) for handle in ious}
    measured = StepResult(1.0 * step, 2.0, prior, maps, ious)
    return StepReport(step, 4, 1 if step < 3 else 2, measured, 0.0, lambda: None, {})


def history():
    """Four steps of two concepts; the second is drawn twice."""
    kept = no_history(["a", "b"], (2, 3))
    for report in (told(1, None, a=0.2), told(2, None, b=0.5), told(3, 4.0, a=0.4, b=0.7), told(4, 6.0, a=0.6)):
        kept = followed(kept, report)
    return kept


def test_a_history_holds_each_step():
    """Oracle: by hand."""
    kept = history()
    assert kept.steps.tolist() == [1, 2, 3, 4]
    assert kept.losses[2].tolist() == [3.0, 2.0, 4.0]
    assert kept.ious[:, 1].nan_to_num(-1).tolist() == pytest.approx([-1, 0.5, 0.7, -1])
    assert kept.maps[:, 0, 0].tolist() == pytest.approx([0.04, 0.03])
    assert recent_ious(kept) == pytest.approx({"a": 0.4, "b": 0.6})
    assert totals(kept, lora_settings(attention_weight=0.5, prior_weight=2.0)) == [2.0, 3.0, 12.0, 17.0]


def test_a_run_that_goes_on_replaces_what_came_after_its_state():
    """Oracle: by hand: taken up again at step 2, step 3 is told afresh and the old 3 and 4 are gone."""
    again = followed(history(), told(3, None, a=0.9))
    assert again.steps.tolist() == [1, 2, 3]
    assert again.losses[2, 2].isnan()


def test_a_running_mean_is_over_the_last_finite_values():
    """Oracle: a slow loop."""
    values = torch.tensor([math.nan, 1.0, 2.0, math.nan, 6.0, 3.0, math.nan, 1.0])
    for over in (1, 2, 3):
        slow = []
        for place in range(len(values)):
            known = [value for value in values[: place + 1].tolist() if math.isfinite(value)][-over:]
            slow.append(sum(known) / len(known) if known else math.nan)
        assert torch.allclose(smoothed(values, over), torch.tensor(slow), equal_nan=True)


def test_a_summary_is_short_and_holds_nothing_that_json_cannot():
    """Oracle: by hand: 3 of 4 places, the ends among them; None where there is no number."""
    told_of = summary(history(), points=3)
    assert told_of["steps"] == [1, 3, 4]
    assert told_of["prior"] == [None, 4.0, 5.0]
    assert told_of["ious"]["b"] == [None, 0.6, 0.6]
    assert told_of["raw"]["masked"] == [1.0, 3.0, 4.0]
    assert told_of["raw"]["prior"] == [None, 4.0, 6.0]
    assert told_of["raw"]["ious"]["b"] == [None, 0.7, None]
    assert summary(no_history(["a"], (2, 2)))["iou"] == {"a": None}


def test_a_history_survives_its_file(tmp_path):
    """Oracle: the history itself; a damaged file is refused."""
    kept, path = history(), tmp_path / "curves.safetensors"
    save_history(kept, path)
    back = load_history(path)
    assert back.handles == kept.handles
    for name in ("steps", "losses", "ious", "maps"):
        assert torch.equal(getattr(back, name).nan_to_num(-1), getattr(kept, name).nan_to_num(-1))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FileError, match="curves.safetensors"):
        load_history(path)


def test_the_picture_has_every_curve_and_bears_little_and_many():
    """Oracle: the curves' colours in the picture, none of the prior's where there is no prior."""
    masks = torch.zeros(2, 2, 3)
    inks = [np.array(LINES[index]) for index in range(3)]

    def seen(picture) -> list[bool]:
        pixels = np.asarray(picture)
        return [bool((pixels == ink).all(-1).any()) for ink in inks]

    assert seen(draw_curves(history(), masks, steps=4, phase1_steps=2)) == [True, True, True]
    first = followed(no_history(["a", "b"], (2, 3)), told(1, None, a=0.2))
    assert seen(draw_curves(first, masks, steps=4, phase1_steps=2)) == [True, True, False]
    nothing = no_history([f"<asset{index}>" for index in range(9)], (2, 3))
    assert draw_curves(nothing, torch.zeros(9, 2, 3), steps=1, phase1_steps=0).width == 1072
