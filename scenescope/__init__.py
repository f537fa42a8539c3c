"""The core of SceneScope: attention maps, and learning concepts from them.

This ring needs torch, einops, numpy, safetensors and Pillow, and nothing of the host. `attention` is the eye,
`training` is the hand; training reads what the eye records, never the other way.
`world` draws what the demo model knows.
"""
