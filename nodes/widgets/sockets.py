"""The pack's own socket types, and what every node shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from comfy_api.latest import io
from torch import Tensor

CATEGORY = "SceneScope"

Recorder = io.Custom("SCENESCOPE_RECORDER")
AttentionMaps = io.Custom("SCENESCOPE_ATTENTION_MAPS")
Scene = io.Custom("SCENESCOPE_SCENE")
Concepts = io.Custom("SCENESCOPE_CONCEPTS")
Settings = io.Custom("SCENESCOPE_SETTINGS")
Steering = io.Custom("SCENESCOPE_STEERING")
Region = io.Custom("SCENESCOPE_REGION")


def on_cpu(value: Any) -> Any:
    """Bring a picture, a mask, or several by name, to the CPU, where all drawing is; a latent stays where it is."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict) and "samples" not in value:
        return {name: on_cpu(part) for name, part in value.items()}
    return value


def takes_pictures(execute: Callable[..., Any]) -> Callable[..., Any]:
    """The entrance of a node with pictures or masks: with `--gpu-only` the host hands them over on the GPU."""

    @wraps(execute)
    def entrance(cls: Any, *args: Any, **inputs: Any) -> Any:
        return execute(cls, *map(on_cpu, args), **{name: on_cpu(value) for name, value in inputs.items()})

    return entrance
