"""The pack's templates, as the editor's template browser shows them."""

from __future__ import annotations

import json
import re

from pack.devtools.comfyui import ROOT

FIRST = ["first_heatmap", "where_did_each_word_go.app", "record_any_sampler"]
LIST = "async () => Object.entries(await app.api.getWorkflowTemplates()).find(([name]) => name === 'SceneScope')[1]"
OPEN = "() => app.extensionManager.command.execute('Comfy.BrowseTemplates')"
# The names on the cards of the category that has the pack's name.
CARDS = """
() => [...document.querySelectorAll('[data-testid^="template-workflow-"]')]
  .map(card => card.dataset.testid.replace('template-workflow-', ''))
"""


def test_templates_come_in_the_order_in_which_one_learns(editor):
    """Oracle: the files that there are, each once, and the order of the README's tables of examples and apps."""
    listed = editor.page.evaluate(LIST)
    assert sorted(listed) == sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
    links = re.findall(r"\(example_workflows/([\w.]+)\.json\) ?[,|]", (ROOT / "README.md").read_text("utf-8"))
    for ending in (False, True):
        told = [name for name in links if name.endswith(".app") is ending]
        assert [name for name in listed if name.endswith(".app") is ending] == told
    editor.page.evaluate(OPEN)
    editor.page.get_by_role("dialog").get_by_text("SceneScope", exact=True).evaluate("name => name.click()")
    editor.page.wait_for_function(
        f"first => JSON.stringify(({CARDS})().slice(0, 3)) === first", arg=json.dumps(FIRST, separators=(",", ":"))
    )
    editor.page.keyboard.press("Escape")
