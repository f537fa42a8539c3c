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
CLOSE = "() => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)"
PICTURES = "() => [...document.querySelectorAll('.node-help-content img')]"


# The help is the editor's, whoever draws the nodes: one language in each renderer.
@pytest.mark.parametrize(
    ("opened", "locale", "headline"),
    [("classic", "en", "Block Shapes"), ("vue", "zh", "各块形状")],
    indirect=["opened"],
    scope="session",
)
def test_help_is_shown_in_the_editor_s_language_with_its_pictures(editor, locale, headline):
    """Oracle: the page's headline; English is what the editor falls back to; every picture has a width."""
    with editor.looks(locale=locale):
        editor.load("shape_log")
        editor.look_at(SHAPES)
        editor.page.evaluate(SELECT, SHAPES)
        editor.page.locator("[data-testid=info-button]").click()
        editor.page.locator(".node-help-content h1", has_text=headline).wait_for()
        editor.page.wait_for_function(f"() => ({PICTURES})().every(picture => picture.complete)")
        widths = editor.page.evaluate(f"() => ({PICTURES})().map(picture => picture.naturalWidth)")
        assert len(widths) == 3
        assert all(widths)
        editor.page.evaluate(CLOSE)
