"""One run recorded, driven by hand on a toy U-Net."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.record.evaluation import reasons_text
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.attention.record.scores import attention_scores
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import BudgetError, InputError, RecordingError, SelectionError
from pack.tests.support.toyrun import EVERYTHING, LATENT, NEGATIVE, POSITIVE, SINGLE, ToyRun


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", ["mean", "each"])
def test_every_map_is_the_softmax_of_its_own_rows(heads: str, dtype: torch.dtype):
    """Oracle: the softmax of what the observers saw, of rows chosen by hand, repeated columns added in a loop."""
    run = ToyRun(replace(EVERYTHING, heads=heads), dtype=dtype)
    recording = run.sample()
    found = {item.address: item for item in recording.maps}
    assert len(found) == 2 * 2 * (5 + 6)
    for index, (layer, query, key, _) in enumerate(run.seen):
        for rows, entry in ((slice(0, 2), NEGATIVE), (slice(2, 4), POSITIVE)):
            truth = attention_scores(query[rows], key[rows], layer.heads)
            if layer.kind == "cross":
                repeats = truth.split(entry.tokens, dim=-1)
                truth = sum(repeats[1:], repeats[0])
            truth = truth.mean(dim=1, keepdim=True) if heads == "mean" else truth
            (made,) = (
                item
                for at, item in found.items()
                if (at.step, at.branch, at.order, at.kind) == (index // 11, entry.branch, layer.order, layer.kind)
            )
            assert torch.allclose(made.maps, truth, atol=1e-6)
            assert made.query_grid == layer.grid(LATENT)
            assert made.key_grid == (None if layer.kind == "cross" else layer.grid(LATENT))


def test_the_plan_is_what_is_held():
    """Oracle: storages counted through torch, so that no view keeps a larger storage alive."""
    run = ToyRun(Selection(kinds=("cross", "self"), heads="each", keep_queries=True))
    recording = run.sample()
    tensors = [item.maps for item in recording.maps]
    tensors += [part for pair in recording.projections.values() for part in (pair.query, pair.key)]
    held = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    assert held == run.recorder.plan.total == run.recorder.bytes_held == recording.bytes_held
    assert all(tensor.dtype == torch.float16 and not tensor.requires_grad for tensor in tensors)


def test_kept_queries_and_keys_give_the_maps_again():
    """Oracle: the recorded maps; repeated keys were taken away."""
    recording = ToyRun(replace(SINGLE, keep_queries=True)).sample()
    assert len(recording.projections) == len(recording.maps)
    for item in recording.maps:
        pair = recording.projections[item.address]
        again = attention_scores(pair.query, pair.key, pair.heads).mean(dim=1, keepdim=True)
        assert torch.allclose(again, item.maps, atol=1e-6)
        assert pair.key.shape[1] == (3 if item.address.branch == "positive" else 6)


@pytest.mark.parametrize("precision", ["half", "single", "int8"])
def test_queries_of_both_kinds_are_kept_in_their_own_type_for_the_first_steps(precision):
    """Oracle: storages counted through torch, and the same queries in single precision within half a unit of a row."""
    chosen = {"keep_queries": True, "keep_self_queries": True, "queries_until": 0.5}
    run = ToyRun(replace(SINGLE, query_precision=precision, **chosen))
    recording, exact = run.sample(), ToyRun(replace(SINGLE, **chosen)).sample()
    held = sum(part.untyped_storage().nbytes() for pair in recording.projections.values() for part in pair.tensors)
    held += sum(item.maps.untyped_storage().nbytes() for item in recording.maps)
    assert held == run.recorder.plan.total == run.recorder.bytes_held == recording.bytes_held
    assert {at.step for at in recording.projections} == {0}
    assert {at.kind for at in recording.projections} == {"cross", "self"}
    assert {item.address.kind for item in recording.maps} == {"cross"}
    for at, pair in recording.projections.items():
        for kept, true in ((pair.queries, exact.projections[at].query), (pair.keys, exact.projections[at].key)):
            limit = true.abs().amax(dim=-1, keepdim=True) * {"half": 2**-11, "single": 0, "int8": 0.51 / 127}[precision]
            assert ((kept - true).abs() <= limit).all()


def test_the_recording_is_sorted_and_describes_the_run():
    """Oracle: by hand."""
    recording = ToyRun(replace(SINGLE, blocks="down")).sample((POSITIVE,), (NEGATIVE,))
    addresses = [item.address for item in recording.maps]
    assert addresses == sorted(addresses)
    assert [layer.block for layer in recording.layers] == ["input 1", "input 3", "input 3.1"]
    assert (recording.latent, recording.images, recording.sigmas) == (LATENT, 2, (2.0, 1.0, 0.0))
    assert recording.entries == (POSITIVE, NEGATIVE)
    assert dict(recording.about) == {"seed": 7}
    assert dict(recording.skipped) == {}


def test_one_branch_alone_is_kept():
    """Oracle: by hand."""
    recording = ToyRun(replace(SINGLE, branches=("negative",))).sample()
    assert {item.address.branch for item in recording.maps} == {"negative"}


@pytest.mark.parametrize(("evaluations", "expected"), [("first", [1, 1, 1]), ("all", [2, 2, 1])])
def test_evaluations_of_a_step_are_told_apart(evaluations: str, expected: list[int]):
    """Oracle: Heun's definition: two evaluations a step, one in the last."""
    selection = replace(SINGLE, evaluations=evaluations, blocks="output 2", branches=("positive",))
    recording = ToyRun(selection, steps=3, asks=2).sample()
    assert [[item.address.step for item in recording.maps].count(step) for step in range(3)] == expected


def test_what_turns_out_to_be_another_step_is_dropped():
    """Oracle: counted: what follows the first callback may be of step 0 or 1, so it is recorded, then dropped."""
    run = ToyRun(replace(SINGLE, steps="1", blocks="input 1"), steps=3, asks=2)
    recording = run.sample()
    assert {item.address.step for item in recording.maps} == {1}
    assert {item.address.evaluation for item in recording.maps} == {0}
    assert len(run.seen) > len(recording.maps) / 2  # two branches share a call
    assert run.recorder.bytes_held == recording.bytes_held


def test_reasons_of_evaluations_nobody_asked_for_are_not_counted():
    """Oracle: by hand; one reason in each of three evaluations, of which one is kept."""
    run = ToyRun(replace(SINGLE, steps="1"), steps=3)
    for step in range(3):
        run.recorder.evaluate(float(3 - step))
        run.call((NEGATIVE, POSITIVE))
        run.recorder.skip("a reason")
        run.recorder.step_done(step)
    assert dict(run.recorder.finish({}).skipped) == {"a reason": 1}


def test_a_sampler_that_never_calls_back_can_still_be_asked_for_one_step():
    """Oracle: the schedule."""
    run = ToyRun(replace(SINGLE, steps="2"), steps=3)
    for sigma in (3.0, 2.0, 1.0):
        run.recorder.evaluate(sigma)
        if run.recorder.wants():
            run.call((NEGATIVE, POSITIVE))
    assert {item.address.step for item in run.recorder.finish({}).maps} == {2}


def test_a_step_that_a_cache_answered_is_counted():
    """Oracle: by hand: the model is not asked in step 1 of 3."""
    run = ToyRun(steps=3)
    for step in range(3):
        if step != 1:
            run.recorder.evaluate(float(3 - step))
            run.call((NEGATIVE, POSITIVE))
        run.recorder.step_done(step)
    recording = run.recorder.finish({})
    assert dict(recording.skipped) == {"a step without a model call (LazyCache or similar)": 1}
    assert {item.address.step for item in recording.maps} == {0, 2}


def test_an_area_entry_is_kept_on_its_own_grid():
    """Oracle: grids by hand: 3x4 cells of a 5x7 latent, halved 2x2; self-attention is kept at half the area."""
    area = Entry("positive", 1, 3, area=(3, 4, 1, 2))
    run = ToyRun(replace(EVERYTHING, self_times=2), planned=(POSITIVE, NEGATIVE, area))
    recording = run.sample((NEGATIVE, POSITIVE), (area,))
    grids = {(item.address.block, item.address.kind): item for item in recording.maps if item.address.entry == 1}
    assert grids["input 1", "cross"].query_grid == (3, 4)
    assert grids["input 3", "cross"].query_grid == (2, 2)
    assert grids["input 1", "self"].query_grid == grids["input 1", "self"].key_grid == (2, 2)
    assert run.recorder.plan.total == recording.bytes_held


def test_a_region_looks_from_its_part_of_an_area():
    """Oracle: the recorded whole map's own row, chosen by hand: cell (2, 3) of the picture is (1, 1) of the area."""
    area = Entry("positive", 0, 3, area=(3, 4, 1, 2))
    region = torch.zeros(5, 7)
    region[2, 3] = 1
    whole = ToyRun(EVERYTHING, planned=(area,)).sample((area,))
    part = ToyRun(replace(EVERYTHING, kinds=("self",), self_region=region), planned=(area,)).sample((area,))
    full = {item.address: item.maps for item in whole.maps}
    for item in part.maps:
        assert item.query_grid == (1, 1)
        if item.key_grid == (3, 4):
            assert torch.allclose(item.maps[:, :, 0], full[item.address][:, :, 1 * 4 + 1], atol=1e-6)


def test_a_region_outside_an_entrys_area_is_counted_and_the_others_are_kept():
    """Oracle: by hand; the region is the last row, the area ends above it."""
    area = Entry("positive", 1, 3, area=(2, 7, 0, 0))
    region = torch.zeros(5, 7)
    region[4] = 1
    selection = replace(EVERYTHING, kinds=("self",), blocks="input 1", self_region=region)
    recording = ToyRun(selection, planned=(POSITIVE, NEGATIVE, area)).sample((NEGATIVE, POSITIVE), (area,))
    assert dict(recording.skipped) == {"input 1 self: the region lies outside the area of positive entry 1": 2}
    assert {item.address.entry for item in recording.maps} == {0}


def test_an_empty_region_is_refused_before_anything_is_sampled():
    """Oracle: the message."""
    with pytest.raises(InputError, match="the mask is empty. Paint white"):
        ToyRun(replace(EVERYTHING, self_region=torch.zeros(40, 56)))


@pytest.mark.parametrize("rows", [3, 8])
def test_a_batch_that_another_patch_changed_is_counted(rows: int):
    """Oracle: the reason; eight rows could be mistaken for four pictures, three for one and a half."""
    run = ToyRun(replace(SINGLE, blocks="input 1"))
    run.recorder.evaluate(2.0)
    run.call((NEGATIVE, POSITIVE), rows=rows)
    with pytest.raises(
        RecordingError, match=rf"another patch changed the batch \(rows are {rows} and {rows}\) \(1 times"
    ):
        run.recorder.finish({})


@pytest.mark.parametrize("keys", [8, 12])
def test_keys_that_another_patch_added_are_counted(keys: int):
    """Oracle: the reason; twelve keys are a multiple of both prompts, and yet not what the host makes of 3 and 6."""
    run = ToyRun(replace(SINGLE, blocks="input 1"))
    run.recorder.evaluate(2.0)
    run.call((NEGATIVE, POSITIVE), keys=keys)
    with pytest.raises(RecordingError, match=f"input 1 cross: another patch gave {keys} keys instead of 6"):
        run.recorder.finish({})


@pytest.mark.parametrize("kind", ["cross", "self"])
def test_queries_that_another_patch_merged_are_counted(kind: str):
    """Oracle: the reason; 20 rows of a 5x7 grid have no place on it (token merging)."""
    run = ToyRun(EVERYTHING)
    (layer,) = (item.layer for item in run.found if (item.layer.block, item.layer.kind) == ("input 1", kind))
    run.recorder.evaluate(2.0)
    run.recorder.observe(
        layer, torch.zeros(2, 20, 8), torch.zeros(2, 3 if kind == "cross" else 35, 8), LATENT, [POSITIVE]
    )
    with pytest.raises(RecordingError, match=f"input 1 {kind}: another patch gave 20 queries for a grid of 5x7"):
        run.recorder.finish({})


def test_self_attention_over_foreign_keys_is_counted():
    """Oracle: the reason; twice the keys of a 5x7 grid (a reference picture's)."""
    run = ToyRun(EVERYTHING)
    (layer,) = (item.layer for item in run.found if (item.layer.block, item.layer.kind) == ("input 1", "self"))
    run.recorder.evaluate(2.0)
    run.recorder.observe(layer, torch.zeros(2, 35, 8), torch.zeros(2, 70, 8), LATENT, [POSITIVE])
    with pytest.raises(RecordingError, match="input 1 self: another patch gave 70 keys instead of 35"):
        run.recorder.finish({})


def test_a_layer_called_twice_for_one_entry_keeps_its_first_map():
    """Oracle: by hand; an address names one map."""
    run = ToyRun(replace(SINGLE, blocks="input 1"), steps=1)
    run.recorder.evaluate(1.0)
    run.call((NEGATIVE, POSITIVE))
    run.call((POSITIVE,))
    recording = run.recorder.finish({})
    assert dict(recording.skipped) == {"input 1 cross: the layer was called again in the same evaluation": 1}
    assert len(recording.maps) == len({item.address for item in recording.maps}) == 2


def test_an_entry_that_was_not_planned_is_recorded_with_its_words():
    """Oracle: by hand; a patch turned guidance on in the middle of the run."""
    recording = ToyRun(EVERYTHING, planned=(POSITIVE,)).sample()
    assert recording.entries == (POSITIVE, NEGATIVE)
    assert {item.address.branch for item in recording.maps} == {"positive", "negative"}


def test_a_run_that_outgrows_its_budget_stops_keeping_and_says_so():
    """Oracle: bytes by hand: three evaluations a step where the plan assumed two; at most a step above the budget."""
    selection = replace(SINGLE, evaluations="all", blocks="input 1", budget=10**6)
    fits = ToyRun(selection, steps=4).recorder.plan
    run = ToyRun(replace(selection, budget=fits.total), steps=4, asks=4)
    recording = run.sample()
    assert fits.total < recording.bytes_held <= fits.total + 2 * fits.per_step
    assert set(recording.skipped) == {"input 1 cross: the memory budget was reached"}


def test_a_selection_that_does_not_fit_or_does_not_exist_is_refused_at_once():
    """Oracle: the errors' kinds."""
    with pytest.raises(BudgetError):
        ToyRun(replace(SINGLE, budget=100))
    with pytest.raises(SelectionError):
        ToyRun(replace(SINGLE, blocks="output 11"))
    with pytest.raises(SelectionError):
        ToyRun(replace(SINGLE, steps="7"))


def test_an_empty_run_says_that_the_steps_were_never_evaluated():
    """Oracle: the message."""
    run = ToyRun(replace(SINGLE, steps="1"))
    run.recorder.evaluate(2.0)
    run.recorder.step_done(0)
    with pytest.raises(RecordingError, match="nothing was recorded. The chosen steps or branches were never"):
        run.recorder.finish({})


def test_kept_maps_do_not_change_when_the_model_reuses_its_memory():
    """Oracle: a copy of the maps, compared after the queries and keys were overwritten."""
    run = ToyRun(replace(SINGLE, keep_queries=True), steps=1)
    (layer,) = (item.layer for item in run.found if (item.layer.block, item.layer.kind) == ("input 1", "cross"))
    query, key = torch.randn(2, 35, 8), torch.randn(2, 3, 8)
    run.recorder.evaluate(1.0)
    run.recorder.observe(layer, query, key, LATENT, [POSITIVE])
    expected = attention_scores(query, key, 2).mean(dim=1, keepdim=True), query.clone(), key.clone()
    query.zero_()
    key.zero_()
    recording = run.recorder.finish({})
    pair = recording.projections[recording.maps[0].address]
    for kept, true in zip((recording.maps[0].maps, pair.query, pair.key), expected, strict=True):
        assert torch.allclose(kept, true, atol=1e-6)


def test_reasons_are_written_with_their_counts():
    """Oracle: by hand."""
    assert reasons_text({"one": 1, "two": 2}) == "one (1 times); two (2 times)"
    assert reasons_text({}) == ""
