"""Attention layers found in a model, and blocks chosen by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.attention.record.choices import choose_blocks
from pack.scenescope.attention.record.layers import AttentionLayer, find_layers
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, SelectionError
from pack.tests.support.toy import toy_unet

BLOCKS = ["input 1", "input 3", "input 3.1", "middle 0", "output 0", "output 2"]
LAYERS = tuple(item.layer for item in find_layers(toy_unet()))
choices = st.lists(st.sampled_from(["all", "down", "mid", "middle", "up", *BLOCKS]), min_size=1)


def test_sites_are_found_in_the_order_in_which_they_run():
    """Oracle: the toy's own layout, by hand; its middle block has no cross-attention."""
    found = find_layers(toy_unet())
    assert [item.layer.name for item in found if item.layer.kind == "cross"] == [
        "input 1 cross",
        "input 3 cross",
        "input 3.1 cross",
        "output 0 cross",
        "output 2 cross",
    ]
    assert [item.layer.block for item in found if item.layer.kind == "self"] == BLOCKS
    assert [item.layer.order for item in found if item.layer.kind == "self"] == [0, 1, 2, 3, 4, 5]
    assert {(item.layer.heads, item.layer.head_width) for item in found} == {(2, 4)}


def test_places_and_levels_follow_the_u():
    """Oracle: by hand; output 0 takes the skip of input 3, output 2 that of input 1."""
    places = {layer.block: (layer.place, layer.level) for layer in LAYERS}
    assert places == {
        "input 1": ("down", 0),
        "input 3": ("down", 1),
        "input 3.1": ("down", 1),
        "middle 0": ("middle", 1),
        "output 0": ("up", 1),
        "output 2": ("up", 0),
    }


def test_the_grid_of_a_site_is_the_one_its_features_have():
    """Oracle: feature maps of a real pass over a 5x7 latent, seen by hooks of this test."""
    unet, seen = toy_unet(), {}
    found = find_layers(unet)
    for item in found:
        item.transformer.register_forward_pre_hook(
            lambda _, args, block=item.layer.block: seen.__setitem__(block, tuple(args[0].shape[-2:]))
        )
    unet(torch.zeros(1, 4, 5, 7), torch.zeros(1, 3, 6))
    assert {item.layer.block: item.layer.grid(Grid(5, 7)) for item in found} == seen
    assert seen["middle 0"] == (3, 4)


def test_the_modules_at_hand_are_the_models_own():
    """Oracle: identity."""
    unet = toy_unet()
    found = {(item.layer.block, item.layer.kind): item for item in find_layers(unet)}
    deep = unet.input_blocks[3][0]
    assert found["input 3.1", "cross"].attention is deep.transformer_blocks[1].attn2
    assert found["input 3.1", "self"].attention is deep.transformer_blocks[1].attn1
    assert found["input 3.1", "self"].transformer is deep
    assert found["middle 0", "self"].transformer is unet.middle_block[1]


def test_one_kind_alone_keeps_the_numbering_of_both():
    """Oracle: the layers of both kinds, filtered."""
    for kind in ("cross", "self"):
        alone = [item.layer for item in find_layers(toy_unet(), kinds=[kind])]
        assert alone == [layer for layer in LAYERS if layer.kind == kind]


def test_a_model_that_is_no_u_net_is_refused_with_a_way_out():
    """Oracle: the message."""
    with pytest.raises(HostError, match=r"Sequential\) has no transformer blocks.*leave it uncompiled"):
        find_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("all", BLOCKS),
        ("", BLOCKS),
        ("down", BLOCKS[:3]),
        ("Mid", ["middle 0"]),
        ("middle+up", BLOCKS[3:]),
        ("in3", ["input 3"]),
        ("input_3.1; out 2", ["input 3.1", "output 2"]),
        ("output 0,\n mid 0,", ["middle 0", "output 0"]),
    ],
)
def test_blocks_are_read_as_people_write_them(text: str, blocks: list[str]):
    """Oracle: by hand."""
    assert choose_blocks(text, LAYERS) == set(blocks)


@given(choices, st.sampled_from([",", " , ", "+", ";", "\n"]))
def test_a_list_chooses_what_its_parts_choose(parts: list[str], between: str):
    """Oracle: an invariant: the union of the parts; and every name chooses itself."""
    chosen = choose_blocks(between.join(parts), LAYERS)
    assert chosen == frozenset().union(*(choose_blocks(part, LAYERS) for part in parts))
    assert {part for part in parts if part in BLOCKS} <= chosen <= set(BLOCKS)


@given(st.text(max_size=12))
def test_any_text_gives_blocks_of_the_model_or_the_packs_own_error(text: str):
    """Oracle: an invariant; never an empty choice, which would record nothing."""
    try:
        chosen = choose_blocks(text, LAYERS)
    except SelectionError:
        return
    assert chosen
    assert chosen <= set(BLOCKS)


@pytest.mark.parametrize(("text", "named"), [("input 2", "input 2"), ("down, inputs", "inputs"), ("mid 1", "mid 1")])
def test_a_block_that_is_not_there_is_named_with_those_that_are(text: str, named: str):
    """Oracle: the message."""
    with pytest.raises(SelectionError, match=f"'{named}' is not a block.*input 1, input 3, input 3.1, middle 0"):
        choose_blocks(text, LAYERS)


def test_naming_no_block_is_refused():
    """Oracle: the message; it would record nothing in silence."""
    with pytest.raises(SelectionError, match="names no block. Write all, down, mid, up"):
        choose_blocks(" , ", LAYERS)


def test_a_place_that_the_model_lacks_is_refused():
    """Oracle: the message."""
    with pytest.raises(SelectionError, match="'up' is not a block of this model"):
        choose_blocks("up", [AttentionLayer(0, "input 1", "down", "cross", 0, 8, 40)])
