"""The shape log: what the probe reads, and how it is written down."""

from __future__ import annotations

import csv
import gc
import io
import json
import weakref
from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.record.block_shapes import AttentionShape, BlockShape, ShapeProbe
from pack.scenescope.attention.record.layers import AttentionLayer, LayerModules
from pack.scenescope.attention.shapes.tables import shape_csv, shape_json, shape_markdown
from torch import nn

HEADS, WIDTH, TEXT = 2, 8, 6


class Attention(nn.Module):
    """Queries, keys, and no kernel: what the probe needs of an attention layer."""

    def __init__(self, keys_from: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_k = nn.Linear(keys_from, WIDTH)
        self.seen: list[weakref.ref[torch.Tensor]] = []

    def forward(self, x, keys):
        query, key = self.to_q(x), self.to_k(keys)
        self.seen += [weakref.ref(query), weakref.ref(key)]
        return query + key.mean(1, keepdim=True)


class Transformer(nn.Module):
    """One feature map in, one out, and some blocks of a cross and a self layer between."""

    def __init__(self, blocks: int = 1) -> None:
        super().__init__()
        self.cross = nn.ModuleList([Attention(TEXT) for _ in range(blocks)])
        self.own = nn.ModuleList([Attention(WIDTH) for _ in range(blocks)])

    def forward(self, x, text):
        rows = x.flatten(2).mT
        for cross, own in zip(self.cross, self.own, strict=True):
            rows = cross(own(rows, rows), text)
        return rows.mT.unflatten(2, x.shape[2:])

    def found(self, order: int = 0, name: str = "input 7", level: int = 2) -> tuple[LayerModules, ...]:
        return tuple(
            LayerModules(
                AttentionLayer(order + i, name + (f".{i}" if i else ""), "down", kind, level, HEADS, WIDTH // HEADS),
                layer,
                self,
            )
            for i, pair in enumerate(zip(self.cross, self.own, strict=True))
            for kind, layer in zip(("cross", "self"), pair, strict=True)
        )


def inputs(device="cpu", batch=3, height=5, width=4, tokens=7, dtype=torch.float32):
    kind = {"device": device, "dtype": dtype}
    return torch.zeros(batch, WIDTH, height, width, **kind), torch.zeros(batch, tokens, TEXT, **kind)


def hooks(transformer: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in transformer.modules())


def block(name="input 7", place="down", level=2, side=16, channel=1280, dtype="float16", batch=1, order=4):
    """A block of SD1.5 as it is at 512x512, worked out by hand: side * side queries, 77 keys, 8 heads."""
    features = (batch, channel, side, side)
    query = (batch, side * side, channel)
    layers = (
        AttentionShape("cross", query, (batch, 77, channel), 8, channel // 8),
        AttentionShape("self", query, query, 8, channel // 8),
    )
    return BlockShape(order, name, place, features, features, dtype, layers, level)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_probe_reads_every_shape_of_a_call(device, dtype):
    """Oracle: shapes worked out by hand for a batch of 3, a 5x4 feature map and 7 tokens, with and without numbers."""
    transformer = Transformer().to(device, dtype)
    with ShapeProbe(transformer.found()) as probe:
        transformer(*inputs(device, dtype=dtype))
    (row,) = probe.rows()
    cross = AttentionShape("cross", (3, 20, 8), (3, 7, 8), 2, 4)
    own = AttentionShape("self", (3, 20, 8), (3, 20, 8), 2, 4)
    name = str(dtype).removeprefix("torch.")
    assert row == BlockShape(0, "input 7", "down", (3, 8, 5, 4), (3, 8, 5, 4), name, (cross, own), 2)
    assert (row.grid, row.tokens, cross.map) == ((5, 4), 7, (3, 2, 20, 7))
    assert probe.missing() == ()


def test_blocks_of_one_transformer_share_its_feature_map():
    """Oracle: SDXL's layout by hand: two blocks, one transformer, two rows with the same feature map."""
    transformer = Transformer(blocks=2)
    with ShapeProbe(transformer.found(order=3)) as probe:
        transformer(*inputs())
    assert [(row.order, row.block, row.features_in) for row in probe.rows()] == [
        (3, "input 7", (3, 8, 5, 4)),
        (4, "input 7.1", (3, 8, 5, 4)),
    ]


def test_only_the_first_call_is_read():
    """Oracle: an invariant; a second call of another size changes nothing."""
    transformer = Transformer()
    with ShapeProbe(transformer.found()) as probe:
        transformer(*inputs())
        first = probe.rows()
        transformer(*inputs(batch=1, height=9, tokens=14))
    assert probe.rows() == first
    assert first[0].tokens == 7


def test_a_call_of_to_k_by_somebody_else_is_not_taken_for_the_layers_own():
    """Oracle: keys of 4 before and of 9 after the layer's own 7, as packs that add keys call them."""
    transformer = Transformer()
    with ShapeProbe(transformer.found()) as probe:
        transformer.cross[0].to_k(torch.zeros(3, 4, TEXT))
        transformer(*inputs())
        transformer.cross[0].to_k(torch.zeros(3, 9, TEXT))
    assert probe.rows()[0].tokens == 7


def test_a_replaced_attention_is_read_as_long_as_it_projects():
    """Oracle: by hand. The host's replace patches call to_q and to_k and leave out the layer's forward."""
    transformer = Transformer()
    cross, own = transformer.cross[0], transformer.own[0]
    cross.forward = lambda x, text: cross.to_q(x) + cross.to_k(text).sum()
    own.forward = lambda x, _: x
    with ShapeProbe(transformer.found()) as probe:
        transformer(*inputs())
    (row,) = probe.rows()
    assert [layer.kind for layer in row.attention] == ["cross"]
    assert row.tokens == 7
    assert probe.missing() == ("input 7 self",)


def test_nothing_stays_behind_when_the_body_ends_or_fails():
    """Oracle: the number of hooks before, inside and after."""
    transformer = Transformer()
    with ShapeProbe(transformer.found()):
        assert hooks(transformer) == 5  # two layers with to_q and to_k, one transformer
    assert hooks(transformer) == 0
    with pytest.raises(ZeroDivisionError), ShapeProbe(transformer.found()):
        raise ZeroDivisionError
    assert hooks(transformer) == 0


def test_nothing_stays_behind_when_entering_fails_half_way():
    """Oracle: the number of hooks after a second layer turns out to have no to_k."""
    transformer = Transformer()
    del transformer.own[0].to_k
    with pytest.raises(AttributeError), ShapeProbe(transformer.found()):
        transformer(*inputs())
    assert hooks(transformer) == 0


def test_no_tensor_is_kept():
    """Oracle: weak references to every query and key are dead while the probe and its rows live."""
    transformer = Transformer()
    with torch.no_grad(), ShapeProbe(transformer.found()) as probe:
        transformer(*inputs())
        gc.collect()
        seen = transformer.cross[0].seen + transformer.own[0].seen
        assert len(seen) == 4
        assert all(reference() is None for reference in seen)
    assert probe.rows()


def test_bytes_of_a_map_are_those_of_the_features_type():
    """Oracle: by hand. 8 heads x 4096 x 4096 x 2 bytes = 268,435,456; twice that in single precision, and for two."""
    row = block("input 1", side=64, channel=320, level=0)
    own, cross = row.layer("self"), row.layer("cross")
    assert row.map_bytes(own) == 268_435_456
    assert row.map_bytes(cross) == 8 * 4096 * 77 * 2
    assert replace(row, dtype="float32").map_bytes(own) == 536_870_912
    pair = block("input 1", side=64, channel=320, level=0, batch=2)
    assert pair.map_bytes(pair.layer("self")) == 536_870_912


def test_the_loss_reads_both_arms_on_a_quarter_of_the_latent_and_not_the_middle():
    """Oracle: by hand; Break-a-Scene's 16x16 maps at 512x512, from the down and the up arm."""
    assert block().read_by_loss
    assert block("output 3", "up").read_by_loss
    assert not block("input 4", level=1).read_by_loss
    assert not block("middle 0", "middle", level=2).read_by_loss
    assert not replace(block(), attention=block().attention[1:]).read_by_loss


def test_the_markdown_is_a_table_with_every_number():
    """Oracle: the line of `input 7`, written by hand; every line has as many cells as the titles."""
    text = shape_markdown([block(), block("middle 0", "middle", 3, 8, order=5)], "From the model.")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("From the model.\n\n| block |")
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == (
        "| input 7 | down | 1 x 1280 x 16 x 16 | 77 | 8 x 160 | 1 x 256 x 1280 | 1 x 77 x 1280 | 1 x 8 x 256 x 77 "
        "| 315.4 kB | 1 x 256 x 1280 | 1 x 256 x 1280 | 1 x 8 x 256 x 256 | 1.0 MB | 1 x 1280 x 16 x 16 | float16 | ● |"
    )
    assert lines[3].endswith("| float16 |  |")


def test_a_block_with_one_layer_still_fills_the_tables():
    """Oracle: by hand; a block whose self layer did not run."""
    row = replace(block(), attention=block().attention[:1])
    lines = [line for line in shape_markdown([row]).splitlines() if line.startswith("|")]
    assert lines[2].count("|") == lines[0].count("|")
    assert list(json.loads(shape_json([row]))["blocks"][0]["attention"]) == ["cross"]


def test_the_json_says_its_format_and_the_bytes_exactly():
    """Oracle: by hand for `input 7`: 8 x 256 x 77 x 2 bytes."""
    log = json.loads(shape_json([block()]))
    entry = log["blocks"][0]
    assert log["format"] == 1
    assert entry["features_in"] == [1, 1280, 16, 16]
    assert entry["attention"]["cross"] == {
        "heads": 8,
        "head_width": 160,
        "query": [1, 256, 1280],
        "key": [1, 77, 1280],
        "value": [1, 77, 1280],
        "map": [1, 8, 256, 77],
        "map_bytes": 315_392,
    }
    assert entry["read_by_attention_loss"] is True


def test_the_csv_has_a_line_for_each_layer_and_bare_numbers():
    """Oracle: the standard library's reader, and numbers by hand."""
    lines = list(csv.DictReader(io.StringIO(shape_csv([block(), block("middle 0", "middle", 3, 8, order=5)]))))
    assert [(line["block"], line["kind"]) for line in lines] == [
        ("input 7", "cross"),
        ("input 7", "self"),
        ("middle 0", "cross"),
        ("middle 0", "self"),
    ]
    first = lines[0]
    assert (first["queries"], first["keys"], first["map_bytes"]) == ("256", "77", "315392")
    assert [line["read_by_attention_loss"] for line in lines] == ["1", "0", "0", "0"]
    assert None not in first
    assert None not in first.values()
