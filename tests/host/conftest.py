"""The host tier: the pack against a real ComfyUI, in this process and in a server of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui
from pack.devtools.server import Place, Server

COMFYUI = find_comfyui()
if COMFYUI is None:
    raise pytest.UsageError(f"tests/host: no ComfyUI was found; these tests need one. {HOW_TO_GET_ONE}")
use_comfyui(COMFYUI)
torch.set_num_threads(1)  # the models of this tier are small: a second thread costs more than it gives

import folder_paths  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.tests.support.host import encoders, layouts  # noqa: E402
from pack.tests.support.host.checkpoint import checkpoint  # noqa: E402
from pack.tests.support.host.tier import (  # noqa: E402, F401
    as_the_host_runs_nodes,
    no_model_counts_as_leaked,
    what_is_imported_stays,
)


@pytest.fixture(scope="session")
def comfy_path() -> Path:
    """The folder of the ComfyUI in use."""
    return COMFYUI


@pytest.fixture(scope="session", autouse=True)
def temp_files_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What nodes show is written below the tests' own folder, not into the ComfyUI in use."""
    folder_paths.set_temp_directory(str(tmp_path_factory.mktemp("temp")))


@pytest.fixture(scope="session")
def small_models() -> dict[str, Any]:
    """One small model for each layout, made once; tests take clones of them."""
    return {
        "sd15": layouts.build(layouts.SD15),
        "sd15_half": layouts.build(layouts.SD15, dtype=torch.float16),
        "sd2": layouts.build(layouts.SD2),
        "sdxl": layouts.build(layouts.SDXL),
    }


@pytest.fixture
def sd15(small_models: dict[str, Any]) -> Any:
    """A small SD1.5-layout MODEL: 16 transformer blocks, 8 heads, text width 64."""
    return small_models["sd15"].clone()


@pytest.fixture
def sd15_half(small_models: dict[str, Any]) -> Any:
    """The same in half precision."""
    return small_models["sd15_half"].clone()


@pytest.fixture
def sd2(small_models: dict[str, Any]) -> Any:
    """A small SD2-layout MODEL: heads of a fixed width, linear projections."""
    return small_models["sd2"].clone()


@pytest.fixture
def sdxl(small_models: dict[str, Any]) -> Any:
    """A small SDXL-layout MODEL: two and three transformers to a block, a label embedding."""
    return small_models["sdxl"].clone()


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the demo model, loaded once for each file."""
    with torch.inference_mode():
        return load_demo_model()


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of embedding files."""
    return encoders.write_embeddings(tmp_path_factory.mktemp("embeddings"))


@pytest.fixture(scope="module")
def clip(embeddings: Path) -> Any:
    """A small CLIP of SD1.5 with the host's vocabulary; never changed by the tests."""
    return encoders.sd15(embeddings)


@pytest.fixture(scope="session")
def sd15_checkpoint() -> Path:
    """A checkpoint file of SD1.5's format and full size, random weights in half precision, made once per machine."""
    return checkpoint()


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all the tests that need one; tests take it through `server`."""
    base = tmp_path_factory.mktemp("comfyui")
    with Server(Place(COMFYUI, Path(sys.executable), base)) as server:
        yield server


@pytest.fixture
def server(running_server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real ComfyUI on the CPU with this pack alone, in a folder of its own; a failing test shows its log."""
    before = len(running_server.log)
    yield running_server
    request.node.add_report_section("call", "server log", running_server.log[before:])


@pytest.fixture
def served_checkpoint(server: Server, sd15_checkpoint: Path) -> str:
    """The full-size checkpoint's name in the server's Load Checkpoint."""
    folder = server.place.base / "models" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    there = folder / sd15_checkpoint.name
    if not there.exists():
        try:
            there.symlink_to(sd15_checkpoint)
        except OSError:
            shutil.copy(sd15_checkpoint, there)
    return there.name


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The host with folders of its own for outputs, inputs, embeddings and LoRAs."""
    place = tmp_path_factory.mktemp("host")
    before = folder_paths.get_output_directory(), folder_paths.get_input_directory()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("output", "input", "embeddings", "loras"):
            (place / name).mkdir()
        for kind in ("embeddings", "loras"):
            patch.setitem(folder_paths.folder_names_and_paths, kind, ([str(place / kind)], {".safetensors"}))
        folder_paths.set_output_directory(str(place / "output"))
        folder_paths.set_input_directory(str(place / "input"))
        yield place
    folder_paths.set_output_directory(before[0])
    folder_paths.set_input_directory(before[1])
