"""The pack's own socket types, and what every node shares."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "SceneScope"

Recorder = io.Custom("SCENESCOPE_RECORDER")
AttentionMaps = io.Custom("SCENESCOPE_ATTENTION_MAPS")
Scene = io.Custom("SCENESCOPE_SCENE")
Concepts = io.Custom("SCENESCOPE_CONCEPTS")
Settings = io.Custom("SCENESCOPE_SETTINGS")
Steering = io.Custom("SCENESCOPE_STEERING")
Region = io.Custom("SCENESCOPE_REGION")
