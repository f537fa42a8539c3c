"""The losses against float64 loops written from the paper, and their gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from pack.scenescope.attention.read.heatmap import aggregate_on_grid
from pack.scenescope.attention.record.scores import attention_scores
from pack.scenescope.dims import Grid
from pack.scenescope.training.step.losses import attention_loss, concept_maps, ious, masked_loss, prior_loss
from pack.scenescope.training.weights.embeddings import SPREAD, first_embeddings, guard_norm


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Float64 numbers, even over 0 to 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_masked(predicted, target, masks, normalise):
    """Equation 1, cell by cell in Python floats."""
    total = 0.0
    batch, channels, height, width = predicted.shape
    for item in range(batch):
        squares, area = 0.0, 0.0
        for row in range(height):
            for column in range(width):
                mask = float(masks[item, row, column])
                area += mask
                for channel in range(channels):
                    place = item, channel, row, column
                    squares += (mask * float(target[place]) - mask * float(predicted[place])) ** 2
        total += squares / (channels * (area if normalise == "area" else height * width))
    return total / batch


@pytest.mark.parametrize("normalise", ["none", "area"])
def test_the_masked_loss_is_the_papers(normalise):
    """Oracle: a slow float64 loop; batch 2, not square, soft masks."""
    predicted, target, masks = numbers(2, 4, 3, 5), numbers(2, 4, 3, 5, seed=1), numbers(2, 3, 5, seed=2)
    expected = slow_masked(predicted, target, masks, normalise)
    assert float(masked_loss(predicted, target, masks, normalise)) == pytest.approx(expected, rel=1e-12)
    single = masked_loss(predicted.float(), target.float(), masks.float(), normalise)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, rel=1e-5)


def test_half_precision_is_squared_in_float32():
    """Oracle: by hand; 300 squared is more than float16 holds."""
    predicted, target = torch.full((1, 4, 2, 2), 300.0, dtype=torch.float16), torch.zeros(1, 4, 2, 2)
    assert float(masked_loss(predicted, target.half(), torch.ones(1, 2, 2))) == 90000.0
    assert float(prior_loss(predicted, target.half())) == 90000.0


def test_an_empty_mask_costs_nothing():
    """Oracle: by hand, for both normalisations."""
    for normalise in ("none", "area"):
        loss = masked_loss(numbers(1, 4, 2, 3), numbers(1, 4, 2, 3, seed=1), torch.zeros(1, 2, 3), normalise)
        assert float(loss) == 0


@pytest.mark.parametrize("normalise", ["none", "area"])
def test_the_masked_losss_gradient_is_right(normalise):
    """Oracle: finite differences."""
    predicted, target = numbers(2, 2, 2, 3).requires_grad_(), numbers(2, 2, 2, 3, seed=1)
    masks = numbers(2, 2, 3, seed=2)
    assert torch.autograd.gradcheck(lambda values: masked_loss(values, target, masks, normalise), predicted)
    assert torch.autograd.gradcheck(lambda values: prior_loss(values, target), predicted)


def slow_attention(maps, columns, masks):
    """Equation 2 with the code's division by the maximum, cell by cell in Python floats."""
    total = 0.0
    for item, chosen, known in zip(maps, columns, masks, strict=True):
        for column, mask in zip(chosen, known, strict=True):
            cells = [float(value) for value in item[..., column].flatten()]
            wanted = [float(value) for value in mask.flatten()]
            pairs = zip(cells, wanted, strict=True)
            total += sum((goal - cell / max(cells)) ** 2 for cell, goal in pairs) / len(cells)
    return total / len(maps)


def test_the_attention_loss_is_the_papers():
    """Oracle: a slow float64 loop; pictures with one and with three concepts, in any order."""
    maps, columns = numbers(2, 3, 4, 7), [[5], [6, 2, 4]]
    masks = [numbers(1, 3, 4, seed=1), numbers(3, 3, 4, seed=2)]
    ours = attention_loss([concept_maps(item, own) for item, own in zip(maps, columns, strict=True)], masks)
    assert float(ours) == pytest.approx(slow_attention(maps, columns, masks), rel=1e-12)


def test_the_attention_losss_gradient_is_right():
    """Oracle: finite differences, through the maximum and around it."""
    maps, masks = numbers(2, 3, 4).requires_grad_(), numbers(2, 2, 3, seed=1)
    assert torch.autograd.gradcheck(lambda values: attention_loss([concept_maps(values, [3, 1])], [masks]), maps)
    peak = concept_maps(maps, [3], detach_maximum=True)
    (gradient,) = torch.autograd.grad(peak.sum(), maps)
    expected = torch.zeros_like(maps)
    expected[..., 3] = 1 / float(maps.detach()[..., 3].max())  # a constant maximum: every cell counts alike
    assert torch.allclose(gradient, expected)


def test_the_loss_does_not_see_how_much_attention_a_token_gets():
    """Oracle: an invariant of the division by the maximum."""
    maps, masks = numbers(2, 3, 2), [numbers(1, 2, 3, seed=1)]
    losses = [float(attention_loss([concept_maps(maps * scale, [1])], masks)) for scale in (1.0, 0.01)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_a_map_of_nothing_gives_no_nan():
    """Oracle: by hand."""
    maps = torch.zeros(2, 2, 3, requires_grad=True)
    loss = attention_loss([concept_maps(maps, [1])], [torch.ones(1, 2, 2)])
    loss.backward()
    assert float(loss.detach()) == 1.0
    assert torch.isfinite(maps.grad).all()


def test_the_gradient_reaches_queries_and_keys_through_the_eyes_own_aggregation():
    """Oracle: finite differences in float64 of a loop over two layers of different heads, written from the paper."""
    query = [numbers(1, 6, 8, seed=seed).requires_grad_() for seed in (1, 2)]
    keys, heads, mask = [numbers(1, 5, 8, seed=seed) for seed in (3, 4)], (2, 4), numbers(1, 2, 3, seed=5)

    def slow(first, second):
        layers = []
        for own, key, count in zip((first, second), keys, heads, strict=True):
            for part, other in zip(own[0].chunk(count, -1), key[0].chunk(count, -1), strict=True):
                layers.append(((part @ other.T) / part.shape[-1] ** 0.5).softmax(-1))
        cell = torch.stack(layers).mean(0)[:, 2]
        return ((cell / cell.max() - mask.flatten()) ** 2).mean()

    layers = zip(query, keys, heads, strict=True)
    ours = [(attention_scores(own, key, count), Grid(2, 3), count) for own, key, count in layers]
    loss = attention_loss([concept_maps(aggregate_on_grid(ours, Grid(2, 3))[0], [2])], [mask])
    assert float(loss.detach()) == pytest.approx(float(slow(*query).detach()), rel=1e-5)
    assert torch.autograd.gradcheck(slow, query)
    for mine, reference in zip(torch.autograd.grad(loss, query), torch.autograd.grad(slow(*query), query), strict=True):
        assert torch.allclose(mine, reference, rtol=1e-3, atol=1e-7)


def test_the_fit_compares_the_upper_half_of_a_map_with_its_mask():
    """Oracle: by hand: two cells of three shared, then none."""
    maps = torch.tensor([[[1.0, 0.6, 0.4]], [[0.1, 0.2, 1.0]]])
    masks = torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 0.9, 0.1]]])
    assert ious(maps, masks).tolist() == pytest.approx([2 / 3, 0.0])


def test_rows_begin_at_their_words_or_near_another():
    """Oracle: means by hand, and the spread of many numbers."""
    pieces = [torch.tensor([[1.0, 2.0], [3.0, 6.0]]).half(), torch.zeros(1, 2)]
    rows = first_embeddings(pieces, [False, False], torch.Generator())
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[2.0, 4.0], [0.0, 0.0]]
    near = first_embeddings([torch.ones(1, 4000)], [True], torch.Generator().manual_seed(0))
    assert float(near.mean()) == pytest.approx(1.0, abs=0.002)
    assert float(near.std()) == pytest.approx(SPREAD, rel=0.1)


def test_long_rows_are_shortened_and_short_ones_left():
    """Oracle: lengths by hand."""
    rows, first = torch.tensor([[6.0, 8.0], [0.3, 0.4]]), torch.tensor([[0.0, 4.0], [0.0, 4.0]])
    guard_norm(rows, first, 1.5)
    assert rows.tolist() == [pytest.approx([3.6, 4.8]), pytest.approx([0.3, 0.4])]
