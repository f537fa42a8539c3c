"""Masks: thresholds, refinement by self-attention, and the fit to a known mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.read.cautions import refining_caution
from pack.scenescope.attention.read.masks import (
    above_fraction,
    above_otsu,
    cut_masks,
    intersection_over_union,
    otsu,
    refine,
    self_attention,
)
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, RecordingError
from pack.tests.support.recordings import Run, entry, record

BOTH = Run(kinds=("cross", "self"), steps=1, latent=Grid(4, 6))


def test_a_fraction_of_each_maps_own_maximum_is_kept():
    """Oracle: by hand, for two maps of different strength; a map of nothing gives an empty mask."""
    maps = torch.tensor([[[0.1, 0.2, 0.4]], [[1.0, 3.0, 4.0]], [[0.0, 0.0, 0.0]]])
    assert above_fraction(maps, 0.5).tolist() == [[[0, 1, 1]], [[0, 1, 1]], [[0, 0, 0]]]
    assert above_fraction(maps, 0.0)[2].sum() == 0
    with pytest.raises(InputError, match=r"is 1\.5"):
        above_fraction(maps, 1.5)


def brute_otsu(values):
    """Every split between neighbouring values, by the definition: the smallest variance within the classes."""
    ordered = sorted(float(value) for value in values)
    best, where = float("inf"), ordered[0]
    for split in range(1, len(ordered)):
        low, high = torch.tensor(ordered[:split]).double(), torch.tensor(ordered[split:]).double()
        within = float(low.var(correction=0) * len(low) + high.var(correction=0) * len(high))
        if ordered[split] > ordered[split - 1] and within < best - 1e-9:
            best, where = within, (ordered[split - 1] + ordered[split]) / 2
    return where


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_otsu_has_the_least_variance_within_the_classes(values):
    """Oracle: the definition, tried at every split; where several are as good, as good as the best."""
    values = torch.tensor(values, dtype=torch.float32)
    found, best = otsu(values), brute_otsu(values)

    def within(threshold):
        parts = [part.double() for part in (values[values <= threshold], values[values > threshold]) if len(part)]
        return sum(float(part.var(correction=0)) * len(part) for part in parts)

    assert within(found) == pytest.approx(within(best), abs=1e-6)


def test_otsu_of_one_value_gives_an_empty_mask():
    """Oracle: by hand. Nothing lies above the only value."""
    masks, thresholds = above_otsu(torch.full((1, 3, 4), 0.2))
    assert masks.sum() == 0
    assert thresholds.item() == pytest.approx(0.2)


def test_each_map_gets_its_own_otsu_threshold():
    """Oracle: by hand."""
    maps = torch.tensor([[[0.0, 0.0, 1.0, 1.0]], [[10.0, 10.0, 10.0, 30.0]]])
    masks, thresholds = above_otsu(maps)
    assert masks.tolist() == [[[0, 0, 1, 1]], [[0, 0, 0, 1]]]
    assert thresholds.tolist() == [0.5, 20.0]


def test_refinement_equals_a_slow_reference():
    """Oracle: float64 loops over layers and heads on the one grid, and a matrix power."""
    run = replace(BOTH, selection=Selection(heads="each"))
    recording = record(run).where(lambda at: at.kind == "cross" or at.block in ("input 1", "output 9"))
    maps = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1))
    found = refine(maps, self_attention(recording), 3)
    for image in (0, 1):
        rows = torch.zeros(24, 24, dtype=torch.float64)
        for item in recording.maps:
            if item.address.kind == "self":
                for head in range(2):
                    rows += item.maps[image, head].double() / 4
        rows /= rows.sum(1, keepdim=True)
        reference = (torch.linalg.matrix_power(rows, 3) @ maps[image].double().flatten()).unflatten(0, (4, 6))
        torch.testing.assert_close(found[image].double(), reference, rtol=0, atol=1e-6)


def test_refinement_averages_over_the_grids():
    """Oracle: by hand. One grid swaps the halves, the other leaves all as it is; the mean is level."""
    swap = torch.eye(8).reshape(2, 4, 8).roll(2, 1).reshape(8, 8)[None]
    maps = torch.zeros(1, 2, 4)
    maps[..., :2] = 1
    attention = {Grid(2, 4): swap, Grid(1, 2): torch.eye(2)[None]}
    assert torch.equal(refine(maps, {Grid(2, 4): swap}, 1), 1 - maps)
    assert torch.equal(refine(maps, attention, 1)[0, :, 0], torch.full((2,), 0.5))


def test_refinement_keeps_constants_and_stays_in_range():
    """Oracle: invariants of a row-stochastic matrix; 0 times changes nothing; several words to a picture."""
    attention = self_attention(record(BOTH))
    maps = torch.rand(6, 13, 9, generator=torch.Generator().manual_seed(2))
    refined = refine(maps, attention, 2)
    assert refined.shape == maps.shape
    assert maps.min() - 1e-6 <= refined.min() <= refined.max() <= maps.max() + 1e-6
    torch.testing.assert_close(refine(torch.full((2, 4, 6), 0.3), attention, 4), torch.full((2, 4, 6), 0.3))
    assert torch.equal(refine(maps, attention, 0), maps)
    torch.testing.assert_close(refine(maps[2:4], attention, 2), refined[2:4])
    with pytest.raises(InputError, match="5 maps can't be refined 1 times by 2 recorded pictures"):
        refine(maps[:5], attention, 1)


def test_without_self_attention_the_setting_to_change_is_named():
    """Oracle: the message. Cross-attention alone, a region's mean, or an area's entry cannot refine."""
    region = record(BOTH).where(lambda at: at.block != "middle 0")
    region = replace(region, maps=tuple(replace(item, query_grid=Grid(1, 1)) for item in region.maps))
    for recording in (record(Run(steps=1)), region, record(replace(BOTH, entries=(entry(area=(4, 3, 0, 0)),)))):
        with pytest.raises(RecordingError, match="set attention to `cross and self`"):
            self_attention(recording)


def test_intersection_over_union_by_hand():
    """Oracle: by hand: a third, all, nothing, and two empty masks that agree."""
    masks = torch.tensor([[[1.0, 1, 0]], [[1, 1, 1]], [[1, 0, 0]], [[0, 0, 0]]])
    truth = torch.tensor([[[0.0, 1, 1]], [[1, 1, 1]], [[0, 1, 1]], [[0, 0, 0]]])
    assert intersection_over_union(masks, truth).tolist() == pytest.approx([1 / 3, 1, 0, 1])


def test_a_truth_of_another_size_is_brought_to_the_mask():
    """Oracle: by hand. The right half, painted eight times as large and not square."""
    truth = torch.zeros(1, 32, 48)
    truth[..., 24:] = 1
    masks = torch.zeros(2, 4, 6)
    masks[0, :, 3:] = 1
    masks[1, :, 4:] = 1
    assert intersection_over_union(masks, truth).tolist() == pytest.approx([1, 2 / 3])
    with pytest.raises(InputError, match="2 masks can't be compared with 3 truth masks"):
        intersection_over_union(masks, truth.expand(3, -1, -1))


def test_the_mean_iou_stands_above_the_masks_own_lines():
    """Oracle: by hand: one mask fits whole, the other half; a node shows only the first lines."""
    maps = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]])
    truth = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    lines = cut_masks(maps, "fraction", 0.5, truth).describe().split("\n")
    assert lines[0] == "IoU 0.750, the mean of 1.000, 0.500"
    assert len(lines) == 3


def test_refining_by_flat_self_attention_is_warned_of() -> None:
    """Oracle: by hand; uniform rows blur, also beside others, rows that look at themselves alone do not."""
    masks = torch.ones(1, 2, 2)
    flat, sharp = torch.full((1, 4, 4), 0.25), torch.eye(4)[None]
    assert "nearly flat (2x2: 0%, 4x1: 75%" in refining_caution({Grid(2, 2): flat, Grid(4, 1): sharp})
    assert not refining_caution({Grid(4, 1): sharp})
    assert cut_masks(masks, "otsu", 0.5, caution="Doubt it.").describe().endswith("\nDoubt it.")
