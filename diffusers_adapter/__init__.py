"""The second adapter: the core on diffusers' Stable Diffusion, for work in Python, and where there is no ComfyUI.

`Scope` is the one object to learn. Needs diffusers and transformers, which the pack itself never does.

In reading order: `scope.py` (what a user calls), `recording.py` (a pipeline's runs, observed), `words.py` (its prompts
and text encoder), `learning.py` (what training needs from it), `concepts.py` (learned tokens in it), `names.py` (its
layers under the names of SD1.5's checkpoints), `demo.py` (the demo model as a pipeline).

Contracts relied on, seen in diffusers 0.42.1 and 0.41.0 with transformers 5.24.0 and 5.20.2:

names.py
    `UNet2DConditionModel`: `down_blocks`, `mid_block`, `up_blocks` with `resnets`, `attentions`, and one sampler each.
    `BasicTransformerBlock`: `attn1` for self-, `attn2` for cross-attention, with `to_q`, `to_k` and `heads`.
recording.py
    `StableDiffusionPipeline.__call__`: asks `encode_prompt` once a run, then the U-Net and `scheduler.step` in turn;
    with guidance the first half of the batch is the negative prompt's.
    `Transformer2DModel` gets its features as the first positional argument.
words.py
    `CLIPTextModel`: `embeddings.token_embedding` is called once; its `last_hidden_state` is the context.
"""

from ..scenescope.training.learned.concepts import load_concepts, save_concepts
from .demo import demo_pipeline, demo_scene
from .scope import Scope

__all__ = ["Scope", "demo_pipeline", "demo_scene", "load_concepts", "save_concepts"]
