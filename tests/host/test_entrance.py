"""What nodes are handed by links and by the API, where no widget holds it back: each node says which input is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_api.latest import io
from pack.host.entrance import check_inputs, guard
from pack.nodes import NODES
from pack.scenescope.errors import InputError

SOCKETS = [
    pytest.param(node, socket, id=f"{node.__name__}-{socket.id}")
    for node in NODES
    for socket in node.define_schema().inputs
]


def check(sockets: list[Any], **inputs: Any) -> None:
    """The entrance's check, for a node called Test."""
    check_inputs("Test", sockets, inputs)


@pytest.mark.parametrize(("node", "socket"), SOCKETS)
def test_every_input_of_every_node_refuses_what_it_cannot_take(node, socket):
    """Oracle: the sentence, which names node and input, for a thing that is of no socket's type, and for nothing."""
    who = node.define_schema().display_name
    with pytest.raises(InputError, match=rf"^{who}: {socket.id}\S* is .*, but it has to be .*\. .*\.$"):
        check_inputs(
            who, [socket], {socket.id: {"mask0": object()} if isinstance(socket, io.Autogrow.Input) else object()}
        )
    if not socket.optional:
        with pytest.raises(InputError, match=f"^{who}: {socket.id} is missing"):
            check_inputs(who, [socket], {})


@pytest.mark.parametrize(
    "value",
    [-1, 2049, 2**31, pytest.param(10**5000, id="5000 digits"), True, 1.5, "512", float("nan"), [1]],
)
def test_a_number_beyond_the_widgets_bounds_is_refused(value):
    """Oracle: the sentence, short whatever the value."""
    socket = io.Int.Input("size", default=512, min=0, max=2048)
    with pytest.raises(InputError, match=r"but it has to be a whole number from 0 to 2048\. ") as raised:
        check([socket], size=value)
    assert len(str(raised.value)) < 250
    check([socket], size=0)
    check([socket], size=2048)


def test_a_float_takes_whole_numbers_and_no_infinity():
    """Oracle: by hand."""
    socket = io.Float.Input("cfg", default=1.0, min=0.0, max=10.0)
    check([socket], cfg=3)
    for value in (float("nan"), float("inf"), 10.001, "3"):
        with pytest.raises(InputError, match="Test: cfg is"):
            check([socket], cfg=value)


def test_what_sockets_take_is_let_in():
    """Oracle: by hand: pictures, masks, latents, conditionings, texts, choices; and nothing where that is allowed."""
    check([io.Image.Input("a")], a=torch.zeros(1, 8, 8, 3))
    check([io.Mask.Input("a")], a=torch.zeros(8, 8))
    check([io.Latent.Input("a")], a={"samples": torch.zeros(1, 4, 8, 8)})
    check([io.Conditioning.Input("a")], a=[[torch.zeros(1, 77, 768), {}]])
    check([io.String.Input("a")], a="")
    check([io.Combo.Input("a", options=["x", "y"])], a="y")
    check([io.Mask.Input("a", optional=True)], a=None)
    check([io.Mask.Input("a", optional=True)])


def test_a_guarded_node_looks_before_it_runs_and_is_otherwise_as_it_was():
    """Oracle: by hand, as the executor calls it."""

    class Twice(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            inputs = [io.Int.Input("number", default=1, min=0, max=9)]
            return io.Schema(node_id="Twice", display_name="Twice", inputs=inputs, outputs=[io.Int.Output()])

        @classmethod
        def execute(cls, number: int) -> io.NodeOutput:
            return io.NodeOutput(2 * number)

    assert guard(Twice) is Twice
    assert Twice.EXECUTE_NORMALIZED(number=4).result == (8,)
    with pytest.raises(InputError, match="^Twice: number is 10, but it has to be a whole number from 0 to 9"):
        Twice.EXECUTE_NORMALIZED(number=10)
