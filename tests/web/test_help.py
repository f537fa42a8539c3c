"""A node's help in the editor, in both languages."""

from __future__ import annotations

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


@pytest.mark.parametrize(("locale", "headline"), [("en", "Block Shapes"), ("zh", "各块形状")])
def test_help_is_shown_in_the_editor_s_language_with_its_pictures(opened, locale, headline):
    """Oracle: the page's headline; English is what the editor falls back to; every picture has a width.

    Not through the fixture `editor`: the editor asks for `en.md` first, and notes in its console that there is none.
    """
    opened.page.evaluate("locale => app.extensionManager.setting.set('Comfy.Locale', locale)", locale)
    try:
        opened.load("shape_log")
        opened.look_at(SHAPES)
        opened.page.evaluate(SELECT, SHAPES)
        opened.page.locator("[data-testid=info-button]").click()
        opened.page.locator(".node-help-content h1", has_text=headline).wait_for()
        opened.page.wait_for_function(f"() => ({PICTURES})().every(picture => picture.complete)")
        widths = opened.page.evaluate(f"() => ({PICTURES})().map(picture => picture.naturalWidth)")
        assert len(widths) == 3
        assert all(widths)
    finally:
        opened.page.keyboard.press("Escape")
        opened.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
