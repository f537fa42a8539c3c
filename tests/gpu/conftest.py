"""The rehearsal's checks on a CUDA device; nothing is collected where there is none, unless they are rehearsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui
from pack.tests.gpu.chosen import SIMULATED, THERE
from pack.tests.support.host.tier import (  # noqa: F401
    as_the_host_runs_nodes,
    no_model_counts_as_leaked,
    what_is_imported_stays,
)

collect_ignore_glob = [] if THERE else ["test_*.py"]
COMFYUI = find_comfyui()
if THERE and COMFYUI is None:
    raise pytest.UsageError(f"tests/gpu: no ComfyUI was found; these tests need one. {HOW_TO_GET_ONE}")
if THERE and COMFYUI is not None:
    use_comfyui(COMFYUI, cpu=SIMULATED)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each test's first case alone, where they are rehearsed."""
    if SIMULATED:
        first: dict[str, pytest.Item] = {}
        for item in items:
            first.setdefault(item.nodeid.partition("[")[0], item)
        kept = list(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def device() -> Iterator[None]:
    """Where they are rehearsed, the host takes the simulated device for its GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if SIMULATED:
            from pack.tests.rehearsal.simulated.host import put_host_on_device

            torch.set_num_threads(1)
            put_host_on_device(patch)
        yield


@pytest.fixture(scope="session")
def demo(device: None) -> tuple[Any, Any, Any]:
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
