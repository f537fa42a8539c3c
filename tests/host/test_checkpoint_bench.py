"""The ablation on a checkpoint and a folder of one's own, with the demo model for the checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pack.benchmarks.checkpoint import key_of
from pack.scenescope.world.scene import draw
from pack.scenescope.world.unseen import loosened, unseen_layout
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo" / "scenescope-demo.safetensors"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as `dev.py bench` does."""
    command = [sys.executable, ROOT / "devtools" / "as_pack.py", ROOT / "benchmarks" / "checkpoint.py", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)


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
    lines = json.loads((folder / "report.json").read_text("utf-8"))
    return {line["variant"]: line for line in lines}


def test_a_folder_becomes_a_report_with_pictures_and_a_second_run_adds_what_is_missing(tmp_path):
    """Oracle: by hand: one line and one sheet for each way; the line that was there keeps its file as it was."""
    folder_of_a_scene(tmp_path, "ring\nstar\n")
    words = ["--checkpoint", DEMO, "--scene", tmp_path, "--cpu", "--steps", 1, 1, "--resolution", 79]
    words += ["--sampler-steps", 2, "--folder", tmp_path / "report"]
    first = run(*words, "--only", "lora")
    assert first.returncode == 0, first.stderr
    before = report_of(tmp_path / "report")
    sheet = tmp_path / "report" / before["lora"]["picture"]
    written = sheet.stat().st_mtime_ns

    done = run(*words, "--only", "full:prior=off", "lora", "untrained")
    assert done.returncode == 0, done.stderr
    lines = report_of(tmp_path / "report")
    assert list(lines) == ["full:prior=off", "lora", "untrained"]
    assert lines["lora"] == before["lora"]
    assert sheet.stat().st_mtime_ns == written
    assert all(value > 0 for way in ("full:prior=off", "lora") for value in lines[way]["masked"] + lines[way]["fit"])
    assert lines["untrained"]["fit"] is None
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert text in done.stdout
    assert not list((tmp_path / "report").glob("*.partial"))
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
    Image.new("L", (96, 64), 255).save(tmp_path / "mask1.png")
    assert key_of(options, "settings") != first


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--checkpoint", "none.safetensors"], "there is no file none.safetensors"),
        (["--checkpoint", DEMO], "holds no img.png or no mask0.png; expected both"),
        (["--checkpoint", DEMO, "--only", "lora", "fll"], "no way to train is called fll"),
        (["--checkpoint", DEMO, "--only", "lora:rank=0"], "rank"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(tmp_path, words, says):
    """Oracle: the message, and no traceback."""
    done = run(*words, "--scene", tmp_path, "--cpu")
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
