"""Exports of concepts: core's own loaders read them, and give the picture of Apply Concepts."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import comfy.lora
import pytest
import torch
from comfy_execution.graph import ExecutionBlocker
from pack.host.concepts.apply import apply_concepts
from pack.host.concepts.export import plan_export
from pack.host.demo import load_demo_model
from pack.nodes.concepts import SaveConcepts
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.scene.scene import Concept
from pack.tests.support.host.learned import PROMPT, call, made_up, picture, with_handles
from PIL import Image
from safetensors.torch import load_file

import nodes as host_nodes


@pytest.fixture(scope="module")
def demo(folders: Path) -> Iterator[tuple[Any, Any, Any]]:
    """MODEL, CLIP and VAE of the demo model; never changed by the tests."""
    with torch.inference_mode():
        yield load_demo_model()


@pytest.mark.parametrize("kind", ["rows", "lora", "full"])
def test_core_loaders_of_the_exports_give_the_same_picture(demo, folders, kind):
    """Oracle: Load LoRA and `embedding:` against Apply Concepts, bit for bit; and neither is the base model's."""
    model, clip, _ = demo
    learned = made_up(demo, kind)
    ours = with_handles(*apply_concepts(model, clip, learned))
    exported = plan_export(learned, f"mine/{kind}").write()
    assert [file.is_file() for file in exported.files] == [True] * (2 if kind == "rows" else 3)
    if kind != "rows":
        (lora,) = (file.relative_to(folders / "loras").as_posix() for file in exported.files[2:])
        model, clip = host_nodes.LoraLoader().load_lora(model, clip, lora, 1.0, 1.0)
        rows_alone = with_handles(*apply_concepts(*demo[:2], made_up(demo, kind), strength=0.0))
        assert not torch.equal(ours, rows_alone)
    theirs = picture(model, clip, PROMPT.format(*exported.embeddings.values()))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, with_handles(*demo[:2]))


def test_an_export_that_was_replaced_is_what_a_loader_of_before_gives(demo, folders):
    """Oracle: Apply Concepts, for one Load LoRA that the host keeps while its file is written again, there and back."""
    loader = host_nodes.LoraLoader()
    for amount in (0.1, 0.2, 0.1):
        learned = made_up(demo, "lora", amount=amount)
        exported = plan_export(learned, "kept", overwrite=True).write()
        loaded = loader.load_lora(*demo[:2], exported.lora, 1.0, 1.0)
        theirs = picture(*loaded, PROMPT.format(*exported.embeddings.values()))
        assert torch.equal(with_handles(*apply_concepts(*demo[:2], learned)), theirs)


def test_two_exports_at_the_same_time_replace_nothing(demo, folders):
    """Oracle: by hand; both choose their names before either writes."""
    plans = [plan_export(made_up(demo, "lora"), "at-once") for _ in range(2)]
    files = [file for plan in plans for file in plan.write().files]
    assert len(set(files)) == 6
    assert [file.name for file in files[3:]] == [
        "at-once-asset0_2.safetensors", "at-once-asset1_2.safetensors", "at-once_2.safetensors",
    ]  # fmt: skip


def test_an_export_takes_no_name_that_another_embedding_has(demo, folders):
    """Oracle: by hand: the host looks into every folder below the embeddings folder, in no order."""
    rows = made_up(demo, "rows")
    plan_export(rows, "deep/twin").write()
    assert plan_export(rows, "twin").write().embeddings["<asset1>"] == "embedding:twin-asset1_2"
    before = sorted(folders.rglob("*"))
    with pytest.raises(InputError, match="embedding, deep/twin-asset0.safetensors, is also called twin-asset0"):
        plan_export(rows, "twin", overwrite=True).write()
    assert sorted(folders.rglob("*")) == before


def test_an_export_that_fails_leaves_the_one_before_it(demo, folders, monkeypatch):
    """Oracle: the bytes of before; a disk that fills up while the LoRA is written, and a handle too long for a file."""
    plan_export(made_up(demo, "lora"), "whole", overwrite=True).write()
    before = {path: path.read_bytes() for path in folders.rglob("whole*")}
    assert len(before) == 3
    other = made_up(demo, "lora", amount=0.3)
    long = replace(other, concepts=(other.concepts[0], Concept(f"<{'x' * 200}>")))
    with pytest.raises(InputError, match="^Save Concepts: export_name with a handle '.*' is too long"):
        plan_export(long, "whole", overwrite=True).write()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        plan_export(other, "whole", overwrite=True).write()
    assert {path: path.read_bytes() for path in folders.rglob("whole*")} == before


@pytest.mark.parametrize("typed", ["ended.safetensors", "ended.SAFETENSORS"])
def test_an_ending_that_was_typed_is_not_there_twice(demo, folders, typed):
    """Oracle: by hand."""
    learned = made_up(demo, "lora")
    export = plan_export(learned, typed, overwrite=True)
    assert export.lora.name == "ended.safetensors"
    assert [path.name for path in export.places.values()] == ["ended-asset0.safetensors", "ended-asset1.safetensors"]
    twice = plan_export(learned, f"ended.safetensors{typed[5:]}", overwrite=True)
    assert twice.lora.name == "ended.safetensors.safetensors"


def test_what_to_type_comes_first_in_the_report(demo, folders):
    """Oracle: by hand; a node shows two lines, and these are the ones that one needs."""
    inputs = {"filename_prefix": "first", "export_name": "first", "overwrite_exports": True}
    _, report, _ = call(SaveConcepts, concepts=made_up(demo, "lora"), write="own file and exports", **inputs)
    *lines, last = report.splitlines()
    assert lines == [
        "<asset0> is embedding:first-asset0",
        "<asset1> is embedding:first-asset1",
        "weights: first.safetensors, with Load LoRA at strength 1",
    ]
    assert last.startswith("Saved first_00001_.concepts.safetensors (")


@pytest.mark.parametrize(
    ("prefix", "name", "sentence"),
    [
        ("/a", "a", "filename_prefix '/a' starts at the root. Use a plain name such as concepts/SceneScope, with"),
        ("a", "", "export_name '' is empty. Use a plain name such as toys, with"),
        ("a", "a:b", "export_name 'a:b' holds a backslash, a colon, .*\\. Use a plain name such as toys, with"),
        ("a", "a b", "'a b' can't be an export_name. Use a name without spaces"),
    ],
)
def test_a_name_that_is_none_is_told_with_its_widget(demo, folders, prefix, name, sentence):
    """Oracle: the sentences."""
    inputs = {"filename_prefix": prefix, "export_name": name, "overwrite_exports": False}
    with pytest.raises(InputError, match=f"^Save Concepts: {sentence}"):
        call(SaveConcepts, concepts=made_up(demo, "lora"), write="own file and exports", **inputs)


def test_a_lora_left_over_is_told_of(demo, folders):
    """Oracle: by hand."""
    plan_export(made_up(demo, "lora"), "left", overwrite=True).write()
    told = plan_export(made_up(demo, "rows"), "left", overwrite=True).write().describe()
    assert "left.safetensors is from an earlier export" in told


@pytest.mark.parametrize(
    ("kind", "write", "words"),
    [("rows", "own file and exports", "only the tokens of"), ("lora", "own file", "write is 'own file', so")],
)
def test_load_lora_is_told_why_there_is_no_lora(demo, folders, kind, write, words):
    """Oracle: the host's own mark for an output that nothing may use, with a message."""
    inputs = {"filename_prefix": "none", "export_name": "none", "overwrite_exports": True}
    *_, lora = call(SaveConcepts, concepts=made_up(demo, kind), write=write, **inputs)
    assert isinstance(lora, ExecutionBlocker)
    assert words in lora.message


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_core_knows_every_name_of_an_exported_lora(demo, folders, kind, caplog):
    """Oracle: the host's map of names, which leads back to the very parameters; nothing is reported as not loaded."""
    exported = plan_export(made_up(demo, kind), f"names/{kind}").write()
    tensors = load_file(exported.files[2])
    known = comfy.lora.model_lora_keys_clip(
        demo[1].cond_stage_model, comfy.lora.model_lora_keys_unet(demo[0].model, {})
    )
    loaded = comfy.lora.load_lora(tensors, known)
    learned = made_up(demo, kind)
    places = {"unet.": "diffusion_model.", "text.": "clip_l.transformer."}
    changed = [f"{name}.weight" for name in learned.low_rank] + list(learned.differences)
    assert set(loaded) == {places[name[:5]] + name[5:] for name in changed}
    assert "not loaded" not in caplog.text


def test_exports_are_named_by_their_handles_and_never_overwrite_unasked(demo, folders):
    """Oracle: by hand."""
    rows = made_up(demo, "rows")
    stems = []
    for names in (("<ä>", "c+.b"), ("<a>", "*a*"), ("***", "<..>")):
        renamed = replace(rows, concepts=tuple(map(Concept, names)))
        stems.append([file.stem for file in plan_export(renamed, "n/t").write().files])
    assert stems == [["t-ä", "t-c+.b"], ["t-a-0", "t-a-1"], ["t-0", "t-1"]]
    twice = [plan_export(rows, "again", overwrite=replaced).write() for replaced in (False, False, True)]
    typed = [one.embeddings["<asset0>"] for one in twice]
    assert typed == ["embedding:again-asset0", "embedding:again-asset0_2", "embedding:again-asset0"]
    assert "<asset1> is embedding:again-asset1" in twice[0].describe()


@pytest.mark.parametrize("name", ["a b", "a,b", "a<b", "a(b", "a:b", "../x", "/x", ""])
def test_a_name_that_no_prompt_can_hold_is_refused(demo, folders, name):
    """Oracle: the message, and that nothing was written, the own file neither."""
    before = sorted(folders.rglob("*"))
    with pytest.raises(InputError, match="^Save Concepts: .* Use a "):
        call(
            SaveConcepts, concepts=made_up(demo, "lora"), filename_prefix="kept/a", write="own file and exports",
            export_name=name, overwrite_exports=False,
        )  # fmt: skip
    assert sorted(folders.rglob("*")) == before


def test_a_manager_of_loras_finds_the_thumbnail_and_its_size_in_each_export(demo, folders):
    """Oracle: as such programs read them: the file's header alone, and the JPEG in it; the picture is red, by hand."""
    red = torch.tensor([1.0, 0.0, 0.0]).expand(2, 96, 512, 3)
    inputs = {"filename_prefix": "kept/a", "export_name": "shown", "overwrite_exports": False}
    call(SaveConcepts, concepts=made_up(demo, "lora"), write="own file and exports", thumbnail=red, **inputs)
    exports = sorted(folders.rglob("shown*.safetensors"))
    assert len(exports) >= 2
    for path in exports:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = header["__metadata__"]
        assert about["modelspec.resolution"] == "512x96"
        kind, _, picture = about["modelspec.thumbnail"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(BytesIO(b64decode(picture))) as shown:
            assert shown.size == (256, 48)
            assert shown.getpixel((128, 24)) == pytest.approx((254, 0, 0), abs=3)
