"""The ablation on a checkpoint and a folder of one's own, with the demo model for the checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from pack.scenescope.world.scene import draw
from pack.scenescope.world.unseen import loosened, unseen_layout
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as `dev.py bench` does."""
    command = [sys.executable, ROOT / "devtools" / "as_pack.py", ROOT / "benchmarks" / "checkpoint.py", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)


def test_a_folder_becomes_a_report_with_pictures(tmp_path):
    """Oracle: by hand: one line and one sheet for each way, three places down and three subsets across."""
    drawing = draw(unseen_layout(0, 2), height=64, width=96)
    Image.fromarray(np.uint8(drawing.picture * 255)).save(tmp_path / "img.png")
    for index, mask in enumerate(loosened(drawing.masks)):
        Image.fromarray(np.uint8(mask * 255)).save(tmp_path / f"mask{index}.png")
    (tmp_path / "words.txt").write_text("ring\n", "utf-8")
    words = ["--checkpoint", ROOT / "demo" / "scenescope-demo.safetensors", "--scene", tmp_path, "--cpu"]
    words += ["--steps", 1, 1, "--resolution", 79, "--only", "lora", "full:prior=off", "--sampler-steps", 2]
    done = run(*words, "--folder", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert [line["variant"] for line in lines] == ["lora", "full:prior=off"]
    assert all(value > 0 for line in lines for value in (*line["masked"], *line["fit"]))
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert text in done.stdout
    for line in lines:
        assert f"]({line['picture']})" in text
        with Image.open(tmp_path / "report" / line["picture"]) as sheet:
            assert sheet.size == (3 * 96, 3 * 64)


def test_a_folder_without_masks_says_what_it_lacks(tmp_path):
    """Oracle: the message."""
    done = run("--checkpoint", "none.safetensors", "--scene", tmp_path, "--cpu")
    assert done.returncode != 0
    assert "holds no img.png or no mask0.png; expected both" in done.stderr
