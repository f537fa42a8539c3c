"""Build Scene in the real host: from Demo Scene's sockets, from the painter's file, and through the server."""

from __future__ import annotations

import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import safetensors.torch
import torch
from pack.host.scene import pieces
from pack.nodes.demo import DemoScene
from pack.nodes.scene import BuildScene
from pack.scenescope.dims import Grid
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.scene.masks import PALETTE
from pack.scenescope.training.scene.scene import Concept
from PIL import ExifTags, Image

from nodes import LoadImage

WIDGETS: dict[str, Any] = {"handles": "", "words": "", "background": "", "resolution": 512}


@pytest.fixture(autouse=True)
def folders_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews and painted files lie in this test's own folders."""
    for kind in ("temp", "input"):
        (tmp_path / kind).mkdir()
        monkeypatch.setattr(folder_paths, f"{kind}_directory", str(tmp_path / kind))


def build(**given: Any) -> Any:
    """Execute the node as the host does: on a prepared clone of its class."""
    return BuildScene.PREPARE_CLASS_CLONE(None).execute(**given)


def paint(name: str, *strokes: tuple[tuple[int, int, int], tuple[slice, slice]], side: int = 128) -> None:
    """Write a painter's file into the input folder: colours in rectangles on transparent ground."""
    pixels = np.zeros((side, side, 4), dtype=np.uint8)
    for colour, place in strokes:
        pixels[place] = (*colour, 255)
    Image.fromarray(pixels, "RGBA").save(Path(folder_paths.get_input_directory(), name))


@pytest.mark.parametrize("things", ["2", "3"])
def test_demo_scene_fits_with_its_batch_of_masks_and_its_words(things):
    """Oracle: the demo scene's own parts; 128 pixels are kept, so nothing is resampled."""
    image, masks, *_, words, _ = DemoScene.execute(7, things, "loose", 128, 128).result
    answer = build(image=image, masks={"mask0": masks}, **WIDGETS | {"words": words, "resolution": 128})
    scene, sheet, report = answer.result
    assert torch.equal(scene.pictures, image)
    assert torch.equal(scene.masks[0], masks)
    expected = [Concept(f"<asset{index}>", word) for index, word in enumerate(words.splitlines())]
    assert list(scene.concepts) == expected
    assert sheet.shape[0] == 1
    assert report.startswith(f"{things} concepts in 1 picture of 128x128; latent 16x16, attention loss 4x4")


def test_demo_scene_fits_with_one_mask_to_a_socket_and_a_background():
    """Oracle: as above; the background is the complement, and its word is the line after the things'."""
    image, masks, one, two, three, words, _ = DemoScene.execute(3, "3", "exact", 160, 96).result
    given = WIDGETS | {"words": words + "\nbeach", "background": "<bg>", "resolution": 0}
    scene = build(image=image, masks={"mask0": one, "mask1": two, "mask2": three}, **given).result[0]
    assert torch.equal(scene.masks[0, :3], masks)
    assert torch.allclose(scene.masks[0, 3], 1 - masks.amax(dim=0))
    assert scene.concepts[3] == Concept("<bg>", "beach")
    assert scene.size == Grid(96, 160)


def test_an_empty_socket_and_a_thing_that_is_not_there_are_told():
    """Oracle: the third mask of a scene of two things is empty; a socket without a link counts as none."""
    image, _, one, two, three, *_ = DemoScene.execute(3, "2", "loose", 128, 128).result
    masks = {"mask0": one, "mask1": two, "mask2": three, "mask3": None}
    answer = build(image=image, masks=masks, **WIDGETS)
    assert "<asset2>'s mask is empty" in answer.result[2]
    (facts,) = answer.ui["scenescope_scene"]
    assert [concept["handle"] for concept in facts["concepts"]] == ["<asset0>", "<asset1>", "<asset2>"]
    assert [warning["kind"] for warning in facts["warnings"]] == ["empty mask", *["no word"] * 3]
    assert facts["grids"]["picture"] == [512, 512]
    assert len(answer.ui["images"]) == 1


def test_the_picture_itself_is_shown_for_painting_on_without_a_mask_too():
    """Oracle: the file holds the first picture's pixels; it is written although the scene is refused."""
    image = torch.rand(2, 48, 64, 3)
    with pytest.raises(InputError, match="no mask yet"):
        build(image=image, **WIDGETS)
    (file,) = Path(folder_paths.get_temp_directory()).rglob("*.png")
    with Image.open(file) as picture:
        assert np.array_equal(np.asarray(picture), (image[0].numpy() * 255).astype(np.uint8))
    answer = build(image=image, masks={"mask0": torch.ones(2, 48, 64)}, **WIDGETS)
    shown = answer.ui["scenescope_scene"][0]["picture"]
    assert Path(folder_paths.get_temp_directory(), shown["subfolder"], shown["filename"]).is_file()


def test_the_masks_of_sockets_are_shown_for_painting_on():
    """Oracle: by hand: half of the thing's colour where its mask is, the picture's own pixels elsewhere."""
    image, mask = torch.zeros(1, 48, 64, 3), torch.zeros(1, 24, 32)
    mask[:, :12] = 1
    answer = build(image=image, masks={"mask0": mask, "mask1": torch.zeros(1, 48, 64)}, **WIDGETS)
    told = answer.ui["scenescope_scene"][0]
    with Image.open(Path(folder_paths.get_temp_directory(), told["given"]["filename"])) as picture:
        pixels = np.asarray(picture)
    assert not pixels[24:].any()
    assert np.abs(pixels[:24] - np.array(PALETTE[0]) / 2).max() <= 1


def test_a_stray_dot_and_an_unknown_colour_are_told():
    """Oracle: by hand: a thing, a dot of another colour in it, and white, which is the painter's first colour."""
    inside, dot, white = (slice(0, 60), slice(0, 128)), (slice(10, 16), slice(10, 16)), (slice(80, 128), slice(0, 128))
    paint("p.png", (PALETTE[0], inside), ((255, 0, 255), dot), ((255, 255, 255), white))
    answer = build(image=torch.rand(1, 96, 96, 3), mask="p.png [input]", **WIDGETS)
    kinds = [warning["kind"] for warning in answer.ui["scenescope_scene"][0]["warnings"]]
    assert [kind for kind in kinds if kind != "no word"] == ["stray colour", "colour without a row"]
    assert "Warning: #ff00ff covers 0.22% of the painting, too little for a thing" in answer.result[2]


def test_words_are_counted_with_the_hosts_tokenizer():
    """Oracle: SD1.5's vocabulary: `cat` is in it, `<asset0>` and two words are not one token."""
    assert (pieces("cat"), pieces("cat dog"), pieces("")) == (1, 2, 0)
    assert pieces("<asset0>") > 1
    image, masks, *_ = DemoScene.execute(3, "2", "loose", 128, 128).result
    given = WIDGETS | {"handles": "cat\n<dog>", "words": "\npolka dots"}
    report = build(image=image, masks={"mask0": masks}, **given).result[2]
    assert "Warning: cat is an ordinary word" in report
    assert "Warning: The starting word 'polka dots' of <dog> is 2 tokens" in report


def test_an_embedding_as_a_starting_word_counts_as_its_vectors(folders):
    """Oracle: by hand: files of one and two vectors; one that is not there has none. Weights are no tokens."""
    for name, count in (("one", 1), ("two", 2)):
        file = folders / "embeddings" / f"{name}.safetensors"
        safetensors.torch.save_file({"emb_params": torch.ones(count, 768)}, file)
    texts = ("embedding:one", "embedding:two", "embedding:gone", "cat", "red cat embedding:two")
    assert [pieces(text) for text in texts] == [1, 2, 0, 1, 4]


def test_what_was_painted_joins_what_is_connected():
    """Oracle: by hand: the first thing's colour is added to its mask, red is a thing of its own."""
    image, masks, *_ = DemoScene.execute(3, "2", "loose", 128, 128).result
    corner, edge = (slice(0, 20), slice(0, 20)), (slice(120, 128), slice(0, 128))
    paint("painter-1-5.png", (PALETTE[0], corner), ((255, 0, 0), edge))
    given = WIDGETS | {"resolution": 0}
    scene = build(image=image, masks={"mask0": masks}, mask="painter-1-5.png [input]", **given).result[0]
    first, red = masks[0].clone(), torch.zeros(128, 128)
    first[corner], red[edge] = 1, 1
    assert torch.equal(scene.masks[0], torch.stack([first, masks[1], red]))


def test_painting_alone_is_enough_and_a_changed_file_counts_as_new():
    """Oracle: by hand; the fingerprint differs when the file's content does, and is empty without one."""
    image = torch.rand(1, 64, 64, 3)
    paint("p.png", ((0, 0, 255), (slice(0, 64), slice(0, 128))))
    scene, _, report = build(image=image, mask="p.png [input]", **WIDGETS | {"resolution": 0}).result
    assert "stretched" not in report  # the painter's canvas always lies over the whole picture
    assert scene.masks[0, 0].tolist() == torch.cat([torch.ones(32, 64), torch.zeros(32, 64)]).tolist()
    before = BuildScene.fingerprint_inputs(mask="p.png [input]", image=None)
    paint("p.png", ((0, 0, 255), (slice(0, 64), slice(0, 99))))
    assert BuildScene.fingerprint_inputs(mask="p.png [input]", image=None) != before
    assert BuildScene.fingerprint_inputs(mask="", image=None) == BuildScene.fingerprint_inputs() == ""


def sent_to_a_farm(inputs: dict[str, Any], worker: Path) -> dict[str, Any]:
    """Copy an API prompt's files as ComfyUI-Distributed does: those in inputs of four names, and they are renamed."""
    sent = dict(inputs)
    for key in ("image", "video", "audio", "file"):
        name = re.sub(r"\s*\[\w+\]$", "", sent[key]) if isinstance(sent.get(key), str) else ""
        if name:
            shutil.copy(Path(folder_paths.get_input_directory(), name), worker / "sent.png")
            sent[key] = "sent.png"
    return sent


def test_a_farm_that_copies_files_by_their_inputs_names_brings_the_painting(tmp_path, monkeypatch):
    """Oracle: the masks of the machine that was painted on; a prompt without the copy is refused, as before."""
    image, worker = torch.rand(1, 64, 64, 3), tmp_path / "worker"
    worker.mkdir()
    paint("p.png", (PALETTE[0], (slice(0, 64), slice(0, 128))), side=128)
    inputs = {"mask": "p.png [input]", "file": "p.png [input]"}
    here = build(image=image, **inputs, **WIDGETS).result[0]
    there, old = sent_to_a_farm(inputs, worker), sent_to_a_farm({"mask": inputs["mask"]}, worker)
    monkeypatch.setattr(folder_paths, "input_directory", str(worker))
    assert torch.equal(build(image=image, **there, **WIDGETS).result[0].masks, here.masks)
    assert BuildScene.fingerprint_inputs(**there) != BuildScene.fingerprint_inputs(**old) == ""
    with pytest.raises(FileError, match="painted masks 'p.png"):
        build(image=image, **old, **WIDGETS)


def test_the_painting_on_the_machine_comes_before_its_copy_and_a_copy_alone_is_enough():
    """Oracle: by hand: the upper half in one file, the lower in the other."""
    paint("up.png", (PALETTE[0], (slice(0, 64), slice(0, 128))))
    paint("low.png", (PALETTE[0], (slice(64, 128), slice(0, 128))))
    image, given = torch.rand(1, 128, 128, 3), WIDGETS | {"resolution": 0}
    for files, rows in (({"mask": "up.png", "file": "low.png"}, slice(0, 64)), ({"file": "low.png"}, slice(64, 128))):
        (mask,) = build(image=image, **files, **given).result[0].masks[0]
        assert mask[rows].sum() == mask.sum() == 64 * 128


@pytest.mark.parametrize("name", ["gone.png [input]", "broken.png [input]"])
def test_a_painting_that_cannot_be_read_is_named(name):
    """Oracle: the message."""
    Path(folder_paths.get_input_directory(), "broken.png").write_bytes(b"no picture")
    with pytest.raises(FileError, match=r"can't be read from the input folder. .* paint again"):
        build(image=torch.rand(1, 64, 64, 3), mask=name, **WIDGETS)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd.png", "a.png [output]", "a.txt"])
def test_a_painting_outside_the_input_folder_is_refused(name):
    """Oracle: the contained folder."""
    with pytest.raises(InputError):
        build(image=torch.rand(1, 64, 64, 3), mask=name, **WIDGETS)


@pytest.mark.parametrize(("kind", "orientation"), [("webp", 6), ("webp", 3), ("jpeg", 8), ("png", 2), ("webp", 1)])
def test_paint_on_a_square_picture_that_the_browser_turns_is_doubted(kind, orientation):
    """Oracle: the host's own loader: whether its picture is the file's pixels as they are stored."""
    stored = np.zeros((128, 128, 3), np.uint8)
    stored[:40, :, 0], stored[:, :20, 1] = 255, 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = Path(folder_paths.get_input_directory(), f"photo.{kind}")
    Image.fromarray(stored).save(file, kind.upper(), exif=exif)
    paint("strokes.png", (PALETTE[0], (slice(40, 90), slice(40, 90))))
    image = LoadImage().load_image(file.name)[0]
    as_stored = bool((image[0] - torch.from_numpy(stored) / 255).abs().mean() < 0.05)
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": file.name}},
        "2": {"class_type": "SceneScope_BuildScene", "inputs": {"image": ["1", 0]}},
    }
    node = BuildScene.PREPARE_CLASS_CLONE({"hidden_inputs": {"UNIQUE_ID": "2", "PROMPT": prompt}})
    report = node.execute(image=image, mask="strokes.png [input]", **WIDGETS).result[2]
    assert ("The browser rotates the picture's file" in report) == (orientation != 1 and as_stored)
    assert "The browser" not in build(image=image, mask="strokes.png [input]", **WIDGETS).result[2]


def test_a_scene_without_masks_is_refused_in_plain_words():
    """Oracle: the message."""
    with pytest.raises(InputError, match="Build Scene: no mask yet. Connect one"):
        build(image=torch.rand(1, 64, 64, 3), **WIDGETS)


def test_several_pictures_of_the_same_things():
    """Oracle: by hand: two pictures, each thing's masks in turn, and a sheet for each picture."""
    image, masks = torch.rand(2, 96, 64, 3), torch.rand(4, 96, 64)
    scene, sheet, _ = build(
        image=image, masks={"mask0": masks[:2], "mask1": masks[2:]}, **WIDGETS | {"resolution": 0}
    ).result
    assert torch.equal(scene.masks, masks.view(2, 2, 96, 64).movedim(0, 1))
    assert len(sheet) == 2


def test_the_node_asks_for_the_hosts_painter_as_the_hosts_own_node_does(server):
    """Oracle: core's Painter, by the server's description; the editor finds picture and widget by place and name."""
    info = server.get_json("/object_info")
    ours, theirs = (info[name]["input"] for name in ("SceneScope_BuildScene", "Painter"))
    kind, options = ours["optional"]["mask"]
    assert kind == theirs["required"]["mask"][0]
    wanted = theirs["required"]["mask"][1]
    assert {name: options[name] for name in ("widgetType", "image_upload", "socketless")} == {
        name: wanted[name] for name in ("widgetType", "image_upload", "socketless")
    }
    assert next(iter(ours["required"])) == "image"
    assert not {"width", "height", "bg_color"} & {name for part in ours.values() for name in part}


@pytest.mark.parametrize("links", [{"masks.mask0": 1}, {"masks.mask0": 2, "masks.mask1": 3}])
def test_the_server_takes_demo_scene_into_build_scene(server, links):
    """Oracle: the server's history: facts, a picture that opens, and the names that Demo Scene gave."""
    inputs = {"image": ["1", 0], "words": ["1", 5], "handles": "", "background": "<bg>", "resolution": 128}
    prompt = {
        "1": {
            "class_type": "SceneScope_DemoScene",
            "inputs": {"seed": 7, "things": "2", "masks": "loose", "width": 128, "height": 128},
        },
        "2": {
            "class_type": "SceneScope_BuildScene",
            "inputs": inputs | {name: ["1", slot] for name, slot in links.items()},
        },
    }
    shown = server.run(prompt)["outputs"]["2"]
    (facts,) = shown["scenescope_scene"]
    assert [concept["handle"] for concept in facts["concepts"]] == ["<asset0>", "<asset1>", "<bg>"]
    assert all(concept["word"] for concept in facts["concepts"][:2])
    assert Image.open(BytesIO(server.view(shown["images"][0]))).size[0] > 500
