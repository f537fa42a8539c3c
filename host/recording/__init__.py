"""Recording attention in ComfyUI.

Reading order: `entries` (conditionings by their names), `calls` (kinds of samplers and calls), `provenance` (what a run
was made with), `unet` (observers set for a run), `runs` (which run a latent came from), `live` (maps while sampling),
`sampling` (the stock sampler), `ask` (new words, by the path of a run's keys).
"""
