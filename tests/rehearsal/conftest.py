"""The rehearsal: what the pack does on a GPU, done in a real ComfyUI on a GPU that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

COMFYUI = find_comfyui()
if COMFYUI is None:
    raise pytest.UsageError(f"tests/rehearsal: no ComfyUI was found; these tests need one. {HOW_TO_GET_ONE}")
use_comfyui(COMFYUI)
torch.set_num_threads(1)

from pack.host.demo import load_demo_model  # noqa: E402
from pack.tests.rehearsal.recorded import Sampled, plain_run  # noqa: E402
from pack.tests.rehearsal.simulated.host import put_host_on_device  # noqa: E402
from pack.tests.support.host.tier import (  # noqa: E402, F401
    as_the_host_runs_nodes,
    no_model_counts_as_leaked,
    what_is_imported_stays,
)


@pytest.fixture(scope="session", autouse=True)
def device() -> Iterator[None]:
    """The host takes the simulated device for its GPU."""
    with pytest.MonkeyPatch.context() as patch:
        put_host_on_device(patch)
        yield


@pytest.fixture(scope="session")
def demo(device: None) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the demo model, to be computed with on the device."""
    with torch.inference_mode():
        return load_demo_model()


@pytest.fixture(scope="session")
def plain(demo: tuple[Any, Any, Any]) -> Sampled:
    """A sampling run with nothing recorded, and what it cost."""
    with torch.inference_mode():
        return plain_run(demo)
