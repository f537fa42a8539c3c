"""Log-odds in self-attention, written by extra channels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.act.acts import LayerWrite, ModelCall
from pack.scenescope.attention.act.attend import attend, attend_with_channels
from pack.scenescope.attention.act.place import Place
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.act.writer import Writers
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.layers import LayerModules
from pack.scenescope.attention.record.recording import Entry
from pack.scenescope.attention.record.scores import OuterBias, attention_in_chunks
from pack.scenescope.dims import Grid
from pack.tests.support.layer import GRID, SITE, OneLayer, by_hand
from pack.tests.support.recordings import entry, layers

OWN = replace(SITE, kind="self")
NEGATIVE, POSITIVE = Entry("negative", 0, 4), Entry("positive", 0, 4)
CALL = ModelCall((NEGATIVE, POSITIVE), 2, GRID, 0)
CELLS = GRID.cells


class Sides:
    """Factors given by hand, for the positive entry."""

    def __init__(self, query: torch.Tensor, key: torch.Tensor) -> None:
        self.bias = OuterBias(query, key)

    def factors(self, grid, entry):
        """The factors."""
        return self.bias if entry.branch == "positive" else None


def sides(seed: int, rank: int = 1) -> Sides:
    """Random factors (1 query rank)."""
    noise = torch.Generator().manual_seed(seed)
    return Sides(*(torch.randn(1, CELLS, rank, generator=noise, dtype=torch.float64) for _ in range(2)))


def written(layer: OneLayer, *acts: Sides, **more):
    """What the layer gives with these acts, and the writers: its keys are the picture's own twelve cells."""
    writes = {OWN: [LayerWrite(self_bias=act) for act in acts]}
    found = LayerModules(OWN, layer.around.attention, layer.around)
    with Writers([found], writes, CALL, **more) as writers:
        return layer(), writers


def mask_of(*acts: Sides) -> torch.Tensor:
    """The whole bias (query key) in double precision."""
    return sum(act.bias.query[0] @ act.bias.key[0].T for act in acts)


@pytest.mark.parametrize("acts", [[sides(1)], [sides(1), sides(2, 3)], [sides(3, 9)]])
def test_factors_are_written_as_the_mask_that_they_stand_for(acts):
    """Oracle: exponentials over their sum with the whole mask, in double precision; other rows bit for bit."""
    layer = OneLayer(tokens=CELLS)
    plain, (result, writers) = layer(), written(layer, *acts)
    query, key, value = layer.projected
    expected = layer.out(by_hand(query, key, value, mask_of(*acts)))
    assert torch.allclose(result[2:], expected[2:], atol=1e-10)
    assert torch.equal(result[:2], plain[:2])
    assert not writers.state.skipped
    assert layer.hooks() == 0


def test_beside_an_owner_the_difference_that_the_factors_make_is_added():
    """Oracle: the owner's own part and self-attention with the mask, written out."""
    layer = OneLayer(owner=lambda q, k, v: by_hand(q, k, v) + 0.3 * q, tokens=CELLS)
    result, _ = written(layer, sides(1), owned=[OWN])
    query, key, value = layer.projected
    expected = layer.out(by_hand(query, key, value, mask_of(sides(1))) + 0.3 * query)
    assert torch.allclose(result[2:], expected[2:], atol=1e-10)


def test_a_layer_whose_cells_another_patch_merged_is_passed_over_and_counted():
    """Oracle: the layer left alone; the reason."""
    layer = OneLayer(tokens=CELLS - 2)
    plain, (result, writers) = layer(), written(layer, sides(1))
    assert torch.equal(result, plain)
    assert "another patch changed rows, queries or keys" in next(iter(writers.state.skipped))


def test_a_recorder_sees_the_maps_with_the_bias():
    """Oracle: the softmax with the whole mask; a chunk of a few queries at a time."""
    layer, act = OneLayer(tokens=CELLS), sides(1, 2)
    query, key, _ = layer.projected
    whole = torch.cat([maps for _, maps in attention_in_chunks(query, key, 2, bias=mask_of(act)[None, None])], dim=2)
    chunks = attention_in_chunks(query, key, 2, bias=act.bias, chunk_bytes=4 * 2 * 4 * CELLS * 5)
    parts = [maps for _, maps in chunks]
    assert len(parts) > 1
    assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-6)


@pytest.mark.parametrize("strength", [2.0, 12.0])
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_near_as_the_mask(precision, strength):
    """Oracle: single precision; at most four times the error of the same bias as a mask, also at the largest strength,
    where shares are all or nothing.
    """
    noise = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 64, 80, generator=noise) for _ in range(3))
    side = torch.ones(1, 64, 1)
    side[:, 32:] = -1
    bias = OuterBias(side * strength**0.5, side * strength**0.5)
    wanted = attend(query, key, value, 2, bias.rows(slice(None)))
    half = [each.to(precision) for each in (query, key, value)]
    masked = attend(*half, 2, bias.rows(slice(None)).to(precision)).float()
    own = attend_with_channels(*half, 2, bias).float()
    assert own.isfinite().all()
    assert float((own - wanted).abs().max()) < 4 * float((masked - wanted).abs().max()) + 1e-4


def test_cells_on_one_side_of_a_place_are_drawn_together_and_across_its_edge_apart():
    """Oracle: by hand: +1 where both cells are inside or both outside, -1 across; 0 with a cell that is half inside."""
    mask = torch.zeros(2, 3)
    mask[:, 0], mask[:, 1] = 1.0, 0.5
    prompt, latent = entry("a red cat"), Grid(2, 3)
    steering = Steering("cat", 0.0, place=Place(mask), together=1.0, end=0.5)
    run = RunSpec(layers(kinds=("cross", "self")), latent, 1, (3.0, 2.0, 1.0), (prompt,))
    act = steering.begin(run)
    own = next(layer for layer in run.layers if layer.kind == "self" and layer.level == 0)
    cross = next(layer for layer in run.layers if layer.kind == "cross")
    write = act.write(own, ModelCall((prompt,), 1, latent, 0))
    row = [1.0, 0.0, -1.0]
    wanted = torch.tensor([[a * b for _ in range(2) for b in row] for _ in range(2) for a in row])
    assert torch.equal(write.self_bias.factors(latent, prompt).rows(slice(None))[0, 0], wanted)
    pulled = replace(steering, together=-1.0).begin(run).write(own, ModelCall((prompt,), 1, latent, 0))
    assert torch.equal(pulled.self_bias.factors(latent, prompt).rows(slice(None))[0, 0], -wanted)
    assert act.write(cross, ModelCall((prompt,), 1, latent, 0)) is None
    assert act.write(own, ModelCall((prompt,), 1, latent, 1)) is None
    assert replace(steering, together=0.0).begin(run).write(own, ModelCall((prompt,), 1, latent, 0)) is None
