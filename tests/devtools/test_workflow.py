"""Saved workflows become prompts."""

from __future__ import annotations

import pytest
from pack.devtools.workflow import to_prompt

OBJECT_INFO = {
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"control_after_generate": True}],
                "steps": ["INT", {}],
            },
            "optional": {"name": [["euler", "heun"], {}]},
        },
        "input_order": {"required": ["model", "seed", "steps"], "optional": ["name"]},
    },
    "Loader": {"input": {"required": {"image": [[], {"image_upload": True}], "note": ["STRING", {}]}}},
    "Record": {
        "input": {
            "required": {
                "blocks": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "all", "inputs": {"required": {}}},
                            {"key": "named", "inputs": {"required": {"names": ["STRING", {}], "mask": ["MASK", {}]}}},
                        ]
                    },
                ],
                "masks": ["COMFY_AUTOGROW_V3", {"template": {"prefix": "mask"}}],
                "budget": ["FLOAT", {}],
            }
        },
    },
}


def node(node_id, kind, values, inputs=(), **more):
    return {"id": node_id, "type": kind, "widgets_values": values, "inputs": list(inputs), **more}


def test_widgets_are_read_in_order_and_the_seed_control_is_dropped():
    """Oracle: written by hand."""
    sampler = node(7, "Sampler", [42, "randomize", 20, "heun"], [{"name": "model", "type": "MODEL", "link": 3}])
    loader = node(1, "Loader", ["cat.png", "image", "hello"])
    prompt = to_prompt({"nodes": [sampler, loader], "links": [[3, 1, 0, 7, 0, "MODEL"]]}, OBJECT_INFO)
    assert prompt == {
        "7": {"class_type": "Sampler", "inputs": {"seed": 42, "steps": 20, "name": "heun", "model": ["1", 0]}},
        "1": {"class_type": "Loader", "inputs": {"image": "cat.png", "note": "hello"}},
    }


def test_a_widget_with_a_link_keeps_its_place_among_the_values():
    """Oracle: written by hand. The value stays in the file when a link takes its place."""
    slots = [{"name": "model", "link": None}, {"name": "steps", "link": 9, "widget": {"name": "steps"}}]
    prompt = to_prompt(
        {"nodes": [node(7, "Sampler", [1, "fixed", 20, "euler"], slots)], "links": [[9, 4, 1]]}, OBJECT_INFO
    )
    assert prompt["7"]["inputs"] == {"seed": 1, "steps": ["4", 1], "name": "euler"}


def test_dynamic_and_growing_inputs_get_dotted_names():
    """Oracle: the keys that the server was seen to take (0.33.0): `blocks.names`, `masks.mask0`."""
    slots = [
        {"name": "blocks.mask", "link": 5},
        {"name": "masks.mask0", "link": 5},
        {"name": "masks.mask1", "link": None},
    ]
    prompt = to_prompt({"nodes": [node(2, "Record", ["named", "mid", 0.5], slots)], "links": [[5, 1, 0]]}, OBJECT_INFO)
    assert prompt["2"]["inputs"] == {
        "blocks": "named",
        "blocks.names": "mid",
        "blocks.mask": ["1", 0],
        "masks.mask0": ["1", 0],
        "budget": 0.5,
    }


def test_notes_are_left_out():
    """Oracle: an invariant."""
    assert to_prompt({"nodes": [node(1, "MarkdownNote", ["read me"])], "links": []}, OBJECT_INFO) == {}


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (node(3, "Gone", []), "node 3 .Gone.: the server does not know this node"),
        (node(3, "Sampler", [1, 2], mode=4), "it is muted or bypassed .mode 4"),
        (node(3, "Loader", ["cat.png", "image", "hello", "more"]), "1 of its values belong to no widget"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(faulty, said):
    """Oracle: the message names the node and the fault."""
    with pytest.raises(ValueError, match=said):
        to_prompt({"nodes": [faulty], "links": []}, OBJECT_INFO)
