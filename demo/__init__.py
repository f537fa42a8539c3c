"""The demo model's makers: what `demo/train.py` runs. The pack itself only reads the weights.

Reading order: `layouts`, `outlines` and `weaves` (invented pictures), `captions`, `data` (what the denoiser learns
from), `model` (the denoiser in training), `initial` (first weights), `decoder` and `denoiser` (the two stages), `state`
(training on disk), `train` (the command), `export` (the shipped file), `tokenizer` (for use without ComfyUI), `measure`
(what the model can do), `studio` (makes and records pictures) and `judge` (what its pictures show).
"""
