"""Aggregation: the right maps, with the right weights, on the right grid."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.read.heatmap import aggregate_on_grid, heatmaps, heatmaps_of, names_of
from pack.scenescope.attention.read.view import View, viewed
from pack.scenescope.attention.record.choices import choose_heads, choose_resolution
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, RecordingError, SelectionError, WordError
from pack.scenescope.resample import Placement, resize
from pack.tests.support.recordings import Run, entry, match, record, table
from torch.utils._python_dispatch import TorchDispatchMode

EACH = Selection(heads="each", precision=torch.float32)


def slow_on_grid(recording, view_steps, level, columns, image, heads=None):
    """The one-grid heatmap, number by number in float64: the mean over steps, layers and heads of the columns' mean."""
    grid = recording.latent.coarser(2**level)
    levels = {layer.order: layer.level for layer in recording.layers}
    result = torch.zeros(grid.height, grid.width, dtype=torch.float64)
    for row in range(grid.height):
        for column in range(grid.width):
            seen = []
            for item in recording.maps:
                if item.address.step in view_steps and levels[item.address.order] == level:
                    for head in heads if heads is not None else range(item.maps.shape[1]):
                        shares = item.maps[image, head, row * grid.width + column]
                        seen.append(sum(float(shares[key]) for key in columns) / len(columns))
            result[row, column] = math.fsum(seen) / len(seen)
    return result


@pytest.mark.parametrize(("level", "resolution"), [(2, "latent/4"), (3, "latent/8")])
@pytest.mark.parametrize("heads", ["mean", "each"])
def test_one_grid_equals_a_slow_reference(level, resolution, heads):
    """Oracle: a float64 loop over every cell, layer, head and step; half precision, batch 2, not square."""
    recording = record(Run(selection=Selection(heads=heads)))
    found = heatmaps(recording, [match("cat", (2,)), match("and a", (3, 4))], View(resolution))
    for image in (0, 1):
        for word, columns in enumerate([(2,), (3, 4)]):
            reference = slow_on_grid(recording, {0, 1}, level, columns, image)
            torch.testing.assert_close(found.values[image, ..., word].double(), reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("latent", "resolution"), [(Grid(64, 64), "latent/4"), (Grid(16, 24), "latent")])
def test_auto_reads_the_grid_nearest_to_sixteen_by_sixteen_cells(latent, resolution):
    """Oracle: that grid asked for by name; 16x24 has 384 cells and its half 96, further away."""
    recording = record(Run(latent=latent, steps=1, images=1))
    found = heatmaps(recording, [match("cat", (2,))], View("auto"))
    named = heatmaps(recording, [match("cat", (2,))], View(resolution))
    assert torch.equal(found.values, named.values)


def test_auto_takes_the_nearest_of_the_grids_that_were_recorded():
    """Oracle: by hand; at 512x512 latent/4 is in `input 7` and not in `input 1`."""
    recording = record(Run(latent=Grid(64, 64), steps=1, images=1))
    assert heatmaps(recording, [match("cat", (2,))], View("auto", blocks="input 1")).grid == Grid(64, 64)
    assert heatmaps(recording, [match("cat", (2,))], View("auto")).grid == Grid(16, 16)


def test_chosen_heads_and_steps_equal_a_slow_reference():
    """Oracle: the same loop over two heads and one step."""
    recording = record(Run(heads=4, steps=3, images=1, selection=EACH))
    found = heatmaps(recording, [match("cat", (2,))], View("latent/4", heads="1, 3", steps="last"))
    reference = slow_on_grid(recording, {2}, 2, (2,), 0, heads=(1, 3))
    torch.testing.assert_close(found.values[0, ..., 0].double(), reference, rtol=0, atol=1e-6)
    assert found.steps == (2,)


def test_the_heatmap_calls_the_function_that_the_loss_will_call():
    """Oracle: `aggregate_on_grid` on the recorded maps as plain tensors; the heatmap is its column, exactly."""
    recording = record(Run(steps=1, images=1))
    layers = [(item.maps, item.query_grid, item.heads) for item in recording.maps]
    whole = aggregate_on_grid(layers, Grid(4, 6))
    assert torch.equal(heatmaps(recording, [match("cat", (2,))], View("latent/4")).values[..., 0], whole[..., 2])


def test_gradients_flow_through_the_aggregation():
    """Oracle: a closed form. Each of 3 heads of 2 layers carries one sixth of the mean; other grids carry nothing."""
    maps = [torch.rand(1, 3, 6, 5, requires_grad=True) for _ in range(2)]
    other = torch.rand(1, 3, 24, 5, requires_grad=True)
    grid = Grid(2, 3)
    aggregate_on_grid([(maps[0], grid, 3), (other, Grid(4, 6), 3), (maps[1], grid, 3)], grid).sum().backward()
    assert other.grad is None
    for item in maps:
        torch.testing.assert_close(item.grad, torch.full_like(item, 1 / 6))


def test_a_layer_recorded_as_a_mean_counts_as_many_heads_as_it_has():
    """Oracle: by hand. Eight heads at 0.2 and two at 0.7 have the mean 0.3."""
    layers = [(torch.full((1, 1, 1, 1), 0.2), Grid(1, 1), 8), (torch.full((1, 2, 1, 1), 0.7), Grid(1, 1), 2)]
    assert aggregate_on_grid(layers, Grid(1, 1)).item() == pytest.approx(0.3)


def test_equal_cells_are_not_an_equal_grid():
    """Oracle: by hand. 2x8 has as many cells as 4x4 and is another grid."""
    with pytest.raises(RecordingError, match="Choose a grid that layers have: 2x8"):
        aggregate_on_grid([(torch.ones(1, 1, 16, 1), Grid(2, 8), 1)], Grid(4, 4))


def test_all_columns_of_a_heatmap_sum_to_one():
    """Oracle: an invariant. Attention is a distribution over the prompt's columns, resampled or not."""
    recording = record()
    words = [match(str(column), (column,)) for column in range(recording.entries[0].tokens)]
    for view in (View("latent/4"), View("all", "latent"), View("all", "5x7")):
        total = heatmaps(recording, words, view).values.sum(dim=-1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-3)


def test_all_grids_are_the_mean_over_layers_of_resampled_maps():
    """Oracle: a slow reference that resamples every layer on its own; area going down, bilinear going up."""
    recording = record(Run(steps=1, images=1, selection=Selection(precision=torch.float32)))
    target, layers = Grid(4, 6), []
    for item in recording.maps:
        maps = item.maps[0, 0, :, 2].double().unflatten(0, tuple(item.query_grid))
        if item.query_grid.cells >= target.cells:
            layers.append(resize(maps, target))
        else:
            up = torch.nn.functional.interpolate(maps[None, None], tuple(target), mode="bilinear", align_corners=False)
            layers.append(up[0, 0])
    found = heatmaps(recording, [match("cat", (2,))], View("all", "latent/4")).values[0, ..., 0]
    torch.testing.assert_close(found.double(), torch.stack(layers).mean(0), rtol=0, atol=1e-6)


def test_shuffling_the_recorded_keys_changes_the_maps():
    """Oracle: an invariant. With the columns rolled by one, the word's map is its neighbour's."""
    recording = record()
    rolled = replace(recording, maps=tuple(replace(item, maps=item.maps.roll(1, -1)) for item in recording.maps))
    cat = heatmaps(recording, [match("cat", (2,))]).values
    assert not torch.allclose(heatmaps(rolled, [match("cat", (2,))]).values, cat)
    assert torch.equal(heatmaps(rolled, [match("cat", (3,))]).values, cat)


@pytest.mark.parametrize(
    ("merge", "share", "uniform"), [("mean", 0.15, 1 / 4), ("sum", 0.3, 2 / 4), ("first", 0.1, 1 / 4)]
)
def test_a_word_of_several_tokens_is_their_mean_sum_or_first(merge, share, uniform):
    """Oracle: by hand, from shares 0.1 and 0.2 of four keys."""
    recording = flat([0.5, 0.1, 0.2, 0.2])
    found = heatmaps(recording, [match("fluffy", (1, 2))], merge=merge)
    torch.testing.assert_close(found.values, torch.full_like(found.values, share), rtol=1e-3, atol=0)
    assert found.uniform.item() == pytest.approx(uniform)


def test_several_places_of_a_word_are_averaged():
    """Oracle: by hand. Places of one and of two tokens, 0.4 and the mean of 0.1 and 0.3: 0.3; summed within: 0.4."""
    recording = flat([0.2, 0.4, 0.1, 0.3])
    places = [match("cat", (1,), (2, 3))]
    assert heatmaps(recording, places).values.mean().item() == pytest.approx(0.3, rel=1e-3)
    assert heatmaps(recording, places, merge="sum").values.mean().item() == pytest.approx(0.4, rel=1e-3)


def flat(shares):
    """A recording whose every position spreads its attention alike."""
    recording = record(Run(steps=1, images=1, entries=(entry("w"),)))
    row = torch.tensor(shares)
    return replace(recording, maps=tuple(replace(item, maps=row.expand(item.maps.shape)) for item in recording.maps))


def test_steps_count_alike_however_many_layers_each_has():
    """Oracle: by hand. A step of five layers at 0.2 and a step of one layer at 0.8 have the mean 0.5."""
    recording = record(Run(steps=2, images=1))
    maps = [
        replace(item, maps=torch.full_like(item.maps, 0.2 if item.address.step == 0 else 0.8))
        for item in recording.maps
        if item.address.step == 0 or item.address.block == "input 7"
    ]
    found = heatmaps(replace(recording, maps=tuple(maps)), [match("cat", (2,))])
    torch.testing.assert_close(found.values, torch.full_like(found.values, 0.5), rtol=1e-3, atol=0)


def test_an_area_fills_its_part_and_leaves_the_rest_empty():
    """Oracle: by hand. The entry covers the right half; its maps are 0.25 everywhere."""
    recording = record(Run(steps=1, images=1, entries=(entry(area=(16, 12, 0, 12)),)))
    maps = tuple(replace(item, maps=torch.full_like(item.maps, 0.25)) for item in recording.maps)
    found = heatmaps(replace(recording, maps=maps), [match("cat", (2,))], View("latent/4"))
    assert torch.equal(found.values[0, ..., 0], torch.tensor([0.0, 0, 0, 0.25, 0.25, 0.25]).expand(4, 6))
    assert torch.equal(found.covered, (found.values[0, ..., 0] > 0).float())
    upscaled = heatmaps(replace(recording, maps=maps), [match("cat", (2,))], View("all", "32x48"))
    assert torch.equal(upscaled.values[0, ..., 0] > 0, upscaled.covered > 0)


def test_branches_and_entries_are_kept_apart():
    """Oracle: an invariant. Each entry's heatmap is that of a recording that holds nothing else."""
    entries = (entry(), entry("one more prompt of eight words in all", index=1), entry("blurry", "negative"))
    recording = record(Run(entries=entries, images=1))
    for item in entries:
        alone = recording.where(lambda at, item=item: (at.branch, at.entry) == (item.branch, item.index))
        view = View(branch=item.branch, entry=item.index)
        assert torch.equal(
            heatmaps(recording, [match("w", (1,))], view).values, heatmaps(alone, [match("w", (1,))], view).values
        )


def test_one_picture_and_one_evaluation_can_be_chosen():
    """Oracle: an invariant. The picture's map is that slice of all; two evaluations average to both."""
    recording = record(Run(evaluations=2, steps=1))
    words = [match("cat", (2,))]
    both = heatmaps(recording, words)
    assert torch.equal(heatmaps(recording, words, View(image=1)).values, both.values[1:])
    first, second = (heatmaps(recording, words, View(evaluation=number)).values for number in (0, 1))
    torch.testing.assert_close((first + second) / 2, both.values)


def test_frames_over_steps_average_to_the_whole():
    """Oracle: an invariant. Steps count alike, so the mean of the frames is the heatmap."""
    recording = record(Run(steps=3))
    frames = [heatmaps_of(step, [match("cat", (2,))]) for step in viewed(recording, View()).by_step()]
    assert [frame.steps for frame in frames] == [(0,), (1,), (2,)]
    mean = torch.stack([frame.values for frame in frames]).mean(0)
    torch.testing.assert_close(mean, heatmaps(recording, [match("cat", (2,))]).values)


@pytest.mark.parametrize(
    ("view", "error", "message"),
    [
        (View("latent/16"), SelectionError, "only for latent, latent/2, latent/4, latent/8"),
        (View("latent/4", blocks="mid"), SelectionError, "only for latent/8"),
        (View(blocks="input 3"), SelectionError, "'input 3' is not a block"),
        (View(steps="7"), SelectionError, "no step of this run"),
        (View(branch="negative"), SelectionError, "only positive 0"),
        (View(entry=1), SelectionError, "no entry positive 1"),
        (View(evaluation=1), SelectionError, "evaluation"),
        (View(heads="0"), RecordingError, "set heads to `each`"),
        (View(heads="2"), SelectionError, "from 0 to 1"),
        (View(image=5), InputError, "image_index is 5, but the batch has 2 pictures"),
        (View("sideways"), SelectionError, "Choose auto, latent"),
        (View("all", "big"), InputError, "Grid"),
    ],
)
def test_what_was_not_recorded_is_refused_by_name(view, error, message):
    """Oracle: the messages, which name what was there."""
    with pytest.raises(error, match=message):
        heatmaps(record(), [match("cat", (2,))], view)


def test_a_recording_without_cross_attention_says_so():
    """Oracle: the message."""
    with pytest.raises(RecordingError, match="no cross-attention"):
        heatmaps(record(Run(kinds=("self",), steps=1)), [match("cat", (2,))])


@pytest.mark.parametrize("words", [[], [match("ghost")], [match("ghost", ())], [match("far", (99,))]])
def test_words_without_columns_are_refused(words):
    """Oracle: the error's type."""
    with pytest.raises(WordError):
        heatmaps(record(), words)


def test_words_found_in_the_prompt_lead_to_their_maps():
    """Oracle: the columns by hand: start, a, cat, and, a, dog."""
    recording = record()
    words = find_words(recording.entries[0].table, "dog, a")
    found = heatmaps(recording, words)
    assert found.words == ("dog", "a")
    assert torch.equal(found.values[..., 0], heatmaps(recording, [match("x", (5,))]).values[..., 0])
    torch.testing.assert_close(found.values[..., 1:], heatmaps(recording, [match("x", (1,), (4,))]).values)


def test_places_of_one_word_shown_apart_have_names_apart():
    """Oracle: by hand."""
    assert names_of(find_words(table("a cat and a dog"), "a#1, a#2, cat")) == ("a#1", "a#2", "cat")


class LargestMade(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation makes."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for item in made if isinstance(made, tuple | list) else (made,):
            if isinstance(item, torch.Tensor) and not function.is_view:
                self.most = max(self.most, item.numel() * item.element_size())
        return made


def test_nothing_larger_than_one_layers_columns_is_ever_made():
    """Oracle: counted. A layer's chosen columns in float32, far below the recording."""
    recording = record(Run(steps=4, selection=Selection(heads="each")))
    with LargestMade() as made:
        heatmaps(recording, [match("cat", (2,))], View("all", "latent"))
    layer = recording.latent.cells * recording.images * 2  # queries, pictures, heads; one column
    assert made.most <= layer * 4
    assert made.most < recording.bytes_held / 100


@settings(deadline=None, max_examples=40)
@given(
    latent=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    level=st.integers(0, 3),
)
def test_resampling_keeps_a_constant_and_never_leaves_the_range(latent, target, level):
    """Oracle: invariants: weights of every cell sum to one and none is negative; odd sizes too."""
    grid = Grid(*latent).coarser(2**level)
    assert torch.allclose(resize(torch.full(grid, 0.3), Grid(*target)), torch.tensor(0.3))
    maps = torch.rand(grid, generator=torch.Generator().manual_seed(level))
    placed = resize(maps, Grid(*target))
    assert maps.min() - 1e-6 <= placed.min() <= placed.max() <= maps.max() + 1e-6


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_an_area_is_covered_exactly_where_it_lies(data):
    """Oracle: a closed form. The covered part of the picture is the area's part of the latent."""
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    tall, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    grid = Grid(data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    place = Placement(Grid(height, width), (tall, wide, top, left))
    covered = place.covered(grid)
    assert covered.mean().item() == pytest.approx(tall * wide / height / width, abs=1e-5)
    ones = place.place(torch.ones(1, 1), grid)
    assert torch.equal(ones > 0, covered > 0)
    assert torch.allclose(ones[ones > 0], torch.tensor(1.0))


def test_an_area_outside_the_latent_is_refused():
    """Oracle: the message."""
    with pytest.raises(InputError, match="at row 4, column 0"):
        Placement(Grid(8, 8), (5, 8, 4, 0))


def test_reading_a_resolution_and_heads():
    """Oracle: by hand; odd latents round up as the U-Net does."""
    assert choose_resolution("latent/8", "", Grid(33, 45)).grid == Grid(5, 6)
    assert choose_resolution("all", "latent/2", Grid(33, 45)).grid == Grid(17, 23)
    assert choose_heads("mean", 8) is None
    with pytest.raises(SelectionError, match="'x'"):
        choose_heads("1, x", 8)
