"""What a running node says, as the editor shows it."""

from __future__ import annotations

import pytest
from pack.host.editor.messages import TEXT, say_and_keep
from pack.tests.support.host.listening import Listening
from server import PromptServer


def test_what_is_said_is_neither_a_tag_nor_code_to_the_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: by hand: handles keep their brackets, names stand in plain quotes, each line ends as Markdown wants."""
    server = Listening("me")
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    kept = say_and_keep("7", "Write `<cat>`, not `cat`.\nA ` alone stays.")
    shown = "Write '&lt;cat&gt;', not 'cat'.  \nA ` alone stays."
    assert server.events("progress_text") == [{"node": "7", "text": shown}]
    assert kept == {TEXT: [shown]}
