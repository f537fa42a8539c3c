"""The web tier: the pack's panels in a real editor, in a real browser, in both of the editor's node renderers."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from pack.devtools.browser import HOW_TO_GET_ONE as HOW_TO_GET_A_BROWSER
from pack.devtools.browser import find_browser
from pack.devtools.comfyui import HOW_TO_GET_ONE, ROOT, find_comfyui
from pack.devtools.server import Place, Server
from pack.tests.web.editor import Editor
from pack.tests.web.painter.painter import GRAPH, HEIGHT, WIDTH, Painter
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ARTIFACTS = ROOT / "artifacts" / "web"  # screenshots of what failed; git ignores the folder
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-proxy-server"]
# What has run once is not run again, whatever ran between and however full the machine's memory is: by itself the host
# forgets all but the last workflow's results. A test that needs a real run has a seed of its own.
OPTIONS = ("--cpu", "--cache-lru", "500")
# The host's own files have a hash of their content in their names; kept by the browser, with what it has compiled, a
# page opens again in less work. The pack's files have none: they come from the server each time, as they do for users.
KEEPING = """
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


async def keep(request, response):
    if request.path.startswith("/assets/"):
        response.headers["Cache-Control"] = "max-age=86400"


PromptServer.instance.app.on_response_prepare.append(keep)
"""
PASSED = pytest.StashKey[bool]()
RENDERERS = {"classic": False, "vue": True}  # the setting Comfy.VueNodes.Enabled
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.UseNewMenu": "Top",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Locale": "en",
    "Comfy.OnboardingCoachmarks.Seen": ["appMode"],
}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One ComfyUI on the CPU with this pack alone, and a script that lets the browser keep what never changes."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise pytest.UsageError(f"tests/web: no ComfyUI was found; these tests need one. {HOW_TO_GET_ONE}")
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "keep_assets.py").write_text(KEEPING, "utf-8")
    with Server(Place(comfyui, Path(sys.executable), base, OPTIONS)) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    path = find_browser()
    if path is None:
        raise pytest.UsageError(f"tests/web: no Chromium was found; these tests need one. {HOW_TO_GET_A_BROWSER}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=RENDERERS)
def opened(served: Server, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """The editor, opened once for each renderer; tests take it through `editor`."""
    served.post("/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": RENDERERS[request.param]})
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, accept_downloads=True)
    editor = Editor(context.new_page(), served, request.param)
    editor.open()
    yield editor
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a test's call went, for `editor`."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def editor(opened: Editor, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """The editor; what stands on its screen when a test fails is kept, and an error in its console fails the test."""
    opened.errors.clear()
    opened.alone()
    yield opened
    opened.drawn()  # what the test did last, with the errors that come of it
    if opened.errors or not request.node.stash.get(PASSED, False):
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w-]+", "_", request.node.name.removeprefix("test_")).strip("_")
        opened.page.screenshot(path=ARTIFACTS / f"{name}.png")
        opened.server.post("/queue", {"clear": True})  # what it left running is not waited for by the tests after it
        opened.server.post("/interrupt", {})
        opened.server_idle()
    assert opened.errors == []


@pytest.fixture
def photo(editor: Editor) -> str:
    """A picture in the input folder."""
    pixels = np.full((HEIGHT, WIDTH, 3), (120, 150, 180), np.uint8)
    pixels[60:160, 40:140], pixels[90:200, 190:290] = (200, 60, 50), (60, 140, 70)
    Image.fromarray(pixels).save(editor.server.place.base / "input" / "photo.png")
    return "photo.png"


@pytest.fixture
def painter(editor: Editor, photo: str) -> Painter:
    """A new Build Scene behind a Load Image."""
    editor.away()
    editor.page.evaluate(GRAPH, [photo, True])
    painter = Painter(editor)
    painter.look()
    return painter
