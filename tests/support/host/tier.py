"""What every tier in a real ComfyUI has: its conftest imports these fixtures, after it has found the ComfyUI."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def what_is_imported_stays() -> None:
    """The host's half a million objects live as long as the tests: no collection of garbage looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes() -> Iterator[None]:
    """Every test runs in inference mode, as nodes do (0.33.0, execution.py, PromptExecutor.execute_async)."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def no_model_counts_as_leaked() -> Iterator[None]:
    """What the host would take for a leak is taken off its list, or it collects garbage at every loading from then on.

    Where a clone of a shared model ends together with what it was cloned from, as both do in a traceback, the host
    finds the model alive without a patcher (0.33.0, model_management.py, LoadedModel.is_dead and cleanup_models_gc).
    """
    yield
    import comfy.model_management

    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [entry for entry in loaded if not entry.is_dead()]
