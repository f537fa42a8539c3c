"""Recording in the real host: exact, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.ldm.modules.attention as host_attention
import pytest
import torch
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE, Selection
from pack.tests.support.host.runs import Run, conditioning, recorded, sample
from pack.tests.support.host.watching import every_projection, slow_softmax

# The host's own stochastic samplers round the ends of their schedule.
pytestmark = pytest.mark.filterwarnings("ignore:Should have t:UserWarning:torchsde")
SINGLE = Selection(precision=torch.float32)


@pytest.mark.parametrize("name", ["sd15", "sd15_half", "sd2", "sdxl"])
@pytest.mark.parametrize("heads", ["mean", "each"])
def test_every_map_is_the_softmax_of_the_blocks_own_queries_and_keys(small_models: Any, name: str, heads: str) -> None:
    """Oracle: a float64 softmax of queries and keys that were recomputed from the layers' inputs."""
    model = small_models[name].clone()
    selection = Selection(kinds=("cross", "self"), heads=heads, precision=torch.float32, self_times=1)
    with every_projection(model) as calls:
        recording, _ = recorded(model, Run(batch=2), selection)
    kinds = {"attn2": "cross", "attn1": "self"}
    per_step = len(recording.layers)
    assert len(calls) == per_step * 2  # positive and negative travel in one call
    worst = 0.0
    for index, call in enumerate(calls):
        step, kind = index // per_step, kinds[call["name"].rsplit(".", 1)[1]]
        layer = [layer for layer in recording.layers if layer.kind == kind][(index % per_step) // 2]
        truth = slow_softmax(call["query"], call["key"], call["heads"])
        truth = truth.mean(dim=1, keepdim=True) if heads == "mean" else truth
        for rows, branch in ((slice(0, 2), NEGATIVE), (slice(2, 4), POSITIVE)):  # the host puts the negative first
            found = [
                item.maps
                for item in recording.maps
                if (item.address.step, item.address.branch, item.address.block, item.address.kind)
                == (step, branch, layer.block, kind)
            ]
            assert len(found) == 1
            worst = max(worst, float((found[0].double() - truth[rows]).abs().max()))
            assert torch.allclose(found[0].sum(dim=-1), torch.ones(1), atol=1e-5)
    assert worst < (2e-3 if name == "sd15_half" else 2e-6)


def test_half_precision_keeps_maps_to_their_rounding(sd15: Any) -> None:
    """Oracle: the same run kept in single precision, rounded."""
    single, _ = recorded(sd15)
    half, _ = recorded(sd15, selection=Selection())
    for one, other in zip(single.maps, half.maps, strict=True):
        assert other.maps.dtype == torch.float16
        assert torch.equal(one.maps.half(), other.maps)


@pytest.mark.parametrize("backend", ["attention_sub_quad", "attention_split", "attention_pytorch", "attention_basic"])
def test_the_picture_is_bit_identical_on_every_backend(sd15: Any, backend: str, monkeypatch: Any) -> None:
    """Oracle: the same run without the recorder."""
    function = host_attention.wrap_attn(getattr(host_attention, backend))
    used = []

    def chosen(*args: Any, **kwargs: Any) -> Any:
        used.append(1)
        return function(*args, **kwargs)

    monkeypatch.setattr(host_attention, "optimized_attention", chosen)
    plain = sample(sd15, conditioning(seed=1), conditioning(seed=2), Run(steps=3))
    selection = Selection(kinds=("cross", "self"), keep_queries=True)
    recording, latent = recorded(sd15, Run(steps=3), selection)
    assert torch.equal(plain, latent)
    assert len(used) == 2 * 3 * 32
    assert len(recording.maps) == 3 * 2 * 32


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_batch_is_recorded_picture_by_picture(sd15: Any, batch: int) -> None:
    """Oracle: shapes by hand, and an invariant: another noise, another map."""
    recording, _ = recorded(sd15, Run(batch=batch))
    assert recording.images == batch
    assert {item.maps.shape[0] for item in recording.maps} == {batch}
    assert len(recording.maps) == 2 * 2 * 16
    first = recording.maps[0].maps
    assert all(not torch.equal(first[0], first[index]) for index in range(1, batch))


def test_cfg_1_records_the_positive_alone(sd15: Any) -> None:
    """Oracle: the host's rule; at CFG 1 it does not ask for the negative."""
    recording, _ = recorded(sd15, Run(cfg=1.0))
    assert {item.address.branch for item in recording.maps} == {POSITIVE}
    assert not recording.skipped


@pytest.mark.parametrize("tokens", [(77, 77), (77, 154), (154, 77), (154, 231), (231, 77)])
def test_prompts_of_unequal_length_keep_their_own_columns(sd15: Any, tokens: tuple[int, int]) -> None:
    """Oracle: each prompt's maps as when the host asks for it alone, with nothing repeated."""
    positive, negative = conditioning(tokens[0], seed=1), conditioning(tokens[1], seed=2)
    together, _ = recorded(sd15, Run(steps=1), positive=positive, negative=negative)
    alone, _ = recorded(sd15, Run(steps=1, cfg=1.0), positive=positive, negative=negative)
    ours = [item.maps for item in together.maps if item.address.branch == POSITIVE]
    theirs = [item.maps for item in alone.maps]
    assert {maps.shape[-1] for maps in ours} == {tokens[0]}
    assert {item.maps.shape[-1] for item in together.maps if item.address.branch == NEGATIVE} == {tokens[1]}
    assert max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True)) < 1e-5


def test_two_calls_record_what_one_call_records(sd15: Any, monkeypatch: Any) -> None:
    """Oracle: the same run in one call; with little memory free the host asks for each branch by itself."""
    together, _ = recorded(sd15)
    watched, book = record_attention(sd15, SINGLE)
    monkeypatch.setattr(type(watched), "get_free_memory", lambda self, device: 0)
    latent = sample(watched, conditioning(seed=1), conditioning(seed=2))
    apart = book.find(latent)[0]
    assert [item.address for item in apart.maps] == [item.address for item in together.maps]
    worst = max(float((a.maps - b.maps).abs().max()) for a, b in zip(apart.maps, together.maps, strict=True))
    assert worst < 1e-5


def test_combined_area_and_masked_conditionings_are_kept_apart(sd15: Any) -> None:
    """Oracle: counted by hand; three positive entries, the area one on its own grid, and the host's twin negative."""
    area = conditioning(seed=3, area=(4, 6, 2, 6), strength=0.5)
    masked = conditioning(seed=4, mask=torch.ones(1, 64, 96), mask_strength=1.0)
    positive = [*conditioning(seed=1), *area, *masked]
    recording, _ = recorded(sd15, positive=positive)
    entries = {(entry.branch, entry.index): entry for entry in recording.entries}
    assert entries[POSITIVE, 1].area == (4, 6, 2, 6)
    assert entries[POSITIVE, 1].strength == 0.5
    assert entries[POSITIVE, 2].masked
    counts = dict.fromkeys(entries, 0)
    for item in recording.maps:
        counts[item.address.branch, item.address.entry] += 1
        if (item.address.branch, item.address.entry, item.address.block) == (POSITIVE, 1, "input 1"):
            assert item.query_grid == (4, 6)
    assert set(counts.values()) == {2 * 16}
    assert not recording.skipped


def test_a_timestep_range_leaves_its_entry_out_of_the_other_steps(sd15: Any) -> None:
    """Oracle: the range, by hand: the second positive ends half-way."""
    late = conditioning(seed=3, start_percent=0.5, end_percent=1.0)
    recording, _ = recorded(sd15, Run(steps=4), positive=[*conditioning(seed=1), *late])
    steps = {item.address.step for item in recording.maps if item.address.entry == 1}
    assert steps
    assert 0 not in steps
    assert {item.address.step for item in recording.maps if item.address.entry == 0} == {0, 1, 2, 3}


@pytest.mark.parametrize("size", [(33, 45), (35, 50), (16, 16), (9, 7)])
def test_any_size_that_is_a_multiple_of_eight(sd15: Any, size: tuple[int, int]) -> None:
    """Oracle: grids by hand; each level halves and rounds up. 33x45 is 264x360, 35x50 is 280x400."""
    recording, _ = recorded(sd15, Run(size=size, steps=1))
    grids = {item.address.block: item.query_grid for item in recording.maps}
    height, width = size
    for blocks in (("input 1", "output 11"), ("input 4", "output 6"), ("input 7", "output 5"), ("middle 0",)):
        assert {grids[block] for block in blocks} == {(height, width)}
        height, width = -(-height // 2), -(-width // 2)
    for item in recording.maps:
        assert item.maps.shape[2] == item.query_grid.cells


@pytest.mark.parametrize(
    ("sampler", "evaluations"),
    [
        ("euler", [1, 1, 1]),
        ("heun", [2, 2, 1]),
        ("dpm_2", [2, 2, 1]),
        ("dpmpp_2s_ancestral", [2, 2, 1]),
        ("dpmpp_2m", [1, 1, 1]),
        ("dpmpp_sde", [2, 2, 1]),
        ("uni_pc", [1, 1, 1]),
        ("lms", [1, 1, 1]),
        ("seeds_2", [2, 2, 1]),
        ("seeds_3", [3, 3, 1]),
        ("lcm", [1, 1, 1]),
    ],
)
def test_a_step_is_a_sampler_step_and_evaluations_are_told_apart(
    sd15: Any, sampler: str, evaluations: list[int]
) -> None:
    """Oracle: the samplers' definitions: how often each asks the model in each of three steps."""
    selection = replace(SINGLE, evaluations="all", blocks="middle 0", branches=(POSITIVE,))
    recording, _ = recorded(sd15, Run(steps=3, sampler=sampler), selection)
    counted = [len([item for item in recording.maps if item.address.step == step]) for step in range(3)]
    assert counted == evaluations
    assert sorted({item.address.evaluation for item in recording.maps}) == list(range(max(evaluations)))


def test_the_first_evaluation_of_a_heun_step_is_the_one_at_the_steps_own_sigma(sd15: Any) -> None:
    """Oracle: Heun's and Euler's first evaluations of step 0 see the same latent."""
    selection = replace(SINGLE, steps="0")
    euler, _ = recorded(sd15, Run(steps=3), selection)
    heun, _ = recorded(sd15, Run(steps=3, sampler="heun"), selection)
    assert [item.address for item in euler.maps] == [item.address for item in heun.maps]
    assert all(torch.equal(one.maps, other.maps) for one, other in zip(euler.maps, heun.maps, strict=True))


def test_chosen_steps_blocks_heads_and_branches_are_all_that_is_kept(sd15: Any) -> None:
    """Oracle: counted by hand: two steps, three blocks, one branch."""
    selection = Selection(blocks="input 4, mid, output 11", steps="1, last", heads="each", branches=(NEGATIVE,))
    recording, _ = recorded(sd15, Run(steps=4), selection)
    assert {(item.address.step, item.address.block, item.address.branch) for item in recording.maps} == {
        (step, block, NEGATIVE) for step in (1, 3) for block in ("input 4", "middle 0", "output 11")
    }
    assert {item.maps.shape[1] for item in recording.maps} == {8}


def test_image_to_image_counts_the_steps_that_were_run(sd15: Any) -> None:
    """Oracle: the host's schedule: denoise 0.5 over 4 steps runs 4 steps of an 8-step schedule."""
    latent = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(5))
    recording, _ = recorded(sd15, Run(steps=4, denoise=0.5), latent_image=latent)
    assert recording.steps == 4
    assert {item.address.step for item in recording.maps} == {0, 1, 2, 3}
    part, _ = recorded(sd15, Run(steps=4), latent_image=latent, start_step=2, last_step=4)
    assert {item.address.step for item in part.maps} == {0, 1}
