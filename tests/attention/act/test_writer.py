"""Queries, keys and log-odds written into a layer."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from pack.scenescope.attention.act.acts import LayerWrite, ModelCall, steps_between
from pack.scenescope.attention.act.writer import Writers
from pack.scenescope.attention.record.observers import Observers
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.errors import InputError
from pack.tests.support.layer import GRID, SITE, OneLayer, apart, by_hand, shares_by_hand

NEGATIVE, POSITIVE = Entry("negative", 0, 4), Entry("positive", 0, 4)
CALL = ModelCall((NEGATIVE, POSITIVE), 2, GRID, 0)


class Fixed:
    """A bias given by hand, for one branch."""

    def __init__(self, bias: torch.Tensor, branch: str = "positive") -> None:
        self.bias, self.branch, self.asked = bias, branch, 0

    def on(self, grid, entry):
        """The bias, for its branch."""
        self.asked += 1
        return self.bias if entry.branch == self.branch else None


def column(index: int, strength: float, tokens: int = 4) -> torch.Tensor:
    """One column lifted everywhere: (1 1 query token)."""
    bias = torch.zeros(1, 1, GRID.cells, tokens, dtype=torch.float64)
    bias[..., index] = strength
    return bias


def written(layer: OneLayer, *writes: LayerWrite, call: ModelCall = CALL, **more):
    """What the layer gives with these writes, and the writers."""
    with Writers([layer.found], {SITE: writes}, call, **more) as writers:
        return layer(), writers


@pytest.mark.parametrize("strength", [-12.0, -1.0, 0.5, 2.0, 6.0, 12.0])
def test_a_strength_changes_odds_by_exactly_its_exponential(strength: float):
    """Oracle: closed form: share p becomes p e^g / (1 + p (e^g - 1)), the others are divided by the same."""
    layer = OneLayer()
    query, key, value = layer.projected
    share = shares_by_hand(query, key)[..., 1:2]
    grown = share * math.exp(strength) / (1 + share * (math.exp(strength) - 1))
    expected = shares_by_hand(query, key) / (1 + share * (math.exp(strength) - 1))
    expected[..., 1:2] = grown
    joined = (expected @ apart(value)).transpose(1, 2).flatten(2)
    result, _ = written(layer, LayerWrite(bias=Fixed(column(1, strength))))
    assert torch.allclose(result[2:], layer.out(joined)[2:], atol=1e-12)


def test_rows_without_a_bias_stay_the_same_bit_for_bit():
    """Oracle: the layer left alone."""
    layer = OneLayer()
    plain = layer()
    result, writers = written(layer, LayerWrite(bias=Fixed(column(1, 6.0))))
    assert torch.equal(result[:2], plain[:2])
    assert not torch.allclose(result[2:], plain[2:])
    assert not writers.state.skipped


def test_biases_of_several_acts_add_up_in_any_order():
    """Oracle: one act with their sum."""
    layer = OneLayer()
    acts = [LayerWrite(bias=Fixed(column(0, 3.0))), LayerWrite(bias=Fixed(column(2, -2.0)))]
    both = written(layer, *acts)[0]
    assert torch.allclose(both, written(layer, *reversed(acts))[0], atol=1e-12)
    assert torch.allclose(both, written(layer, LayerWrite(bias=Fixed(column(0, 3.0) + column(2, -2.0))))[0], atol=1e-12)


def test_all_columns_lifted_alike_is_no_act():
    """Oracle: the softmax's invariance."""
    layer = OneLayer()
    result, _ = written(layer, LayerWrite(bias=Fixed(torch.full((1, 1, GRID.cells, 4), 5.0, dtype=torch.float64))))
    assert torch.allclose(result, layer(), atol=1e-12)


def test_a_column_at_minus_twelve_is_as_good_as_gone():
    """Oracle: attention without that key; of its share s no more than s e^-12 / (1 - s) is left."""
    layer = OneLayer()
    query, key, value = (each[2:] for each in layer.projected)
    without = by_hand(query, key[:, 1:], value[:, 1:])
    result, _ = written(layer, LayerWrite(bias=Fixed(column(0, -12.0))))
    share = shares_by_hand(query, key)[..., 0].max()
    moved = math.exp(-12) * share / (1 - share) * 2 * value.abs().max()  # of what goes into `to_out`
    widened = layer.around.attention.to_out[0].weight.abs().sum(dim=1).max()
    assert float((result[2:] - layer.out(without)).abs().max()) < float(moved * widened)


def test_a_bias_reaches_a_layer_that_a_replace_patch_owns():
    """Oracle: the owner's form written out: the biased text attention plus what the owner adds."""

    def owner(query, key, value):
        return by_hand(query, key, value) + 0.3 * query

    layer = OneLayer(owner)
    query, key, value = layer.projected
    expected = layer.out(by_hand(query, key, value, column(1, 4.0)) + 0.3 * query)
    result, _ = written(layer, LayerWrite(bias=Fixed(column(1, 4.0))), owned=[SITE])
    assert torch.allclose(result[2:], expected[2:], atol=1e-12)


def test_a_bias_for_each_picture_and_each_head_is_written_where_it_belongs():
    """Oracle: attention written out with the same bias."""
    layer = OneLayer()
    bias = torch.arange(2 * 2 * GRID.cells * 4, dtype=torch.float64).reshape(2, 2, GRID.cells, 4) % 5
    query, key, value = (each[2:] for each in layer.projected)
    result, _ = written(layer, LayerWrite(bias=Fixed(bias)))
    assert torch.allclose(result[2:], layer.out(by_hand(query, key, value, bias)), atol=1e-12)


def test_a_prompt_that_the_host_repeated_is_biased_in_every_copy():
    """Oracle: the prompt alone, once: equal keys share what one had."""
    once, twice = OneLayer(rows=2), OneLayer(rows=2)
    twice.text = once.text.repeat(1, 2, 1)
    short = ModelCall((POSITIVE,), 2, GRID, 0)
    alone, _ = written(once, LayerWrite(bias=Fixed(column(2, 5.0))), call=short)
    longer = Entry("negative", 0, 8)
    both = OneLayer()
    both.features[2:], both.text = twice.features, torch.cat([twice.text, twice.text])
    call = ModelCall((longer, POSITIVE), 2, GRID, 0)
    together, _ = written(both, LayerWrite(bias=Fixed(column(2, 5.0))), call=call)
    assert torch.allclose(together[2:], alone, atol=1e-12)


def test_a_query_and_a_key_that_are_written_are_what_everybody_sees():
    """Oracle: the layer's own function of the new query and key; an observer that was there first sees them."""
    layer, seen = OneLayer(), []
    query, key, value = layer.projected
    with Observers([layer.found], lambda at, q, k, grid: seen.append((q, k, grid))):
        write = LayerWrite(query=lambda given, grid: given + 1, key=lambda given, grid: 2 * given)
        result, _ = written(layer, write)
    assert torch.allclose(result, layer.out(by_hand(query + 1, 2 * key, value)), atol=1e-12)
    assert torch.equal(seen[0][0], query + 1)
    assert torch.equal(seen[0][1], 2 * key)
    assert seen[0][2] == GRID


def test_a_bias_is_written_on_top_of_a_replaced_query():
    """Oracle: both written out."""
    layer = OneLayer()
    query, key, value = layer.projected
    write = LayerWrite(query=lambda given, grid: -given, bias=Fixed(column(3, 2.0)))
    expected = layer.out(by_hand(-query, key, value, column(3, 2.0)))
    assert torch.allclose(written(layer, write)[0][2:], expected[2:], atol=1e-12)


def test_no_write_sets_no_hook_and_leaving_takes_all_hooks_away():
    """Oracle: hooks counted."""
    layer = OneLayer()
    with Writers([layer.found], {}, CALL):
        assert layer.hooks() == 0
    writes = {SITE: [LayerWrite(bias=Fixed(column(0, 1.0)))]}
    with Writers([layer.found], writes, CALL):
        assert layer.hooks() == 5  # the grid, query, key, value, and out
    with pytest.raises(RuntimeError), Writers([layer.found], writes, CALL):
        layer.around(layer.features, layer.text[..., :3])
    assert layer.hooks() == 0
    del layer.around.attention.to_out
    with pytest.raises(AttributeError), Writers([layer.found], writes, CALL):
        pass
    assert layer.hooks() == 0


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (LayerWrite(bias=Fixed(column(0, 1.0, tokens=3))), "input 1 cross: RuntimeError"),
        (LayerWrite(query=lambda given, grid: given[:, :1]), "input 1 cross: ValueError: the query written is"),
        (LayerWrite(key=lambda given, grid: 1 / 0), "input 1 cross: ZeroDivisionError"),
    ],
)
def test_an_act_that_fails_is_counted_and_the_layer_stays_as_it_was(write, said: str, caplog):
    """Oracle: the layer left alone; the reason; one entry in the log."""
    layer = OneLayer()
    plain = layer()
    with caplog.at_level(logging.ERROR):
        result, writers = written(layer, write)
    assert torch.equal(result, plain)
    assert [reason.startswith(said) for reason in writers.state.skipped] == [True]
    assert len(caplog.records) == 1


def test_rows_that_another_patch_multiplied_are_counted_with_their_number():
    """Oracle: the reason; the layer left alone."""
    layer = OneLayer(rows=6)
    plain = layer()
    result, writers = written(layer, LayerWrite(query=lambda given, grid: -given, bias=Fixed(column(0, 2.0))))
    assert torch.equal(result, plain)
    assert dict(writers.state.skipped) == {
        "input 1 cross: another patch changed the batch (6 rows instead of 4)": 1,
        "input 1 cross: another patch changed rows, queries or keys (they are 6 x 12 x 4)": 1,
    }


def test_an_observer_can_ask_for_the_bias_in_the_middle_of_the_call():
    """Oracle: the bias given; none for the other entry; worked out once for a run."""
    layer, asked, bias = OneLayer(), [], Fixed(column(1, 2.0))
    with Writers([layer.found], {SITE: [LayerWrite(bias=bias)]}, CALL) as writers:

        def see(at, query, key, grid) -> None:
            asked.extend(writers.bias_at(at, grid, position, query) for position in range(2))

        with Observers([layer.found], see):
            layer()
            layer()
    assert asked[0] is None
    assert torch.equal(asked[1], column(1, 2.0))
    assert bias.asked == 2


def test_a_share_of_the_steps_is_read_in_whole_steps():
    """Oracle: by hand."""
    assert steps_between(0, 0.5, 20) == range(10)
    assert steps_between(0.7, 1, 10) == range(7, 10)
    assert steps_between(0, 0.01, 20) == range(1)
    assert len(steps_between(0.5, 0.2, 20)) == 0
    with pytest.raises(InputError, match="both have to be shares of the steps, from 0 to 1"):
        steps_between(0, 50, 20)
