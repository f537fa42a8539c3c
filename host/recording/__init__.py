"""Recording attention in ComfyUI.

Reading order: `entries` (conditionings by their names), `unet` (observers set for a run), `runs` (which run a latent
came from), `live` (maps while sampling), `sampling` (the stock sampler).
"""
