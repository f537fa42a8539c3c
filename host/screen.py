"""What a running node says on the screen."""

from __future__ import annotations

from html import escape

from server import PromptServer


def say_on_node(node: str | None, text: str) -> None:
    """Show a line of text on a node, where a server and the node are there.

    Source: host contract, ComfyUI 0.33 `server.PromptServer.send_progress_text`; the editor shows the text as HTML, in
    which `<asset0>` would be a tag and vanish.

    Args:
        node: the node's execution id, None for no node.
        text: what to show; replaces what was there.
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None and node is not None:
        server.send_progress_text(escape(text, quote=False), node)
