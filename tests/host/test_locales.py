"""The translations speak of what there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
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


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_translation_names_only_nodes_and_inputs_that_there_are(server, language):
    """Oracle: the server's description of the nodes."""
    texts = json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8"))
    object_info = server.get_json("/object_info")
    for node_id, tree in texts.items():
        assert node_id in object_info
        assert set(leaves(tree)) <= names_of(object_info[node_id]), node_id


def test_both_languages_translate_the_same_texts():
    """Oracle: an invariant; the same paths in the same files."""
    for name in ("main.json", "nodeDefs.json"):
        english, chinese = (json.loads((LOCALES / tongue / name).read_text("utf-8")) for tongue in ("en", "zh"))
        assert set(leaves(english)) == set(leaves(chinese)), name


def test_the_server_hands_the_translations_to_the_editor(server):
    """Oracle: the address that the editor asks for; the category is one of ours."""
    assert server.get_json("/i18n")["zh"]["nodeCategories"]["SceneScope"]
