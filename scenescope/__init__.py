"""The core of SceneScope: attention maps, and learning concepts from them. It knows nothing about ComfyUI.

It needs torch, einops, numpy, safetensors and Pillow. Reading order: `dims` (names of dimensions, grids), `errors`,
`cost` (what sizes may cost), `resample` (between grids), `host_copies` (between the CPU and a device), `files`,
`drawing`, `attention` (recording, reading and acting on maps), `training` (learning concepts; it reads attention, never
the other way) and `world` (draws what the demo model knows).
"""
