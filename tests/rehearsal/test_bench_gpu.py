"""`dev.py bench gpu` on the simulated device, so that no slip of the pen takes the first minute on a real one."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from pack.benchmarks.device.bench import Bench, table
from pack.benchmarks.gpu import PARTS, run_on
from pack.tests.rehearsal.simulated.backend import Backend

EXPECTED = {
    "versions": ["versions", "device", "loading MODEL, CLIP and VAE (the first time, making the file)"],
    "checks": ["test_what_was_learned_is_saved_and_applied"],
    "recording": ["pytorch, cross, mean", "pytorch, self /4", "sub_quad, self /2"],
    "training": ["lora, float32", "lora, bfloat16, blocks twice", "kernels of a step, lora, bfloat16"],
    "memory": ["lora in 6 GiB", "full in 12 GiB", "cancelled inside step 2"],
    "compiled": ["recording", "training"],
    "server": ["server, --cpu"],
    "demo": ["decoder", "denoiser"],
}
"""Some of what each part has to note."""
pytestmark = pytest.mark.timeout(900)  # tests/gpu and a server run inside two of them


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts write."""
    return tmp_path_factory.mktemp("figures")


@pytest.mark.parametrize("name", PARTS)
def test_each_part_runs_to_its_end_and_keeps_its_notes(name: str, folder: Path):
    """Oracle: its file, which names what was to be measured, and no error; the table has a line for each note."""
    run_on(Bench(name, folder, rehearse=True))
    noted = json.loads((folder / f"{name}.json").read_text("utf-8"))
    assert [row for row in noted if "error" in row] == []
    assert set(EXPECTED[name]) <= {row["what"] for row in noted}
    lines = table({name: noted}).splitlines()
    assert len(lines) == 2 + len(noted)
    assert all(line.count("|") == 4 for line in lines)


def test_all_parts_together_take_eight_minutes_at_most():
    """Oracle: the goal for a GPU of a data centre; each part is broken off when its time is over."""
    assert sum(part.within for part in PARTS.values()) <= 8 * 60


def test_the_simulated_device_offers_nothing_that_cuda_has_not():
    """Oracle: torch.cuda: the same names, which take the same arguments."""
    for name in (name for name in vars(Backend) if not name.startswith("_") and name != "get_amp_supported_dtype"):
        own, real = getattr(Backend, name), getattr(torch.cuda, name)
        if inspect.isfunction(own) and inspect.isfunction(real):
            assert list(inspect.signature(own).parameters) == list(inspect.signature(real).parameters), name
    assert {"enable_timing"} <= inspect.signature(torch.cuda.Event.__new__).parameters.keys()
