"""Bytes before anything is sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.attention.record.budget import RunSpec, check_budget, plan_run, self_grid
from pack.scenescope.attention.record.layers import AttentionLayer
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid, bytes_text
from pack.scenescope.errors import BudgetError, SelectionError

LAYERS = (
    AttentionLayer(0, "input 1", "down", "cross", 0, 2, 4),
    AttentionLayer(0, "input 1", "down", "self", 0, 2, 4),
    AttentionLayer(1, "input 4", "down", "cross", 1, 2, 8),
    AttentionLayer(1, "input 4", "down", "self", 1, 2, 8),
    AttentionLayer(2, "middle 0", "middle", "cross", 3, 2, 8),
)
RUN = RunSpec(LAYERS, Grid(5, 7), 3, (4.0, 3.0, 2.0, 1.0, 0.0), (Entry("positive", 0, 77), Entry("negative", 0, 154)))
BOTH = Selection(kinds=("cross", "self"))
# A 5x7 latent: 35 queries at its own grid, 3x4 = 12 halved once, 1x1 halved three times.
CROSS_NUMBERS = (35 + 12 + 1) * (77 + 154)


def test_cross_attention_is_counted_map_by_map():
    """Oracle: by hand: queries x tokens x three pictures x two bytes x four steps."""
    plan = plan_run(RUN, Selection())
    assert plan.per_step == CROSS_NUMBERS * 3 * 2
    assert plan.total == plan.per_step * 4
    assert plan.steps == RUN.steps == 4
    assert dict(plan.parts) == {"cross": plan.per_step, "self": 0, "queries": 0}


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"heads": "each"}, 2 * CROSS_NUMBERS),
        ({"branches": ("positive",)}, (35 + 12 + 1) * 77),
        ({"blocks": "input 4"}, 12 * (77 + 154)),
        ({"evaluations": "all"}, 2 * CROSS_NUMBERS),
        ({"precision": torch.float32}, 2 * CROSS_NUMBERS),
        ({"kinds": ("self",)}, 2 * (12 * 12 + 12 * 12)),
        ({"kinds": ("self",), "self_times": 1}, 2 * (35 * 35 + 12 * 12)),
        ({"kinds": ("self",), "self_region": torch.ones(8, 8)}, 2 * (12 + 12)),
        ({"kinds": ("self",), "keep_queries": True}, 2 * (12 * 12 + 12 * 12)),
        (
            {"keep_queries": True},
            CROSS_NUMBERS + 8 * (35 + 77 + 35 + 154) + 16 * (12 + 77 + 12 + 154 + 1 + 77 + 1 + 154),
        ),
    ],
)
def test_every_choice_changes_the_bytes_as_it_should(changes: dict, numbers: int):
    """Oracle: numbers of one step and one picture by hand, in units of two bytes."""
    assert plan_run(RUN, replace(Selection(), **changes)).per_step == numbers * 3 * 2


CELLS = (35, 12)  # the two layers that keep queries: 5x7 cells of 8 channels, 3x4 of 16


@pytest.mark.parametrize(
    ("changes", "query_bytes"),
    [
        ({"keep_queries": True, "query_precision": "single"}, 4 * (8 * (35 + 77) + 16 * (12 + 77 + 1 + 77))),
        ({"keep_queries": True, "query_precision": "int8"}, 8 * 112 + 16 * 167 + 4 * (112 + 167)),
        ({"keep_self_queries": True}, 2 * (8 * 2 * 35 + 16 * 2 * 12)),
    ],
)
def test_queries_are_planned_in_their_own_type_and_steps(changes: dict, query_bytes: int):
    """Oracle: bytes of one step and picture by hand; 0.4 of 10 steps are 4."""
    run = replace(RUN, sigmas=tuple(range(10, -1, -1)), entries=(Entry("positive", 0, 77),))
    without, with_queries = plan_run(run, Selection()), plan_run(run, replace(Selection(), **changes))
    assert with_queries.total - without.total == 3 * query_bytes * 10
    part = plan_run(run, replace(Selection(), queries_until=0.4, **changes))
    assert part.total - without.total == 3 * query_bytes * 4
    assert "queries" in str(part)
    assert "in the first 4)" in str(part)


def test_an_area_entry_is_as_small_as_its_area():
    """Oracle: by hand: 2x4 cells, halved 1x2, then 1x1."""
    run = replace(RUN, entries=(Entry("positive", 0, 77, (2, 4, 1, 3)),))
    assert plan_run(run, Selection()).per_step == (8 + 2 + 1) * 77 * 3 * 2
    assert plan_run(run, Selection(kinds=("self",))).per_step == (2 * 2 + 2 * 2) * 3 * 2


def test_a_run_of_one_step():
    """Oracle: by hand."""
    assert plan_run(replace(RUN, sigmas=(1.0, 0.0)), Selection()).total == CROSS_NUMBERS * 3 * 2


@given(
    times=st.sampled_from([1, 2, 4, 8]), level=st.integers(0, 3), height=st.integers(1, 80), width=st.integers(1, 80)
)
def test_self_attention_is_never_kept_finer_than_the_layer(times: int, level: int, height: int, width: int):
    """Oracle: an invariant, for each axis by itself."""
    latent = Grid(height, width)
    own, kept = latent.coarser(2**level), self_grid(latent.coarser(2**level), latent, Selection(self_times=times))
    assert kept == latent.coarser(max(times, 2**level))
    assert kept.height <= own.height
    assert kept.width <= own.width


def test_a_plan_that_fits_is_returned_and_says_what_it_takes():
    """Oracle: the bytes by hand, as people read them."""
    plan = check_budget(RUN, Selection(steps="0, 2"))
    assert str(plan) == "133.1 kB for 2 steps (66.5 kB a step: cross 66.5 kB)"


SELECTIONS = st.builds(
    Selection,
    kinds=st.sampled_from([("cross",), ("self",), ("cross", "self")]),
    heads=st.sampled_from(["mean", "each"]),
    steps=st.sampled_from(["all", "every 2", "last"]),
    branches=st.sampled_from([("positive", "negative"), ("negative",)]),
    evaluations=st.sampled_from(["first", "all"]),
    precision=st.sampled_from([torch.float16, torch.float32]),
    self_times=st.sampled_from([1, 2, 4]),
    keep_queries=st.booleans(),
    keep_self_queries=st.booleans(),
    query_precision=st.sampled_from(["maps", "single", "int8"]),
    queries_until=st.sampled_from([0.0, 0.4, 1.0]),
    budget=st.integers(1, 10**6),
)
FROM_WIDGETS = {
    "keep_queries": lambda text: ("keep_queries", {"off": False}[text]),
    "keep_self_queries": lambda text: ("keep_self_queries", {"off": False}[text]),
    "queries_as": lambda text: ("query_precision", {"int8": "int8"}[text]),
    "queries_until": lambda text: ("queries_until", float(text)),
    "evaluations": lambda text: ("evaluations", text),
    "precision": lambda text: ("precision", {"half": torch.float16}[text]),
    "heads": lambda text: ("heads", text),
    "self_resolution": lambda text: ("self_times", int(text.removeprefix("latent / "))),
    "branch": lambda text: ("branches", (text,)),
    "blocks": lambda text: ("blocks", text),
    "record_steps": lambda text: ("steps", text),
}


@given(SELECTIONS)
def test_the_advice_of_a_refusal_fits_the_budget(selection: Selection):
    """Oracle: the error's own words, followed to the letter as the nodes' widgets name them."""
    try:
        plan = check_budget(RUN, selection)
    except BudgetError as error:
        text = str(error)
    else:
        assert plan.total <= selection.budget
        return
    if "Even the last step alone needs more" in text:
        return
    advice, promised = text.split(". Choose ")[1].removesuffix(", or raise the budget.").split(", which needs ")
    for words in advice.split(" and "):
        widget, value = words.split(" ", 1)
        name, meant = FROM_WIDGETS[widget](value.strip("`"))
        selection = replace(selection, **{name: meant})
    assert bytes_text(check_budget(RUN, selection).total) == promised


def test_a_budget_that_holds_nothing_says_so():
    """Oracle: the message."""
    with pytest.raises(
        BudgetError, match=r"needs .* more than the budget of 10 B\. Even the last step alone needs more"
    ):
        check_budget(RUN, Selection(budget=10))


def test_the_first_advice_keeps_the_most():
    """Oracle: by hand: averaging the heads is enough, so nothing else is given up."""
    whole = plan_run(RUN, Selection(heads="each")).total
    with pytest.raises(BudgetError, match="Choose heads `mean`, which needs 266.1 kB, or raise the budget"):
        check_budget(RUN, Selection(heads="each", budget=whole - 1))


def test_a_wrong_block_or_step_is_refused_by_the_plan():
    """Oracle: the error's kind."""
    with pytest.raises(SelectionError):
        plan_run(RUN, Selection(blocks="output 99"))
    with pytest.raises(SelectionError):
        plan_run(RUN, Selection(steps="9"))
