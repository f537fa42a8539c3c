"""A second tab, a lost connection, and a reload in the middle of a run: panels show what is so, and nothing throws.

What a panel hears does not depend on the renderer, so each of these long runs is made in one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pack.tests.web.dashboard.test_dashboard import long_run
from pack.tests.web.dashboard.test_training import STEP, STEPS, build, shown
from pack.tests.web.editor import Editor, eventually
from pack.tests.web.viewer.test_live import EXAMPLES, NUMBER, RECORD, SAMPLER, SET
from playwright.sync_api import ElementHandle

LIVE_STEP = r"""
panel => Number(/^Step (\d+)/.exec(panel.querySelector('.ss-live .ss-state')?.textContent ?? '')?.[1] ?? 0)
""".strip()
CLASSIC, VUE = (
    pytest.mark.parametrize("opened", [name], indirect=True, scope="session") for name in ("classic", "vue")
)
EACH = pytest.mark.parametrize(
    ("opened", "node_type"), [("classic", RECORD), ("vue", SAMPLER)], indirect=["opened"], scope="session"
)
FINISHED = "panel => panel.querySelector('.ss-finished')"


@contextmanager
def lost(editor: Editor) -> Iterator[None]:
    """Be without a connection; at the end it is there again."""
    context = editor.page.context
    context.set_offline(True)
    try:
        editor.page.evaluate("() => app.api.socket.close()")
        editor.page.wait_for_function("() => app.api.socket?.readyState !== WebSocket.OPEN")
        yield
    finally:
        context.set_offline(False)
        editor.page.wait_for_function("() => app.api.socket?.readyState === WebSocket.OPEN")


@contextmanager
def second_tab(editor: Editor) -> Iterator[Editor]:
    """Another tab of the same browser; nothing may be thrown in it."""
    other = Editor(editor.page.context.new_page(), editor.server, editor.renderer)
    try:
        other.open()
        yield other
        assert other.errors == []
    finally:
        other.page.close()


def sampling(editor: Editor, node_type: str, steps: int) -> ElementHandle:
    """Start a run that lasts; the panel where its maps grow, when some steps have been seen."""
    example, panel_name = EXAMPLES[node_type]
    editor.page.mouse.move(1500, 700)
    editor.load(example)
    seed = {"classic": 61, "vue": 62}[editor.renderer]
    editor.page.evaluate(SET, [NUMBER[node_type], {"seed": seed, "steps": steps}])
    editor.look_at(node_type)
    panel = editor.panel(node_type, panel_name)
    editor.page.evaluate("() => app.queuePrompt(0)")
    beyond(editor, LIVE_STEP, panel, 1)
    return panel


def beyond(editor: Editor, number: str, panel: ElementHandle, least: int) -> int:
    """Wait until a panel's step is larger than one; which it is."""
    editor.page.wait_for_function(f"([panel, least]) => ({number})(panel) > least", arg=[panel, least])
    return int(editor.page.evaluate(number, panel))


def goes_on(read: Callable[[], int]) -> None:
    """Wait until the server has come further than it was, by what it writes: the page hears nothing."""
    before = read()
    assert eventually(lambda: read() != before, True), "the run came to a stop"


def cancel(editor: Editor) -> None:
    """End what runs."""
    editor.server.post("/interrupt", {})
    editor.server_idle()


@VUE
def test_a_second_tab_shows_nothing_of_a_run_and_its_result_when_the_workflow_is_opened_anew(editor):
    """Oracle: core tells only the tab that queued; the other reads the history when it opens the workflow."""
    build(editor, run_name=f"tabs_{editor.renderer}", sample_count=0)
    workflow = editor.page.evaluate("() => app.graph.serialize()")
    with second_tab(editor) as other:
        other.load(workflow)
        panel, there = shown(editor), shown(other)
        editor.page.evaluate("() => app.queuePrompt(0)")
        editor.page.wait_for_function(FINISHED, arg=panel)
        editor.idle()
        assert "Run the workflow" in there.inner_text()
        other.open()
        other.load(workflow)
        there = shown(other)
        other.page.wait_for_function(FINISHED, arg=there)
        assert there.query_selector(".ss-state").inner_text() == f"Finished: {STEPS} steps"


@CLASSIC
def test_a_training_goes_on_being_watched_after_a_lost_connection(editor):
    """Oracle: the step rises above what it was when the connection was lost."""
    name = f"dropped_{editor.renderer}"
    panel = long_run(editor, run_name=name, save_every=2)
    state = editor.server.place.base / "output" / "training" / name / "state.safetensors"
    with lost(editor):
        seen = editor.page.evaluate(STEP, panel)
        goes_on(lambda: state.stat().st_mtime_ns)
        assert editor.page.evaluate(STEP, panel) == seen
    beyond(editor, STEP, panel, seen)
    cancel(editor)


@VUE
def test_a_training_that_ends_without_a_connection_is_shown_when_it_is_back(editor):
    """Oracle: the sentence of a run that has ended; the last message that came told of an earlier step."""
    build(editor, run_name=f"ended_{editor.renderer}", sample_count=1, sample_every=0, sample_steps=12)
    panel = shown(editor)
    editor.page.evaluate("() => app.queuePrompt(0)")
    beyond(editor, STEP, panel, 2)
    with lost(editor):
        assert panel.query_selector(".ss-finished") is None
        editor.server_idle()
    editor.page.wait_for_function(FINISHED, arg=panel)
    assert len(panel.query_selector_all(".ss-set img")) == 1
    editor.idle()  # the page waits for no message that was lost


@EACH
def test_maps_go_on_growing_after_a_lost_connection_and_after_a_reload(editor, node_type):
    """Oracle: the step rises above what it was when the connection was lost, and above what it was at the reload."""
    panel = sampling(editor, node_type, 2000)
    with lost(editor):
        seen = editor.page.evaluate(LIVE_STEP, panel)
        goes_on(lambda: editor.server.log.count("it/s"))
        assert editor.page.evaluate(LIVE_STEP, panel) == seen
    seen = beyond(editor, LIVE_STEP, panel, seen)
    editor.reload()
    editor.look_at(node_type)
    panel = editor.panel(node_type, EXAMPLES[node_type][1])
    beyond(editor, LIVE_STEP, panel, seen)
    cancel(editor)


@EACH
def test_maps_of_a_run_that_ends_without_a_connection_do_not_wait_for_it(editor, node_type):
    """Oracle: Record Attention says up to where it saw; over the viewer nothing is left, and it has the run's words."""
    panel = sampling(editor, node_type, 60)
    with lost(editor):
        editor.server_idle()
        assert panel.query_selector(".ss-live-tile") is not None
    if node_type == RECORD:
        editor.page.wait_for_function("panel => panel.innerText.includes('The connection was lost at step')", arg=panel)
    else:
        editor.page.wait_for_function("panel => !panel.querySelector('.ss-live')", arg=panel)
        editor.page.wait_for_function("panel => panel.querySelector('.ss-chip')", arg=panel)
