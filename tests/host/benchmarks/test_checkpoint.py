"""The ablation on a checkpoint and a folder of one's own, with the demo model for the checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import comfy.utils
import numpy as np
import pytest
import torch
from pack.benchmarks.checkpoint import WAYS, key_of, main
from pack.benchmarks.lab.photo import read_photo
from pack.benchmarks.lab.variants import DEFAULT, WITHOUT_TRAINING
from pack.devtools.as_pack import command
from pack.scenescope.world.scene import draw
from pack.scenescope.world.unseen import loosened, unseen_layout
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "demo" / "scenescope-demo.safetensors"


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as `dev.py bench` does, standing in a folder."""
    called = command(ROOT / "benchmarks" / "checkpoint.py", *words)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(called, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def folder_of_a_scene(folder: Path, words: str) -> Path:
    """A drawn scene as the folder that the benchmark reads."""
    drawing = draw(unseen_layout(0, 2), height=64, width=96)
    Image.fromarray(np.uint8(drawing.picture * 255)).save(folder / "img.png")
    for index, mask in enumerate(loosened(drawing.masks)):
        Image.fromarray(np.uint8(mask * 255)).save(folder / f"mask{index}.png")
    (folder / "words.txt").write_text(words, "utf-8")
    return folder


def report_of(folder: Path) -> dict[str, dict]:
    """The report's lines by their ways."""
    lines = json.loads((folder / "results.json").read_text("utf-8"))
    return {line["variant"]: line for line in lines.values()}


@pytest.mark.usefixtures("bar_as_it_was")
def test_a_folder_becomes_a_report_with_pictures_and_a_second_run_adds_what_is_missing(tmp_path, monkeypatch):
    """Oracle: by hand: one line and one sheet for each way; the line that was there keeps its file as it was."""
    folder_of_a_scene(tmp_path, "ring\nstar\n")
    words = ["--checkpoint", DEMO, "--scene", tmp_path, "--cpu", "--steps", 1, 1, "--resolution", 79]
    words += ["--sampler-steps", 2, "--folder", tmp_path / "report"]
    monkeypatch.setattr(sys, "argv", ["checkpoint.py", *map(str, words), "--only", "lora"])
    main()
    before = report_of(tmp_path / "report")
    sheet = tmp_path / "report" / before["lora"]["picture"]
    written = sheet.stat().st_mtime_ns

    done = run(*words, "--only", "full:prior=off", "lora", "untrained")
    assert done.returncode == 0, done.stderr
    lines = report_of(tmp_path / "report")
    assert set(lines) == {"full:prior=off", "lora", "untrained"}
    assert lines["lora"] == before["lora"]
    assert sheet.stat().st_mtime_ns == written
    assert all(value > 0 for way in ("full:prior=off", "lora") for value in lines[way]["masked"] + lines[way]["fit"])
    assert lines["untrained"]["fit"] is None
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert text in done.stdout
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["The scene", "full, prior=off", "lora", "no training, starting words"]
    assert not list((tmp_path / "report").glob(".*.tmp"))
    for line in lines.values():
        assert f"]({line['picture']})" in text
        with Image.open(tmp_path / "report" / line["picture"]) as picture:
            assert picture.size == (170 + 3 * (192 + 13), 32 + 3 * (128 + 13))  # words and gaps, three by three


def test_another_mask_or_setting_makes_a_new_line(tmp_path):
    """Oracle: an invariant of the key: it changes with the files, the settings and nothing else in the folder."""
    folder_of_a_scene(tmp_path, "ring\n")
    options = argparse.Namespace(checkpoint=DEMO, scene=tmp_path, resolution=64, sampler_steps=2)
    options.class_pictures, options.seed = 1, 0
    first = key_of(options, "settings")
    (tmp_path / "notes.txt").write_text("anything", "utf-8")
    assert key_of(options, "settings") == first
    assert key_of(options, "others") != first
    (tmp_path / "masks").mkdir()
    assert key_of(options, "settings") == first
    Image.new("L", (96, 64), 255).save(tmp_path / "mask1.png")
    assert key_of(options, "settings") != first


def ended(patch: pytest.MonkeyPatch, *words: object) -> str:
    """Run the benchmark in this process until it ends with a sentence, and return that; no other error leaves it."""
    patch.setattr(sys, "argv", ["checkpoint.py", *map(str, words), "--cpu"])
    with pytest.raises(SystemExit) as end:
        main()
    return str(end.value.code)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--checkpoint", "none.safetensors"], "bench checkpoint: there is no file {here}/none.safetensors"),
        (["--checkpoint", DEMO], "bench checkpoint: {here}/scene has no img.png or no mask0.png"),
        (["--checkpoint", DEMO, "--scene", "nowhere"], "there is no folder {here}/nowhere"),
        (["--checkpoint", DEMO, "--only", "lora", "fll"], "there is no way to train called fll"),
        (["--checkpoint", DEMO, "--only", "lora:rank=0"], "bench checkpoint: Train Settings: rank is 0"),
        (["--checkpoint", DEMO, "--only", "lora:rank=x"], "bench: rank is 'x', but it has to be a whole number"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(tmp_path, monkeypatch, words, says):
    """Oracle: the message; files are looked for where the user stands, and told in full."""
    (tmp_path / "scene").mkdir()
    monkeypatch.chdir(tmp_path)
    said = ended(monkeypatch, "--scene", "scene", *words)
    assert says.format(here=tmp_path) in said.replace(os.sep, "/")


def test_a_refusal_is_no_traceback(tmp_path):
    """Oracle: the message alone, for a user's own call."""
    done = run("--checkpoint", "none.safetensors", "--scene", "scene", cwd=tmp_path)
    assert done.returncode != 0
    assert "there is no file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_number_that_is_none_is_refused(monkeypatch, capsys):
    """Oracle: the message; `ended` lets nothing else leave the command."""
    assert ended(monkeypatch, "--checkpoint", DEMO, "--scene", "scene", "--sampler-steps", 0) == "2"
    assert "0 is not a whole number of 1 or more" in capsys.readouterr().err


def broken_photo(folder: Path) -> None:
    """A photo of which a download brought the beginning only."""
    (folder / "img.png").write_bytes((folder / "img.png").read_bytes()[:60])


def no_photo(folder: Path) -> None:
    """Something else under the photo's name."""
    (folder / "img.png").write_text("no picture", "utf-8")


def turned_mask(folder: Path) -> None:
    """A mask of the picture held the other way."""
    Image.new("L", (64, 96), 255).save(folder / "mask1.png")


def empty_mask(folder: Path) -> None:
    """A mask that covers nothing."""
    Image.new("L", (96, 64), 0).save(folder / "mask1.png")


def foreign_words(folder: Path) -> None:
    """Words as an old editor writes them."""
    (folder / "words.txt").write_bytes("Schüssel".encode("latin-1"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (broken_photo, "img.png can't be read"),
        (no_photo, "img.png can't be read"),
        (turned_mask, "mask1.png is 96x64 (height x width), a different shape"),
        (empty_mask, "<asset1>'s mask is empty"),
        (foreign_words, "words.txt can't be read"),
    ],
)
def test_a_scene_that_cannot_be_learned_is_refused_in_one_sentence(tmp_path, monkeypatch, spoil, says):
    """Oracle: the message."""
    spoil(folder_of_a_scene(tmp_path, "ring\nstar\n"))
    assert says in ended(monkeypatch, "--checkpoint", DEMO, "--scene", tmp_path, "--resolution", 79)


def some_text(file: Path) -> None:
    """A page that a server sent in place of the model."""
    file.write_text("<html>Not found</html>" * 20, "utf-8")


def other_weights(file: Path) -> None:
    """Sound weights of something that is no model."""
    save_file({"layer.weight": torch.zeros(2, 2)}, file)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("make", [some_text, other_weights])
def test_a_file_that_is_no_model_is_refused_in_one_sentence(tmp_path, monkeypatch, make, name):
    """Oracle: the message."""
    folder_of_a_scene(tmp_path, "ring\nstar\n")
    make(tmp_path / name)
    said = ended(monkeypatch, "--checkpoint", tmp_path / name, "--scene", tmp_path, "--resolution", 79)
    assert f"the model {tmp_path / name} can't be loaded" in said


def test_where_no_way_is_left_it_says_so(tmp_path, monkeypatch):
    """Oracle: the message; there is no report. `masks/` is a folder, no mask."""
    folder_of_a_scene(tmp_path, "ring\n")
    (tmp_path / "masks").mkdir()
    words = ("--checkpoint", DEMO, "--scene", tmp_path, "--resolution", 79, "--only", "untrained")
    assert "words.txt has 1 of 2 starting words" in ended(monkeypatch, *words)
    assert not (tmp_path / "ablation").exists()


def test_a_photo_is_turned_as_its_exif_says_and_so_are_masks(tmp_path):
    """Oracle: the same scene from files that stand upright; 6 is the orientation of a phone held upright."""
    upright, turned = tmp_path / "upright", tmp_path / "turned"
    upright.mkdir()
    turned.mkdir()
    drawn = np.uint8(draw(unseen_layout(0, 2), height=96, width=64).picture * 255)
    mask = np.zeros((96, 64), np.uint8)
    mask[8:64, 8:40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, pixels in (("img.png", drawn), ("mask0.png", mask)):
        Image.fromarray(pixels).save(upright / name)
        Image.fromarray(np.rot90(pixels)).save(turned / name, exif=exif)
    wanted, photo = read_photo(upright, 79), read_photo(turned, 79)
    assert photo.scene.size == (96, 64)
    assert torch.equal(photo.scene.pictures, wanted.scene.pictures)
    assert torch.equal(photo.scene.masks, wanted.scene.masks)


def test_masks_may_have_another_size_of_the_same_shape(tmp_path):
    """Oracle: by hand: a half of 48x32 beside a picture of 96x64 is the half of it, and is told."""
    folder_of_a_scene(tmp_path, "ring\nstar\n")
    half = np.zeros((32, 48), np.uint8)
    half[:, :24] = 255
    Image.fromarray(half).save(tmp_path / "mask1.png")
    photo = read_photo(tmp_path, 79)
    assert float(photo.scene.masks[0, 1].mean()) == pytest.approx(0.5, abs=0.02)
    assert "mask of another size" in [caution.kind for caution in photo.found]


class SmallMemory:
    """A hook that has room for four pictures at once."""

    def __call__(self, module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and isinstance(inputs[0], torch.Tensor) and len(inputs[0]) == 5:
            raise MemoryError


@pytest.fixture
def bar_as_it_was() -> Iterator[None]:
    """The host's progress bar is switched on again: a studio switches it off."""
    yield
    comfy.utils.set_progress_bar_enabled(True)


@pytest.mark.usefixtures("bar_as_it_was")
def test_a_way_that_does_not_fit_in_memory_is_noted_and_the_next_is_tried(tmp_path, monkeypatch, capsys):
    """Oracle: by hand: room for four pictures and a batch of five; then none of the scene's ways is left out."""
    folder_of_a_scene(tmp_path, "ring\n")
    (tmp_path / "mask1.png").unlink()
    words = ["--checkpoint", DEMO, "--scene", tmp_path, "--steps", 2, 1, "--resolution", 79, "--sampler-steps", 1]
    hook = torch.nn.modules.module.register_module_forward_pre_hook(SmallMemory())
    try:
        said = ended(monkeypatch, *words, "--only", "lora:batch=5", "lora", "untrained")
    finally:
        hook.remove()
    assert said == "bench checkpoint: 1 of 3 ways failed: lora:batch=5."
    folder = tmp_path / "ablation"
    assert list(report_of(folder)) == ["lora", "untrained"]
    text = (folder / "report.md").read_text("utf-8")
    assert "\n| lora, batch=5 | - | - | - | - | - |\n" in text
    assert "\nlora, batch=5 did not fit in memory: cpu has " in text
    assert "Try --checkpointing, --resolution 56." in text
    with Image.open(folder / "scene.png") as preview:
        assert preview.width > 512
    out = capsys.readouterr().out
    assert "1 concept in 1 picture of 64x96" in out
    assert "  step 1 of 3, phase 1, loss " in out
    assert "  step 3 of 3, phase 2, loss " in out
    assert "  picture 3 of 3\n" in out
    assert not list(folder.glob("*.state"))


def test_what_needs_least_comes_first():
    """Oracle: by hand."""
    assert WAYS[:3] == ("untrained", "lora", "full")
    assert sorted(WAYS) == sorted(way for way in DEFAULT if way == "untrained" or way not in WITHOUT_TRAINING)
