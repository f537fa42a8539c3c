"""A server that only listens: it keeps what nodes tell the front end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Listening:
    """As much of ComfyUI's `PromptServer` as nodes talk to.

    Args:
        client: the client that queued the prompt, which is connected.
    """

    def __init__(self, client: str) -> None:
        self.client_id: str | None = client
        self.sockets: dict[str, object] = {client: object()}
        self.sent: list[tuple[str, Mapping[str, Any], str | None]] = []
        self.fail_on = ""

    def send_sync(self, event: str, data: Mapping[str, Any], sid: str | None = None) -> None:
        """Keep an event."""
        if event == self.fail_on:
            raise OSError("the connection is gone")
        self.sent.append((event, data, sid))

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None:
        """Keep a line of text."""
        self.sent.append(("progress_text", {"node": node_id, "text": text}, sid))

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """The data of the events of a name."""
        return [data for event, data, _ in self.sent if event == name]
