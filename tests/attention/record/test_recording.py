"""What a run left behind."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pack.scenescope.attention.record.recording import Address, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.tests.support.recordings import Run, record


def small(**options) -> Recording:
    """A run of two steps and two pictures."""
    return record(Run(latent=Grid(4, 6), **options))


def test_addresses_sort_by_time_first():
    """Oracle: by hand."""
    first, second = (
        Address(0, 1, "positive", 0, 5, "input 8", "cross"),
        Address(1, 0, "negative", 0, 0, "input 1", "self"),
    )
    assert sorted([second, first]) == [first, second]


@pytest.mark.parametrize("keep_queries", [False, True])
def test_the_bytes_held_are_those_of_the_tensors(keep_queries: bool):
    """Oracle: storage of every tensor, counted through its untyped storage."""
    recording = small(selection=Selection(keep_queries=keep_queries))
    tensors = [item.maps for item in recording.maps]
    tensors += [part for pair in recording.projections.values() for part in (pair.query, pair.key)]
    assert bool(recording.projections) == keep_queries
    assert recording.bytes_held == sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_a_part_shares_its_maps_and_leaves_the_whole_as_it_was():
    """Oracle: identity, and counts by hand: 16 blocks, 2 steps."""
    recording = small(selection=Selection(keep_queries=True))
    part = recording.where(lambda at: at.step == 1 and at.block.startswith("input"))
    assert len(recording.maps) == len(recording.projections) == 32
    assert len(part.maps) == len(part.projections) == 6
    assert {at.step for at in part.projections} == {1}
    assert all(item.maps is recording.maps[16 + place].maps for place, item in enumerate(part.maps))


def test_a_recording_cannot_be_changed():
    """Oracle: the errors of frozen things."""
    recording = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recording.images = 3
    with pytest.raises(TypeError):
        dataclasses.replace(recording).skipped["reason"] = 1


def test_it_says_what_was_kept_and_what_was_not():
    """Oracle: by hand: 384 queries at most, 7 columns, half precision."""
    recording = dataclasses.replace(small(), skipped={"middle 0 cross: a reason": 3})
    first, second = recording.describe().split("\n")
    assert (
        first == f"32 maps, {recording.bytes_held / 1000:.1f} kB: 16 blocks, 2 of 2 steps, 2 images of 4x6 latent cells"
    )
    assert second == "not recorded: middle 0 cross: a reason (3 times)"
    assert "1 image of" in small(images=1).describe()


def test_an_entry_is_found_by_its_branch_and_place():
    """Oracle: identity."""
    recording = small()
    assert recording.entry("positive", 0) is recording.entries[0]
    assert recording.entry("positive", 1) is None
    assert recording.entry("negative", 0) is None


def test_a_run_has_a_step_for_each_pair_of_sigmas():
    """Oracle: by hand; a schedule of one sigma still counts as one step."""
    assert small(steps=3).steps == 3
    assert dataclasses.replace(small(), sigmas=(1.0,)).steps == 1


def test_maps_kept_in_half_precision_still_sum_to_one():
    """Oracle: an invariant, to the rounding of seven half-precision columns."""
    for item in small().maps:
        assert item.maps.dtype == torch.float16
        assert torch.allclose(item.maps.float().sum(dim=-1), torch.ones(1), atol=7 * 2**-11)
