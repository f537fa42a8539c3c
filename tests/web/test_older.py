"""What a failed, cancelled or refused run did not come to is marked as an earlier run's: panels, texts and previews."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pack.tests.web.editor import Editor, eventually

SAMPLER = "SceneScope_SampleAndRecord"
# Behind the first example's sampler one node of every kind that shows something.
BUILD = """
async runName => {
  const at = (slots, name) => slots.findIndex(slot => slot.name === name);
  const old = (type, nth = 0) => app.graph.nodes.filter(node => node.type === type)[nth];
  const add = (type, widgets = {}) => {
    const node = LiteGraph.createNode(type);
    node.pos = [100 + 600 * (app.graph.nodes.length % 6), 1400 + 1200 * Math.floor(app.graph.nodes.length / 6)];
    app.graph.add(node);
    for (const [name, value] of Object.entries(widgets)) node.widgets[at(node.widgets, name)].value = value;
    return node;
  };
  const link = (from, output, to, input) => from.connect(at(from.outputs, output), to, at(to.inputs, input));
  const [model, sampler, heatmap] = ['DemoModel', 'SampleAndRecord', 'TokenHeatmap']
    .map(name => old('SceneScope_' + name));
  const decode = old('VAEDecode');
  const steer = add('SceneScope_SteerWords', { words: 'red circle' });
  const record = add('SceneScope_RecordAttention'), again = add('KSampler', { steps: 3, denoise: 1 });
  again.widgets[at(again.widgets, 'control_after_generate')].value = 'fixed';
  const maps = add('SceneScope_AttentionMaps'), save = add('SceneScope_SaveMaps', { filename_prefix: 'older' });
  link(model, 'MODEL', steer, 'model');
  link(decode, 'IMAGE', steer, 'picture');
  link(steer, 'MODEL', record, 'model');
  link(record, 'MODEL', again, 'model');
  link(old('CLIPTextEncode', 0), 'CONDITIONING', again, 'positive');
  link(old('CLIPTextEncode', 1), 'CONDITIONING', again, 'negative');
  link(sampler, 'LATENT', again, 'latent_image');
  link(record, 'RECORDER', maps, 'recorder');
  link(again, 'LATENT', maps, 'result');
  link(maps, 'ATTENTION_MAPS', save, 'maps');
  link(sampler, 'ATTENTION_MAPS', add('SceneScope_BlockShapes'), 'maps');
  link(sampler, 'ATTENTION_MAPS', add('SceneScope_PromptDoctor'), 'attention_maps');
  const compare = add('SceneScope_CompareMaps');
  link(sampler, 'ATTENTION_MAPS', compare, 'before');
  link(maps, 'ATTENTION_MAPS', compare, 'after');
  const mask = add('SceneScope_MapToMask'), scene = add('SceneScope_BuildScene', { resolution: 128 });
  link(heatmap, 'MASK', mask, 'mask');
  link(decode, 'IMAGE', scene, 'image');
  link(mask, 'MASK', scene, 'masks.mask0');
  const short = { 'preset.phase1_steps': 2, 'preset.phase2_steps': 2, 'preset.rank': 2 };
  const settings = add('SceneScope_TrainSettings', short);
  const train = add('SceneScope_TrainConcepts', { sample_count: 0, run_name: runName });
  for (const part of ['MODEL', 'CLIP', 'VAE']) link(model, part, train, part.toLowerCase());
  link(scene, 'SCENE', train, 'scene');
  link(settings, 'SETTINGS', train, 'settings');
  const one = { width: 128, height: 128, seeds: 1, steps: 1, prompt: 'a photo of <asset0>' };
  const made = add('SceneScope_GenerateFromTokens', one);
  for (const part of ['MODEL', 'CLIP', 'VAE']) link(model, part, made, part.toLowerCase());
  link(train, 'CONCEPTS', made, 'concepts');
  link(train, 'CONCEPTS', add('SceneScope_SaveConcepts', { filename_prefix: 'older' }), 'concepts');
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
# What each node of the pack has on it: the names of its panel and of what the host shows, and which of them say that
# they are an earlier run's.
SHOWN = """
() => Object.fromEntries(app.graph.nodes.filter(node => node.type.startsWith('SceneScope_')).map(node => {
  const panel = node.widgets.find(one => one.element?.dataset?.scenescope);
  const text = node.widgets.find(one => one.name === '$$node-text-preview')?.value ?? '';
  const has = [], old = []; // a text speaks for the picture below it too
  if (app.nodeOutputs[node.id]?.images && !panel && !text) has.push('picture');
  if (text) has.push('text');
  if (panel) has.push(panel.element.dataset.scenescope);
  if (text.includes('this is from an earlier one')) old.push('picture');
  if (text.startsWith('Earlier run: ')) old.push('text');
  if (panel?.element.querySelector(':scope > .ss-old-note')?.textContent.includes('this is from an earlier one'))
    old.push(panel.name.replace('scenescope_', ''));
  return [node.type.replace('SceneScope_', ''), [has, old]];
}))
"""
PUT = """
([name, value]) => {
  const node = app.graph.nodes.find(node => node.type === 'SceneScope_SampleAndRecord');
  node.widgets.find(widget => widget.name === name).value = value;
}
"""
# Whether the browser remembers that a run was refused.
NOTED = "whether => (JSON.parse(localStorage['SceneScope.refusals'] ?? '[]').length > 0) === whether"
STEPS = 6
# What does not come from the sampler: it is as it was.
BEFORE = {"DemoModel", "TraceWords", "TrainSettings"}
PANELS = {"viewer", "live", "shapes", "training", "painter"}


def fails(editor: Editor) -> None:
    """A run whose first new node fails."""
    editor.page.evaluate(PUT, ["blocks", "output 99"])
    editor.run()
    editor.page.keyboard.press("Escape")  # the editor's own words about it


def is_cancelled(editor: Editor) -> None:
    """A run that is stopped while its first new node samples."""
    editor.page.evaluate(PUT, ["steps", 2000])
    panel = editor.panel(SAMPLER, "viewer")
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.wait_for_function("panel => panel.querySelector('.ss-live-tile')", arg=panel)
    editor.server.post("/interrupt", {})
    editor.idle()


def is_refused(editor: Editor) -> None:
    """A run that the server does not take."""
    editor.page.evaluate(PUT, ["steps", 0])
    editor.page.evaluate("() => app.queuePrompt(0)")
    editor.page.keyboard.press("Escape")  # the editor's own words about it
    assert all("Prompt execution failed" in error for error in editor.errors)
    editor.errors.clear()


def marks(editor: Editor) -> dict[str, list[str]]:
    """Which nodes say of what that it is an earlier run's."""
    return {node: old for node, (_, old) in editor.page.evaluate(SHOWN).items() if old}


@pytest.fixture
def behind(editor: Editor) -> Iterator[dict[str, list[str]]]:
    """Every kind of panel, text and preview after a run that succeeded: which nodes behind the sampler have which."""
    editor.away()
    editor.load("first_heatmap")
    editor.page.evaluate(BUILD, f"older_{editor.renderer}")
    editor.page.evaluate(PUT, ["steps", STEPS])
    editor.page.evaluate(PUT, ["seed", {"classic": 71, "vue": 72}[editor.renderer]])  # nothing is taken from the cache
    editor.run()
    shown = {node: has for node, (has, _) in editor.page.evaluate(SHOWN).items() if has and node not in BEFORE}
    assert {name for has in shown.values() for name in has} == {*PANELS, "text", "picture"}
    assert marks(editor) == {}
    yield shown
    editor.load("shape_log")


def succeeds(editor: Editor) -> None:
    """The run that succeeded before, once more."""
    editor.page.evaluate(PUT, ["blocks", "all"])
    editor.page.evaluate(PUT, ["steps", STEPS])
    editor.run()


def test_what_the_last_run_did_not_come_to_says_so(editor: Editor, behind: dict[str, list[str]]):
    """Oracle: what stood on the nodes after a run that succeeded; all that comes from the sampler is marked after a run
    that did not, and nothing after one that does again. A reload keeps the marks, also of a refused run, of which the
    server's history has nothing.
    """
    for ends in (is_refused, is_cancelled, fails):
        ends(editor)
        said = {"SampleAndRecord": ["viewer"]} if ends is is_cancelled else {}  # its text is the cancelled run's own
        eventually(lambda: marks(editor), behind | said)
        assert marks(editor) == behind | said, ends.__doc__
        succeeds(editor)
        eventually(lambda: marks(editor), {})
        assert marks(editor) == {}, ends.__doc__
    told = ("RecordAttention", "SteerWords")  # only while a run goes on: the history has nothing of it
    panels = {node: has[-1] for node, has in behind.items() if has[-1] in PANELS and node not in told}
    for ends, said in ((is_refused, "did not get here"), (fails, "output 99")):
        ends(editor)
        editor.page.wait_for_function(NOTED, arg=ends is is_refused)
        editor.reload()
        assert eventually(lambda: {n: old[-1] for n, old in marks(editor).items() if old[-1] in PANELS}, panels)
        assert said in editor.panel(SAMPLER, "viewer").query_selector(".ss-old-note").inner_text()
        succeeds(editor)
        assert eventually(lambda: [old for old in marks(editor).values() if old[-1] in PANELS], [])


FULL = """
() => {
  for (const name of ['refusals', 'files']) localStorage['SceneScope.' + name] = '{';
  const kept = window.kept = Storage.prototype.setItem;
  window.refused = 0;
  Storage.prototype.setItem = function (key, value) {
    if (!key.startsWith('SceneScope.')) return kept.call(this, key, value);
    window.refused += 1;
    throw new DOMException('full');
  };
}
"""
FORGETFUL = """
async memory => {
  const { recall, remember } = await import(memory);
  remember('SceneScope.files', 'something');
  return recall('SceneScope.files', 'nothing');
}
"""
EMPTY = """
() => {
  Storage.prototype.setItem = window.kept;
  for (const name of ['refusals', 'files']) localStorage.removeItem('SceneScope.' + name);
}
"""


def test_a_browser_that_keeps_nothing_stops_no_run(editor: Editor):
    """Oracle: the server's history: the run succeeded, with spoilt notes and no room for new ones, and whoever asks
    for a note gets what stands for none. What the host keeps there (it throws where it can't) keeps its room.
    """
    editor.load("shape_log")
    editor.page.evaluate(FULL)
    try:
        editor.run()
        (memory,) = (name for name in editor.server.get_json("/extensions") if name.endswith("/js/shared/memory.js"))
        assert editor.page.evaluate(FORGETFUL, memory) == "nothing"
    finally:
        editor.page.evaluate(EMPTY)
    *_, last = editor.server.get_json("/history").values()
    assert last["status"]["status_str"] == "success"
    assert editor.page.evaluate("() => window.refused") > 0
    assert editor.page.evaluate("() => document.querySelectorAll('.ss-old-note').length") == 0
