"""A node's help in the editor, in both languages."""

from __future__ import annotations

import re

import pytest

SELECT = """
type => {
  const node = app.graph.nodes.find(node => node.type === type);
  app.canvas.deselectAll();
  app.canvas.selectItems([node]);
}
"""
SHAPES = "SceneScope_BlockShapes"
PICTURES = "() => [...document.querySelectorAll('.node-help-content img')]"


@pytest.mark.parametrize(("locale", "headline"), [("en", "Block Shapes"), ("zh", "各块形状"), ("fr", "Block Shapes")])
def test_help_is_shown_in_the_editor_s_language_with_its_pictures(editor, locale, headline):
    """Oracle: the page's headline, the English one for a language that has no pages; every picture has a width."""
    editor.page.evaluate("locale => app.extensionManager.setting.set('Comfy.Locale', locale)", locale)
    try:
        editor.load("shape_log")
        editor.look_at(SHAPES)
        editor.page.evaluate(SELECT, SHAPES)
        editor.page.locator("[data-testid=info-button]").click()
        editor.page.locator(".node-help-content h1", has_text=headline).wait_for()
        editor.page.wait_for_function(f"() => ({PICTURES})().every(picture => picture.complete)")
        widths = editor.page.evaluate(f"() => ({PICTURES})().map(picture => picture.naturalWidth)")
        assert len(widths) == 3
        assert all(widths)
    finally:
        editor.page.keyboard.press("Escape")
        editor.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
        editor.page.wait_for_timeout(500)
        # The editor asks for <language>.md first, and notes in its console where there is none, as for English.
        missing = re.compile(rf"docs/{SHAPES}/(en|fr)\.md")
        editor.errors[:] = [error for error in editor.errors if not missing.search(error)]
