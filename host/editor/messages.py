"""What a running node shows on the screen."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from comfy_execution.graph_utils import ExecutionBlocker
from server import PromptServer
from torch import Tensor

from ...scenescope.errors import SceneScopeError

TEXT = "scenescope_text"
"""Which `ui` output keeps a node's text."""


def say_on_node(node: str | None, text: str) -> None:
    """Show a line of text on a node of the front end that queued the prompt, where a server and the node are there.

    Source: host contract, ComfyUI 0.33 `server.PromptServer.send_progress_text`; the editor shows the text as HTML, in
    which `<asset0>` would be a tag and vanish, and in the Vue renderer as Markdown, where two spaces keep a line break.
    Sent to everyone, it would also appear in every other tab.

    Args:
        node: the node's execution id, None for no node.
        text: what to show; replaces what was there.
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None and node is not None:
        server.send_progress_text(_as_shown(text), node, sid=server.client_id)


def _as_shown(text: str) -> str:
    """The Vue renderer would write what is in backticks in a blue that cannot be read on a node: 2.4:1 and less."""
    return escape(re.sub(r"`([^`\n]+)`", r"'\1'", text), quote=False).replace("\n", "  \n")


def say_and_keep(node: str | None, text: str) -> dict[str, list[str]]:
    """Show a text on a node now, and return what its `ui` keeps of it, for the editor to show again.

    Source: host contract, ComfyUI 0.33: progress texts are sent while a node runs and kept nowhere; `ui` outputs stay
    in the history, and are sent again for nodes that don't run again.
    """
    say_on_node(node, text)
    return {TEXT: [_as_shown(text)]}


def name_errors_for_people() -> None:
    """Let the editor show an error of the pack by its name alone, without the path of a module before it.

    Source: host contract, ComfyUI 0.33 `execution.full_type_name`: module and name are joined, but for built-in errors.
    """
    waiting: list[type[SceneScopeError]] = [SceneScopeError]
    while waiting:
        error = waiting.pop()
        error.__module__ = "builtins"
        waiting += error.__subclasses__()


def somebody_looks(node: str | None) -> bool:
    """Whether the front end that queued the prompt is connected.

    Source: host contract, ComfyUI 0.33 `server.PromptServer`: `client_id` is that of the running prompt, `sockets` are
    the open connections by client.
    """
    server = getattr(PromptServer, "instance", None)
    return node is not None and server is not None and server.client_id in server.sockets


def tell_front_end(event: str, node: str | None, payload: Mapping[str, Any]) -> None:
    """Send an event to the front end that queued the prompt, with the node's execution id as `node`."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node is not None:
        server.send_sync(event, {"node": node, **payload}, server.client_id)


def withheld(message: str) -> ExecutionBlocker:
    """What an output gives if it has nothing: a node that asks for it stops and shows the message.

    Source: host contract, ComfyUI 0.33 `execution.get_output_data`.
    """
    return ExecutionBlocker(message)


def map_text(values: Tensor, top: float) -> dict[str, Any]:
    """A small map as events carry it.

    Args:
        values: (height width) float, 0..top.
        top: what 255 stands for; 0 makes all cells 0.

    Returns:
        `grid`: [height, width]; `top`; `cells`: base64 of a byte for each cell, row by row.

    >>> import torch
    >>> map_text(torch.tensor([[0.0, 0.5]]), 0.5)
    {'grid': [1, 2], 'top': 0.5, 'cells': 'AP8='}
    """
    shares = np.nan_to_num(values.float().cpu().numpy()) * (255 / top if top > 0 else 0.0)
    cells = np.clip(np.rint(shares), 0, 255).astype(np.uint8).tobytes()
    return {"grid": list(values.shape), "top": top, "cells": b64encode(cells).decode()}
