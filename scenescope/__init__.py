"""The core of SceneScope: attention maps, and learning concepts from them. It knows nothing of ComfyUI.

It needs torch, einops, numpy, safetensors and Pillow. Reading order: `dims` (names of dimensions, grids), `errors`,
`resample` (between grids), `files`, `drawing`, `attention` (recording and reading maps), `training` (learning concepts;
it reads attention, never the other way) and `world` (draws what the demo model knows).
"""
