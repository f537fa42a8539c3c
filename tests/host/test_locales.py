"""The translations speak of what there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pack.devtools.comfyui import ROOT

LOCALES = ROOT / "locales"


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the path to every text in nested dictionaries."""
    if not isinstance(tree, dict):
        yield path
        return
    for key, inner in tree.items():
        yield from leaves(inner, (*path, key))


def names_of(info: dict[str, Any]) -> set[tuple[str, ...]]:
    """Return the paths that a translation of one node may have, from the server's description of it."""
    names: set[tuple[str, ...]] = {("display_name",), ("description",)}
    for part in ("required", "optional"):
        for name in info["input"].get(part, {}):
            names |= {("inputs", name, "name"), ("inputs", name, "tooltip")}
    for slot in range(len(info["output"])):
        names |= {("outputs", str(slot), "name"), ("outputs", str(slot), "tooltip")}
    return names


def test_the_chinese_names_every_node_input_and_output_and_no_other(server):
    """Oracle: the server's description of the nodes. English needs no file: it is what the nodes say themselves."""
    texts = json.loads((LOCALES / "zh" / "nodeDefs.json").read_text("utf-8"))
    object_info = server.get_json("/object_info")
    assert set(texts) == {name for name in object_info if name.startswith("SceneScope_")}
    for node_id, tree in texts.items():
        assert set(leaves(tree)) == names_of(object_info[node_id]), node_id


def test_both_languages_name_the_same_categories():
    """Oracle: an invariant; the same paths in both files."""
    english, chinese = (json.loads((LOCALES / tongue / "main.json").read_text("utf-8")) for tongue in ("en", "zh"))
    assert set(leaves(english)) == set(leaves(chinese))


def test_the_server_hands_the_translations_to_the_editor(server):
    """Oracle: the address that the editor asks for; a category and an input of ours."""
    chinese = server.get_json("/i18n")["zh"]
    assert chinese["nodeCategories"]["SceneScope"]
    assert chinese["nodeDefs"]["SceneScope_TokenHeatmap"]["inputs"]["words"]["name"] == "词语"
