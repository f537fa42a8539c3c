"""The scripts reach the browser, and the editor takes them."""

from __future__ import annotations

import re

from pack.devtools.comfyui import ROOT

FOLDER = ROOT / "web" / "js"
SCRIPTS = sorted(FOLDER.rglob("*.js"))


def test_every_script_is_served_and_loads_without_an_error(editor):
    """Oracle: the list of files; each is imported once more, which answers with the module that is there."""
    addresses = [name for name in editor.server.get_json("/extensions") if "/js/" in name and "SceneScope" in name]
    served = {name.partition("/js/")[2] for name in addresses}
    assert served == {file.relative_to(FOLDER).as_posix() for file in SCRIPTS}
    for address in addresses:
        assert editor.page.evaluate("async address => typeof await import(address)", address) == "object"


def test_every_script_is_type_checked_and_names_no_folder_of_the_pack():
    """Oracle: the text. The folder's name is the user's choice, so a script finds its neighbours by its own address."""
    for file in SCRIPTS:
        text = file.read_text("utf-8")
        assert text.startswith("// @ts-check\n"), file.name
        assert not re.search(r"extensions/(?i:scenescope)", text), file.name
        long = [line for line in text.splitlines() if len(line) > 120 and not line.lstrip().startswith('"')]
        assert not long, file.name
