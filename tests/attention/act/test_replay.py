"""An earlier run's queries and keys, played in a new one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.act.acts import ModelCall
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.act.tape import nearest_steps
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.scores import attention_scores
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, InputError, RecordingError, SceneScopeError, WordError
from pack.tests.support.recordings import HEAD_WIDTH, Run, entry, layers, record

KEEP = Selection(keep_queries=True, precision=torch.float32)
LATENT, IMAGES, HEADS = Grid(16, 24), 2, 2
WIDTH = HEADS * HEAD_WIDTH
LAYER = layers()[3]
GRID = LAYER.grid(LATENT)
OLD, NEW, EMPTY = entry("a red cat"), entry("a red striped cat"), entry("", branch="negative")
# a red striped cat: start, a, red, (striped), cat, end, padding
SOURCES = [0, 1, 2, None, 3, 4, 5]


def taped(**changes):
    """Five steps of `a red cat`."""
    return record(replace(Run(steps=5, selection=KEEP, entries=(OLD,)), **changes))


def run_of(recording, *entries, sigmas=None, images=IMAGES) -> RunSpec:
    """A run with these entries, of the same size and schedule."""
    return RunSpec(recording.layers, recording.latent, images, sigmas or recording.sigmas, entries or (NEW, EMPTY))


def call_of(*entries, step: int = 0, **more) -> ModelCall:
    """A call for these entries."""
    return ModelCall(entries or (EMPTY, NEW), IMAGES, LATENT, step, **more)


def projected(call: ModelCall, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer itself computed: queries and keys."""
    noise, rows = torch.Generator().manual_seed(9), IMAGES * len(call.entries)
    return (torch.randn(rows, size, WIDTH, generator=noise) for size in (GRID.cells, columns))


def test_queries_and_the_keys_of_known_words_are_the_earlier_runs_the_rest_is_the_layers_own():
    """Oracle: written out row by row: negative first, then the positive with its columns from a table by hand."""
    recording = taped()
    act = Replay(recording).begin(run_of(recording))
    call = call_of(step=1)
    write = act.write(LAYER, call)
    query, key = projected(call, len(NEW.table.tokens))
    (kept,) = (p for at, p in recording.projections.items() if (at.order, at.step) == (LAYER.order, 1))
    expected_query, expected_key = query.clone(), key.clone()
    expected_query[IMAGES:] = kept.query
    for column, source in enumerate(SOURCES):
        if source is not None:
            expected_key[IMAGES:, column] = kept.key[:, source]
    assert torch.equal(write.query(query, GRID), expected_query)
    assert torch.equal(write.key(key, GRID), expected_key)


def test_replayed_maps_of_equal_prompts_are_the_recorded_ones():
    """Oracle: the recording's own maps, the same bits."""
    recording = taped()
    act, call = Replay(recording).begin(run_of(recording, OLD, EMPTY)), call_of(OLD)
    write = act.write(LAYER, call)
    query, key = projected(call, OLD.tokens)
    maps = attention_scores(write.query(query, GRID), write.key(key, GRID), HEADS).mean(dim=1, keepdim=True)
    assert torch.equal(maps, next(m.maps for m in recording.maps if m.address.order == LAYER.order))


def test_a_prompt_that_the_host_repeats_is_played_in_each_repeat():
    """Oracle: the keys of the short prompt played alone, twice."""
    recording = taped()
    act, alone, together = Replay(recording).begin(run_of(recording)), call_of(NEW), call_of(NEW)
    _, key = projected(alone, NEW.tokens)
    once = act.write(LAYER, alone).key(key, GRID)
    twice = act.write(LAYER, together).key(key.repeat(1, 2, 1), GRID)
    assert torch.equal(twice, once.repeat(1, 2, 1))


def test_past_its_share_of_the_steps_and_in_further_passes_nothing_is_played():
    """Oracle: by hand: 0.4 of 5 steps are 2."""
    recording = taped()
    act = Replay(recording).begin(run_of(recording))
    assert [act.write(LAYER, call_of(step=step)) is not None for step in range(5)] == [True, True, False, False, False]
    assert act.write(LAYER, call_of(first_pass=False)) is None
    assert act.write(LAYER, call_of(EMPTY)) is None
    assert act.finish({"a reason": 2}) == (
        "Replayed cross-attention in 2 of 5 steps.\nadded: striped\nnot replayed: a reason (2 times)"
    )


@pytest.mark.parametrize("playing", [Playing(cross=0), Playing(strength=0), Playing(cross=0, self_attention=0)])
def test_no_share_or_no_strength_sets_no_hook(playing):
    """Oracle: an invariant: what sets no hook changes nothing."""
    recording = taped()
    act = Replay(recording, playing).begin(run_of(recording))
    assert all(act.write(layer, call_of(step=step)) is None for layer in recording.layers for step in range(5))
    assert act.finish({}).startswith("Nothing was replayed.")


def test_blocks_choose_the_layers_that_are_played():
    """Oracle: the layers' own places."""
    recording = taped()
    act = Replay(recording, Playing(blocks="up")).begin(run_of(recording))
    played = {layer.place for layer in recording.layers if act.write(layer, call_of()) is not None}
    assert played == {"up"}


def test_half_the_strength_is_half_way():
    """Oracle: the mean of own and earlier."""
    recording, call = taped(), call_of(NEW)
    query, _ = projected(call, NEW.tokens)
    full, half = (
        Replay(recording, Playing(strength=s)).begin(run_of(recording)).write(LAYER, call).query(query, GRID)
        for s in (1.0, 0.5)
    )
    assert torch.allclose(half, (query + full) / 2, atol=1e-6)


def test_swaps_and_chosen_words_have_to_be_in_one_of_the_replayed_prompts_only():
    """Oracle: by hand: the negative prompt has neither, so it is played as it is, or without its keys."""
    recording = record(Run(steps=5, selection=KEEP, entries=(OLD, EMPTY)))
    both = Playing(cross=1, branches=("positive", "negative"))
    swapped = Replay(recording, replace(both, swaps="red > striped")).begin(run_of(recording))
    assert swapped.finish({}).count("negative 0: every word stands where it stood") == 1
    act = Replay(recording, replace(both, words="cat")).begin(run_of(recording))
    for prompt, columns in ((NEW, [4]), (EMPTY, [])):
        call = call_of(prompt)
        _, key = projected(call, prompt.tokens)
        changed = (act.write(LAYER, call).key(key, GRID) != key).any(dim=-1)  # (image column)
        assert changed.any(dim=0).nonzero().flatten().tolist() == columns
    for playing in (replace(both, swaps="dog > striped"), replace(both, words="dog")):
        assert "'dog' is not in the prompt" in refusal(recording, run_of(recording), playing)


def test_chosen_words_alone_have_earlier_keys():
    """Oracle: columns by hand: cat is the new prompt's column 4 and the earlier one's 3."""
    recording, call = taped(), call_of(NEW)
    act = Replay(recording, Playing(words="cat")).begin(run_of(recording))
    _, key = projected(call, NEW.tokens)
    written = act.write(LAYER, call).key(key, GRID)
    changed = (written != key).any(dim=-1).any(dim=0)
    assert changed.nonzero().flatten().tolist() == [4]


def test_a_free_region_is_let_go_and_its_surroundings_are_held_to_the_end_of_the_tape():
    """Oracle: cells by hand: the left half of the picture is free."""
    free = torch.zeros(LATENT)
    free[:, :12] = 1
    recording = taped()
    act = Replay(recording, Playing(free=free)).begin(run_of(recording))
    for step, expected in ((0, True), (4, False)):
        call = call_of(NEW, step=step)
        query, _ = projected(call, NEW.tokens)
        played = (act.write(LAYER, call).query(query, GRID) != query).all(dim=-1).reshape(IMAGES, *GRID)
        assert played[..., 6:].all()
        assert played[..., :6].all() == expected
        assert played[..., :6].any() == expected


def test_one_recorded_picture_is_played_in_each_of_a_batch():
    """Oracle: all rows equal the one."""
    recording = taped(images=1)
    call = call_of(NEW)
    query, _ = projected(call, NEW.tokens)
    written = Replay(recording).begin(run_of(recording)).write(LAYER, call).query(query, GRID)
    assert torch.equal(written[0], written[1])
    assert torch.equal(written[0], next(iter(p for a, p in recording.projections.items() if a.order == 3)).query[0])


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_run_in_half_precision_gets_its_own_type(precision):
    """Oracle: the recorded values, cast."""
    recording, call = taped(), call_of(NEW)
    query, key = (part.to(precision) for part in projected(call, NEW.tokens))
    write = Replay(recording).begin(run_of(recording)).write(LAYER, call)
    kept = next(p for at, p in recording.projections.items() if at.order == LAYER.order)
    assert torch.equal(write.query(query, GRID), kept.query.to(precision))
    assert write.key(key, GRID).dtype == precision


def test_int8_rows_are_played_within_half_a_unit():
    """Oracle: the exact queries, half of a row's largest value over 127."""
    recording, call = taped(), call_of(NEW)
    eighth = {at: item.kept_as(torch.int8) for at, item in recording.projections.items()}
    query, _ = projected(call, NEW.tokens)
    exact, near = (
        Replay(which).begin(run_of(recording)).write(LAYER, call).query(query, GRID)
        for which in (recording, replace(recording, projections=eighth))
    )
    assert ((near - exact).abs() <= 0.51 * exact.abs().amax(dim=-1, keepdim=True) / 127).all()
    assert not torch.equal(near, exact)


def test_steps_are_found_by_the_nearest_noise():
    """Oracle: tables by hand; nearest as a ratio, so that 3 is nearer to 4 than to 2."""
    tape = [16.0, 8.0, 4.0, 2.0, 1.0, 0.0]
    assert nearest_steps(tape, tape) == (0, 1, 2, 3, 4)
    assert nearest_steps(tape, [16.0, 3.0, 1.5, 0.0]) == (0, 2, 3)
    assert nearest_steps(tape, [100.0, 0.01, 0.0]) == (0, 4)
    assert nearest_steps(tape[:3], [16.0, 5.0, 4.0, 2.0, 0.0]) == (0, 1, 2, 2)


def test_another_schedule_plays_the_nearest_steps_and_says_how_far_they_are():
    """Oracle: by hand: 5, 4, 3 .. against 5, 2.8: 2.8 is nearest to 3, the third step; 7 is 1.4 times 5."""
    recording = taped()
    act = Replay(recording, Playing(cross=1)).begin(run_of(recording, sigmas=(7.0, 2.8, 0.0)))
    query, _ = projected(call_of(NEW), NEW.tokens)
    written = act.write(LAYER, call_of(NEW, step=1)).query(query, GRID)
    kept = {at.step: p.query for at, p in recording.projections.items() if at.order == LAYER.order}
    assert torch.equal(written, kept[2])
    assert "x1.40" in act.finish({})
    assert "schedules differ" not in Replay(recording).begin(run_of(recording)).finish({})


def test_a_run_that_asks_twice_a_step_plays_each_answer_where_it_was_made():
    """Oracle: the recording's own evaluations in their order."""
    recording = taped(evaluations=2, selection=replace(KEEP, evaluations="all"))
    act = Replay(recording, Playing(cross=1)).begin(run_of(recording))
    query, _ = projected(call_of(NEW), NEW.tokens)
    for number, (step, evaluation) in enumerate((s, e) for s in range(5) for e in range(2)):
        # The run's own clock may call a later evaluation by the next step: only the order counts.
        call = call_of(NEW, step=min(4, step + evaluation), evaluation=number)
        written = act.write(LAYER, call).query(query, GRID)
        kept = next(
            p for a, p in recording.projections.items() if (a.order, a.step, a.evaluation) == (3, step, evaluation)
        )
        assert torch.equal(written, kept.query)


def test_another_sampler_plays_each_step_at_its_noise_though_all_evaluations_were_kept():
    """Oracle: by hand: a sampler that asks once a step plays each step's first answer."""
    recording = replace(taped(evaluations=2, selection=replace(KEEP, evaluations="all")), about={"sampler": "heun"})
    act = Replay(recording, Playing(cross=1)).begin(replace(run_of(recording), sampler="euler"))
    query, _ = projected(call_of(NEW), NEW.tokens)
    for step in range(5):
        written = act.write(LAYER, call_of(NEW, step=step, evaluation=step)).query(query, GRID)
        kept = next(p for a, p in recording.projections.items() if (a.order, a.step, a.evaluation) == (3, step, 0))
        assert torch.equal(written, kept.query)


def test_after_the_end_of_a_recording_nothing_is_played():
    """Oracle: by hand: the recorded run ended with the noise that the third of five steps begins at."""
    recording = replace(taped(), sigmas=(10.0, 9.0, 8.0, 7.0, 6.0, 3.0))
    act = Replay(recording, Playing(cross=1)).begin(run_of(recording, sigmas=(10.0, 6.0, 3.0, 2.0, 1.0, 0.0)))
    played = [act.write(LAYER, call_of(NEW, step=step)) is not None for step in range(5)]
    assert played == [True, True, False, False, False]
    assert act.finish({}).startswith("Replayed cross-attention in 2 of 5 steps.")
    late = Replay(recording, Playing(cross=0.4)).begin(run_of(recording, sigmas=(8.0, 7.0, 3.0)))
    assert late.write(LAYER, call_of(NEW)) is None
    assert "Nothing was replayed. This run begins with less noise" in late.finish({})
    assert late.finish({}).count("Nothing") == 1


def test_self_attention_is_played_whole():
    """Oracle: the recorded queries and keys."""
    recording = taped()
    layer = replace(LAYER, kind="self")
    pairs = {replace(at, kind="self"): replace(p, key=p.query + 1) for at, p in recording.projections.items()}
    recording = replace(
        recording,
        layers=(*recording.layers, *(replace(s, kind="self") for s in recording.layers)),
        projections={**recording.projections, **pairs},
    )
    act = Replay(recording, Playing(cross=0, self_attention=0.4)).begin(run_of(recording))
    call = call_of(NEW)
    query, key = projected(call, GRID.cells)
    write = act.write(layer, call)
    kept = next(p for at, p in pairs.items() if at.order == LAYER.order)
    assert torch.equal(write.query(query, GRID), kept.query)
    assert torch.equal(write.key(key, GRID), kept.key)
    assert act.write(LAYER, call) is None


def refusal(recording, run, playing=None) -> str:
    """The sentence that says why not."""
    with pytest.raises(SceneScopeError) as caught:
        Replay(recording, playing or Playing()).begin(run)
    assert isinstance(caught.value, (HostError, InputError, RecordingError, WordError))
    return str(caught.value)


def test_what_cannot_be_replayed_is_refused_with_what_to_do():
    """Oracle: the sentences: what is wrong, and what to do."""
    recording = taped()
    run = run_of(recording)
    assert "Switch on keep_queries" in refusal(replace(recording, projections={}), run)
    assert "Switch on keep_self_queries" in refusal(recording, run, Playing(self_attention=0.5))
    assert "doesn't have the negative branch" in refusal(recording, run, Playing(branches=("positive", "negative")))
    part = {at: item for at, item in recording.projections.items() if at.step < 2}
    text = refusal(replace(recording, projections=part), run, Playing(cross=0.8))
    assert "Lower cross_until to 0.4" in text
    assert "queries_until at 0.8" in text
    other = tuple(replace(layer, heads=4) for layer in recording.layers)
    assert "with a model that has other blocks, heads or widths" in refusal(recording, replace(run, layers=other))
    assert "has 16x24 latent cells, and this run has 8x8" in refusal(recording, replace(run, latent=Grid(8, 8)))
    assert "has 2 pictures, and this run has 3" in refusal(recording, replace(run, images=3))
    assert "has 2 conditionings, but the recorded run had 1" in refusal(
        recording, replace(run, entries=(NEW, entry(index=1)))
    )
    assert "at CFG 1" in refusal(recording, replace(run, entries=(EMPTY,)))
    assert "Put Trace Words" in refusal(recording, replace(run, entries=(replace(NEW, table=None),)))
    with pytest.raises(InputError, match="cross_until is 1.5, but it has to be between 0 and 1"):
        Playing(cross=1.5)


def test_without_words_columns_are_matched_by_their_numbers():
    """Oracle: by hand: the seventh column has no source among six."""
    recording, call = taped(), call_of(replace(NEW, table=None))
    act = Replay(recording, Playing(match="columns")).begin(run_of(recording, *call.entries))
    _, key = projected(call, NEW.tokens)
    written = act.write(LAYER, call).key(key, GRID)
    assert (written != key).any(dim=-1).any(dim=0).tolist() == [True] * 6 + [False]
