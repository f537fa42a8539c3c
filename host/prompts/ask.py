"""New words as the model's cross-attention sees them.

Host contracts, ComfyUI 0.33.0: a conditioning is a list of (tensor, dictionary); `BaseModel.get_dtype_inference` is the
type that the U-Net computes in (`comfy/model_base.py`); `load_models_gpu` puts weights, with the MODEL's patches, where
they run (`comfy/model_management.py`); SD1.5, SD2 and SDXL hand the conditioning's tensor to `attn2.to_k` as it is.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch

from ...scenescope.attention.read.ask import Question
from ...scenescope.attention.record.layers import find_layers
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.words.tokens import Token, TokenTable, fit_table
from ...scenescope.errors import WordError
from .text import TOKENS_KEY, table_from_prompt


def question_of(
    model: Any, recording: Recording, conditioning: Any, branch: str, *, clip: Any = None, prompt: str | None = None
) -> Question:
    """Ask the model for the keys that new words have in each recorded block.

    Args:
        model: the MODEL that was sampled, with its LoRAs; loaded if it is not.
        recording: what the run left.
        conditioning: the new words, encoded; its first entry counts.
        branch: the conditioning beside whose prompt the words are asked.
        clip: the CLIP that made the conditioning, for one that carries no words.
        prompt: its prompt as it was typed.

    Returns:
        The question: keys on the CPU, and a token for each word's column; start, end and padding are left out.

    Raises:
        WordError: the conditioning carries no words.
        HostError: the model is no U-Net.
    """
    context, options = conditioning[0]
    tokens = _words(context.shape[1], options.get(TOKENS_KEY), clip, prompt)
    blocks = {layer.block for layer in recording.layers if layer.kind == "cross"}
    comfy.model_management.load_models_gpu([model])
    device, dtype = model.load_device, model.model.get_dtype_inference()
    columns = [token.column for token in tokens]
    words = context[:1, columns].to(device=device, dtype=dtype)  # (1 token channel)
    with torch.no_grad():
        keys = {
            found.layer.block: found.attention.get_submodule("to_k")(words).cpu()
            for found in find_layers(model.model.diffusion_model, ["cross"])
            if found.layer.block in blocks
        }
    return Question(keys, tokens, branch)


def _words(columns: int, table: TokenTable | None, clip: Any, prompt: str | None) -> tuple[Token, ...]:
    if clip is not None and prompt:
        table = table_from_prompt(clip, prompt)
    if table is None:
        raise WordError(
            "Ask Again: this conditioning doesn't carry its words. Put Trace Words between the CLIP and CLIP Text "
            "Encode, or connect clip here and type the words again."
        )
    return tuple(token for token in fit_table(table, columns).tokens if token.word is not None)
