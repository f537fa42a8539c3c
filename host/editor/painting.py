"""Whether a painting is still in the input folder: the page that shows it asks before a run, and sends it again."""

from __future__ import annotations

from aiohttp import web
from server import PromptServer

from ...scenescope.errors import SceneScopeError
from ..paths import chosen_file

PLACE = "/scenescope/painting"


def serve_paintings() -> None:
    """Let the server answer `GET /scenescope/painting?name=...` with `{"there": true}` or false, never with 404.

    Source: host contract, ComfyUI 0.33 `server.PromptServer.routes`, which are added to the server after all nodes are
    loaded. A picture that is asked for and is not there would stand as an error in the browser's console.
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.get(PLACE)(_answer)


async def _answer(request: web.Request) -> web.Response:
    return web.json_response({"there": is_there(request.query.get("name", ""))})


def is_there(name: str) -> bool:
    """Whether a painting, as Build Scene's widget names it, is a file in the input folder."""
    try:
        chosen_file(name, ".png", ("input",), who="Build Scene")
    except SceneScopeError:
        return False
    return True
