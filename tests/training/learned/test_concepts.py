"""Concepts as files: what was saved comes back equal, nothing else comes in, and other programs read the exports."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.scenescope.errors import FileError, InputError, SceneScopeError
from pack.scenescope.training.learned.concepts import (
    Concepts,
    load_concepts,
    save_concepts,
    save_embedding,
    save_weights,
    weight_tensors,
)
from pack.scenescope.training.scene.scene import Concept
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.scenescope.training.weights.contract import LowRank
from safetensors import safe_open
from safetensors.torch import load_file, save_file

KEYS = {"unet.a": "lora_unet_a", "unet.b": "lora_unet_b"}


def numbers(*shape: int) -> torch.Tensor:
    """Numbers that differ by shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def learned(**changes) -> Concepts:
    """Two concepts with a value in every field."""
    low_rank = {
        "unet.a": LowRank(numbers(2, 5), numbers(4, 2), 3.0),
        "unet.b": LowRank(numbers(2, 5, 1, 1).half(), numbers(4, 2, 1, 1).half(), 2.0),
    }
    concepts = (Concept("<ä>", "cat"), Concept("<b>"))
    whole = Concepts(concepts, numbers(2, 6), low_rank, {"unet.a.weight": numbers(4, 5)}, "1234", lora_settings(), 7)
    return replace(whole, **changes)


def parts(concepts: Concepts) -> dict[str, object]:
    """Every value, tensors as types and numbers."""
    tensors = {"rows": concepts.embeddings, **concepts.differences}
    for name, pair in concepts.low_rank.items():
        tensors |= {f"{name} down": pair.down, f"{name} up": pair.up}
    plain = {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()}
    alphas = [pair.alpha for pair in concepts.low_rank.values()]
    return plain | {"rest": (concepts.concepts, concepts.base, concepts.settings, concepts.steps, alphas)}


@pytest.fixture
def good(tmp_path) -> Path:
    """A sound file."""
    save_concepts(learned(), tmp_path / "toys.concepts.safetensors")
    return tmp_path / "toys.concepts.safetensors"


def test_saved_concepts_come_back_equal(good):
    """Oracle: an invariant, field by field with types; no other file is left."""
    assert parts(load_concepts(good)) == parts(learned())
    assert parts(load_concepts(good)) != parts(learned(steps=8))
    assert [entry.name for entry in good.parent.iterdir()] == [good.name]


def test_settings_of_every_kind_come_back(tmp_path):
    """Oracle: an invariant over values that are easily lost: None, whole numbers as floats, the largest seed."""
    odd = full_settings(single=0.25, norm_guard=2, alpha=4, seed=2**64 - 1, templates=("a {}", "the {}"))
    save_concepts(learned(settings=odd), tmp_path / "odd.safetensors")
    assert load_concepts(tmp_path / "odd.safetensors").settings == odd


def test_rows_that_are_a_part_of_something_larger_are_saved(tmp_path):
    """Oracle: an invariant; the safetensors library refuses tensors that share memory."""
    table = numbers(50, 6)
    concepts = learned(
        embeddings=table[10:12], differences={"unet.a.weight": table[:4, 1:], "unet.b.weight": table[11:15]}
    )
    save_concepts(concepts, tmp_path / "part.safetensors")
    assert parts(load_concepts(tmp_path / "part.safetensors")) == parts(concepts)


def test_a_file_that_cannot_be_written_leaves_the_old_one(good, monkeypatch):
    """Oracle: the old bytes; a folder that is not there, and a disk that fills up at the last moment."""
    before = good.read_bytes()
    with pytest.raises(FileError, match="can't be written"):
        save_concepts(learned(), good.parent / "nowhere" / "x.safetensors")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="No space left on device.*Free some space"):
        save_concepts(learned(steps=8), good)
    assert good.read_bytes() == before
    assert [entry.name for entry in good.parent.iterdir()] == [good.name]


def rewritten(good: Path, change) -> Path:
    """The file with another description."""
    data = good.read_bytes()
    until = 8 + int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8:until])["__metadata__"]
    value = json.loads(metadata["value"])
    change(value)
    metadata["value"] = json.dumps(value)
    other = good.with_name("other.safetensors")
    save_file(load_file(good), other, metadata)
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.pop("rows"), "the fields"),
        (lambda value: value.update(rows="tensor_9"), "a known name"),
        (lambda value: value["concepts"].pop(), "`embeddings` contradicts the rest"),
        (lambda value: value["concepts"][0].update(handle="a b"), "'a b' can't be a handle"),
        (lambda value: value["settings"].update(rank=0), "rank is 0"),
        (lambda value: value["settings"].update(mode="other"), "one of"),
        (lambda value: value["settings"].update(flip="x"), "settings.flip"),
        (lambda value: value.update(steps=10**6), "`steps` contradicts the rest"),
        (lambda value: value["low_rank"][0][1].update(alpha=0.0), "`unet.a` contradicts the rest"),
        (lambda value: value["low_rank"][0][1].update(alpha=float("inf")), "`unet.a` contradicts the rest"),
        (lambda value: value["low_rank"][0][1].update(up="tensor_0"), "`unet.a` contradicts the rest"),
        (
            lambda value: value.update(concepts=[{"handle": f"<{i}>", "word": ""} for i in range(65)]),
            "`concepts` contradicts the rest: it has to be 1 to 64",
        ),
        (lambda value: value.update(extra=1), "the fields"),
        (lambda value: value.update(concepts={}), "a list"),
    ],
)
def test_a_wrong_description_is_refused(good, change, words):
    """Oracle: one wrong value of each kind."""
    with pytest.raises(FileError, match=words):
        load_concepts(rewritten(good, change))


def test_numbers_that_are_none_are_refused(tmp_path):
    """Oracle: by hand: a row with nan."""
    rows = numbers(2, 6)
    rows[1, 3] = float("nan")
    with pytest.raises(ValueError, match="a number` contradicts the rest: it has to be finite"):
        learned(embeddings=rows)
    path = tmp_path / "good.safetensors"
    save_concepts(learned(), path)
    tensors, metadata = (
        load_file(path),
        json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]),
    )
    save_file({**tensors, "tensor_0": rows}, path, metadata["__metadata__"])
    with pytest.raises(FileError, match="a number` contradicts the rest: it has to be finite"):
        load_concepts(path)


def test_pickles_and_other_formats_are_refused_unopened(tmp_path):
    """Oracle: a pickle that would write a file, maps instead of concepts, a file that is not there."""

    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(FileError, match="pickle"):
        load_concepts(bad)
    save_file({"x": torch.ones(1)}, bad, {"format": "scenescope-maps"})
    with pytest.raises(FileError, match="format should be 'scenescope-concepts 1'"):
        load_concepts(bad)
    with pytest.raises(FileError, match="can't be read"):
        load_concepts(tmp_path / "none.safetensors")
    assert not (tmp_path / "harm").exists()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_reads_as_sound_concepts(good, data):
    """Oracle: an invariant over cut and overwritten files: sound concepts or an error of ours, never another."""
    content = bytearray(good.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + 4] = data.draw(st.binary(min_size=1, max_size=6))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    bad = good.with_name("damaged.safetensors")
    bad.write_bytes(content)
    try:
        found = load_concepts(bad)
    except SceneScopeError:
        return
    assert found.embeddings.isfinite().all()
    assert len(found.embeddings) == len(found.handles)


def test_a_row_is_an_ordinary_embedding_file(tmp_path):
    """Oracle: the safetensors library's own reader; the shape and key that core's loader takes."""
    save_embedding(learned(), "<b>", tmp_path / "b.safetensors")
    found = load_file(tmp_path / "b.safetensors")
    assert list(found) == ["clip_l"]
    assert torch.equal(found["clip_l"], learned().embeddings[1:])
    with pytest.raises(InputError, match="no handle '<c>'. Choose one of <ä>, <b>"):
        save_embedding(learned(), "<c>", tmp_path / "c.safetensors")


def test_low_rank_changes_are_an_ordinary_lora_file(tmp_path):
    """Oracle: kohya's names by hand; up times down put together again."""
    concepts = learned(differences={})
    save_weights(concepts, KEYS, tmp_path / "lora.safetensors")
    found = load_file(tmp_path / "lora.safetensors")
    assert sorted(found) == sorted(
        f"lora_unet_{layer}.{part}" for layer in "ab" for part in ("lora_up.weight", "lora_down.weight", "alpha")
    )
    assert found["lora_unet_a.alpha"].shape == ()
    assert float(found["lora_unet_a.alpha"]) == 3.0
    pair = concepts.low_rank["unet.a"]
    assert torch.equal(found["lora_unet_a.lora_up.weight"] @ found["lora_unet_a.lora_down.weight"], pair.up @ pair.down)
    assert found["lora_unet_b.lora_down.weight"].shape == (2, 5, 1, 1)


def test_whole_changes_are_named_as_differences():
    """Oracle: the two endings by hand."""
    differences = {"unet.a.weight": numbers(4, 5), "unet.a.bias": numbers(4)}
    tensors = weight_tensors(learned(low_rank={}, differences=differences), KEYS)
    assert list(tensors) == ["lora_unet_a.diff", "lora_unet_a.diff_b"]
    assert torch.equal(tensors["lora_unet_a.diff_b"], numbers(4))
    with pytest.raises(InputError, match="unet.a.scale is neither a weight nor a bias"):
        weight_tensors(learned(low_rank={}, differences={"unet.a.scale": numbers(4)}), KEYS)
    with pytest.raises(InputError, match="layer unet.a is none of the 0 that LoRA files"):
        weight_tensors(learned(), {})


def test_rows_alone_make_no_lora_file(tmp_path):
    """Oracle: by hand."""
    with pytest.raises(InputError, match="no weight changes"):
        save_weights(learned(low_rank={}, differences={}), KEYS, tmp_path / "lora.safetensors")


def test_exported_files_say_what_they_are_where_managers_of_models_look(tmp_path):
    """Oracle: the keys of the Model Metadata Standard 1.0.1, written down by hand, read by safetensors itself."""
    save_weights(learned(), KEYS, tmp_path / "lora.safetensors")
    save_embedding(learned(), "<ä>", tmp_path / "a.safetensors")
    found = {}
    for name in ("lora", "a"):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            found[name] = file.metadata()
    assert found["lora"]["modelspec.sai_model_spec"] == "1.0.1"
    assert found["lora"]["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert found["lora"]["modelspec.title"] == "SceneScope: <ä>, <b>"
    assert found["lora"]["modelspec.trigger_phrase"] == "<ä>, <b>"
    assert found["lora"]["modelspec.description"] == "Learned in 7 steps: <ä> (cat), <b>."
    assert found["a"]["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert found["a"]["modelspec.trigger_phrase"] == "<ä>"
    assert found["a"]["modelspec.description"] == "Learned in 7 steps: <ä> (cat)."
    assert all(isinstance(value, str) for about in found.values() for value in about.values())
