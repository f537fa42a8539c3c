"""The rehearsal's checks on a CUDA device; nothing is collected where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
COMFYUI = find_comfyui()
if torch.cuda.is_available() and COMFYUI is None:
    raise pytest.UsageError(f"tests/gpu: no ComfyUI was found; these tests need one. {HOW_TO_GET_ONE}")
if torch.cuda.is_available() and COMFYUI is not None:
    use_comfyui(COMFYUI, cpu=False)


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes() -> Iterator[None]:
    """Every test runs in inference mode, as nodes do (0.33.0, execution.py, PromptExecutor.execute_async)."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def demo() -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the demo model, on the device as soon as they compute."""
    from pack.host.demo import load_demo_model

    with torch.inference_mode():
        return load_demo_model()


@pytest.fixture(scope="session")
def plain(demo: tuple[Any, Any, Any]) -> Any:
    """A sampling run with nothing recorded."""
    from pack.tests.rehearsal.recorded import plain_run

    with torch.inference_mode():
        return plain_run(demo)
