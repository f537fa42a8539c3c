"""A real editor in a real browser, driven by what a person can do."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pack.devtools.comfyui import ROOT
from pack.devtools.server import Server
from playwright.sync_api import ConsoleMessage, ElementHandle, Page

ASKED_FIRST = re.compile(r"/docs/\w+/en\.md ")
OPENING = 300_000  # milliseconds, as a server has: more than a minute was seen where twenty programs share two cores
# The wheel turns until the editor has its nodes and its workflow again; before it has begun there is no `app`.
READY = "() => window.app?.graph && window.app.extensionManager?.spinner === false"
# Notes which prompts this page has queued, and of which it has been told that they ended. Later than the panels are.
# Of what ended while the connection was lost nobody tells it afterwards: by then the server's queue has it no longer.
LISTEN = """
() => {
  const [asked, ended] = [new Set(), new Set()];
  const ask = app.api.queuePrompt;
  app.api.queuePrompt = async function (...args) {
    const answer = await ask.apply(this, args);
    asked.add(answer.prompt_id);
    return answer;
  };
  for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
    app.api.addEventListener(kind, event => ended.add(event.detail.prompt_id));
  app.api.addEventListener('reconnected', async () => {
    const known = [...asked];
    const queue = await (await app.api.fetchApi('/queue', { cache: 'no-store' })).json();
    const left = [...queue.queue_running, ...queue.queue_pending].map(([, prompt]) => prompt);
    for (const prompt of known) if (!left.includes(prompt)) ended.add(prompt);
  });
  window.scenescopeToldAll = () => [...asked].every(prompt => ended.has(prompt));
}
"""
# Each workflow gets a tab of its own. Those of earlier tests would make every further one slower, and the editor looks
# through them where a graph's address in the history of the page is not the open one's.
ALONE = """
async () => {
  const tabs = app.extensionManager.workflow;
  for (const tab of [...tabs.openWorkflows])
    if (tab.path !== tabs.activeWorkflow?.path) await tabs.closeWorkflow(tab);
}
"""
# The draft that the editor keeps for a reload has the graph as it is.
KEPT = """
() => {
  const shape = graph => JSON.stringify([graph.id, graph.nodes.map(node =>
    [node.id, node.type, node.pos, node.widgets_values, node.properties])]);
  const now = shape(app.rootGraph.serialize());
  const drafts = Object.keys(localStorage).filter(key => key.startsWith('Comfy.Workflow.Draft.'));
  return drafts.some(key => shape(JSON.parse(JSON.parse(localStorage[key]).data)) === now);
}
"""
# Without a GPU the editor's drop shadows are blurred by the processor, frame by frame: as much work as all the rest.
FLAT = """
addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = ':not(.scenescope, .scenescope *) { filter: none !important; }';
  document.head.append(style);
});
"""
# Begins a script that builds a graph of the pack's nodes: an empty workflow, and a way to add one.
BUILDING = """
  await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [] });
  const add = (type, x) => {
    const node = LiteGraph.createNode('SceneScope_' + type);
    app.graph.add(node);
    node.pos = [x, 0];
    return node;
  };
  const put = (node, name, value) => (node.widgets.find(widget => widget.name === name).value = value);
"""
CAPTURE = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()"
# The element of a panel, by the type of its node and the panel's name; the last such node of the graph that is open.
PANEL = """
([type, name]) => app.canvas.graph.nodes.filter(node => node.type === type).at(-1)
  ?.widgets?.find(widget => widget.name === `scenescope_${name}`)?.element ?? null
"""
LOOK = """
type => {
  const node = app.canvas.graph.nodes.filter(node => node.type === type).at(-1), view = app.canvas.ds;
  view.scale = 1;
  view.offset[0] = 120 - node.pos[0];
  view.offset[1] = 140 - node.pos[1];
  app.canvas.setDirty(true, true);
}
"""
# Until what was changed has been drawn: each frame begins when the one before is on the screen, the second may draw
# what the first has measured, and the third what came of that. A tab that is not in front may have no frames.
DRAWN = """
() => new Promise(done => {
  let left = 4;
  const next = () => (left-- ? requestAnimationFrame(next) : setTimeout(done));
  next();
  setTimeout(done, document.hidden ? 100 : 10000);
})
"""
# Until everything has the same place and size in six frames on end, and every picture has come.
AT_REST = """
() => new Promise((done, failed) => {
  setTimeout(() => failed(new Error('something goes on moving')), 60000);
  const look = () => {
    const parts = [...document.querySelectorAll('.scenescope, .scenescope :is(canvas, img), [data-node-id]')];
    const shown = [...document.querySelectorAll('.scenescope img, [data-node-id] img')];
    const pending = [...shown, ...app.graph.nodes.flatMap(node => node.imgs ?? [])].some(one => !one.complete);
    const boxes = parts.map(part => Object.values(part.getBoundingClientRect().toJSON()));
    return pending ? null : JSON.stringify([boxes, app.graph.nodes.map(node => [...node.getBounding()])]);
  };
  let [last, same] = [null, 0];
  const next = () => {
    const now = look();
    same = now !== null && now === last ? same + 1 : 0;
    last = now;
    if (same < 6) requestAnimationFrame(next);
    else done();
  };
  next();
})
"""
# A panel stands where one of the renderers puts it.
PLACED = f"""
([panel, vue]) => {{
  const root = ({PANEL.strip()})(panel);
  return root?.isConnected && root.checkVisibility() && Boolean(root.closest('[data-node-id]')) === vue;
}}
"""
RENDERER = "vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)"
# Says whether the editor will read its graph afresh.
WEAR = """
async ([palette, locale]) => {
  const settings = app.extensionManager.setting;
  await settings.set('Comfy.ColorPalette', palette);
  if (settings.get('Comfy.Locale') === locale) return false;
  for (const node of app.graph.nodes) node.ss_old = true;
  await settings.set('Comfy.Locale', locale);
  return app.graph.nodes.length > 0;
}
"""


def eventually(read: Callable[[], Any], expected: Any, within: float = 20.0) -> bool:
    """Read until it is as expected, and return whether it came to that in so many seconds.

    It is looked at often at first: most of what is waited for comes at once.
    """
    start = time.monotonic()
    while read() != expected:
        waited = time.monotonic() - start
        if waited > within:
            return False
        time.sleep(min(0.01 + waited / 5, 0.1))
    return True


class Editor:
    """A page with the editor in it."""

    def __init__(self, page: Page, server: Server, renderer: str) -> None:
        self.page, self.server, self.renderer = page, server, renderer
        self.errors: list[str] = []
        page.set_default_timeout(60_000)
        page.add_init_script(FLAT)
        page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))
        page.on("console", self._note)

    def open(self) -> None:
        """Go to the editor, or load it afresh."""
        self.page.goto(self.server.address, timeout=OPENING)
        self.wait()
        self.page.keyboard.press("Escape")

    def wait(self) -> None:
        """Until the editor has started."""
        self.page.wait_for_function(READY, timeout=OPENING)
        self.page.evaluate(LISTEN)
        self.drawn()

    def reload(self) -> None:
        """Load the page afresh, when the editor has kept its graph as it is."""
        self.page.evaluate(CAPTURE)
        self.page.wait_for_function(KEPT)
        self.page.reload(timeout=OPENING)
        self.wait()

    def load(self, workflow: dict[str, Any] | Path | str, *, as_app: bool = False) -> None:
        """Open a workflow: as a dictionary, a file, or the name of an example; its graph, also where it is an app."""
        if isinstance(workflow, str):
            workflow = ROOT / "example_workflows" / f"{workflow}.json"
        if isinstance(workflow, Path):
            workflow = json.loads(workflow.read_text("utf-8"))
        if "linearMode" in workflow.get("extra", {}):
            workflow = workflow | {"extra": workflow["extra"] | {"linearMode": as_app}}
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.evaluate(ALONE)
        self.drawn()

    def run(self, within: float = 300.0) -> None:
        """Queue the workflow and wait until it is done."""
        self.page.evaluate("() => app.queuePrompt(0)")
        self.idle(within)

    def idle(self, within: float = 300.0) -> None:
        """Wait until the server is idle, and the page has been told the end of everything that it queued."""
        self.server_idle(within)
        self.page.wait_for_function("() => window.scenescopeToldAll()")
        self.drawn()

    def server_idle(self, within: float = 300.0) -> None:
        """Wait until the server is idle, whatever the page knows of it."""
        if not eventually(self._waits, False, within):
            raise TimeoutError(f"The workflow still runs after {within:.0f} s; expected it to be done.")

    def _waits(self) -> bool:
        """Whether a workflow runs or waits."""
        queue = self.server.get_json("/queue")
        return bool(queue["queue_running"] or queue["queue_pending"])

    def at_rest(self) -> None:
        """Wait until nothing moves any more."""
        self.page.evaluate(AT_REST)

    def alone(self) -> None:
        """Close the tabs of all workflows but the open one."""
        self.page.evaluate(ALONE)

    def render(self, renderer: str, node_type: str, panel: str) -> None:
        """Change the renderer, and wait until it has a node's panel; the node is in view."""
        self.page.evaluate(RENDERER, renderer == "vue")
        self.page.wait_for_function(PLACED, arg=[[node_type, panel], renderer == "vue"])
        self.at_rest()

    def placed(self, node_type: str, panel: str) -> ElementHandle:
        """A node's panel, when it has its place in a node that is in view."""
        self.look_at(node_type)
        self.page.wait_for_function(PLACED, arg=[[node_type, panel], self.renderer == "vue"])
        self.at_rest()
        return self.panel(node_type, panel)

    def away(self) -> None:
        """Rest the mouse on the side bar's empty part; over a tab's name it opens a preview that covers nodes."""
        self.page.mouse.move(2, 560)

    def look_at(self, node_type: str) -> None:
        """Bring a node into view, at full size."""
        self.page.evaluate(LOOK, node_type)
        self.drawn()

    def drawn(self) -> None:
        """Wait until what was changed is on the screen."""
        self.page.evaluate(DRAWN)

    @contextlib.contextmanager
    def looks(self, palette: str = "dark", locale: str = "en") -> Iterator[None]:
        """Work in another theme and language for a while."""
        self._wear(palette, locale)
        try:
            yield
        finally:
            self._wear("dark", "en")

    def _wear(self, palette: str, locale: str) -> None:
        """Change theme and language; with another language the editor reads its nodes, and then its graph, afresh."""
        if self.page.evaluate(WEAR, [palette, locale]):
            self.page.wait_for_function("() => app.graph.nodes.length && app.graph.nodes.every(node => !node.ss_old)")
        self.drawn()

    def contrast(self, panel: ElementHandle) -> float:
        """By how much a panel's ink and paper differ, 0 to 765."""
        style = "panel => ['color', 'backgroundColor'].map(name => getComputedStyle(panel)[name].match(/[\\d.]+/g))"
        ink, paper = ([float(part) for part in colour[:3]] for colour in self.page.evaluate(style, panel))
        return abs(sum(ink) - sum(paper))

    def panel(self, node_type: str, name: str) -> ElementHandle:
        """The element of a node's panel."""
        found = self.page.evaluate_handle(PANEL, [node_type, name]).as_element()
        assert found is not None, f"no {node_type} with a panel {name} is in the graph"
        return found

    def _note(self, message: ConsoleMessage) -> None:
        """Keep the errors that are ours; not that a help page has no `en.md`, for which the editor asks first."""
        where = f"{message.location.get('url', '')} {message.text}"
        if message.type == "error" and "scenescope" in where.lower() and not ASKED_FIRST.search(where):
            self.errors.append(where)
