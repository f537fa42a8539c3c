"""The denoiser in training: the host's U-Net and text model at reduced width, around a table of known words."""

from __future__ import annotations

from pathlib import Path
from types import MethodType

import comfy.ops
import torch
from comfy.clip_model import CLIPTextModel
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from safetensors import safe_open
from torch import nn

from ..host.demo import widen_groups
from ..host.training.text_encoder import out_of_place
from .initial import set_first_weights
from .state import load_part

WIDTH = 128
"""Width of the text model, and so of the context."""
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 3, 3], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "use_spatial_transformer": True,
    "use_linear_in_transformer": False, "context_dim": WIDTH, "num_heads": 8, "num_head_channels": -1, "legacy": False,
    "adm_in_channels": None, "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip
"""Arguments of the host's UNetModel: SD1.5's, but for the widths."""
TEXT = {
    "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 256,
    "hidden_act": "quick_gelu", "max_position_embeddings": 77, "eos_token_id": 49407, "vocab_size": 49408,
}  # fmt: skip
"""The host's CLIP configuration: SD1.5's, but for widths and depth."""


@torch.no_grad()
def start_from(model: Denoiser, path: Path, spread: float) -> None:
    """Begin with the weights of a model file; words that it does not know start near its generic one.

    Args:
        model: changed in place.
        path: a file that `export` wrote.
        spread: standard deviation of the new words' rows around the generic one.
    """
    load_part(path, "model.diffusion_model.", model.unet)
    table = "text_model.embeddings.token_embedding.weight"
    with safe_open(path, "pt") as file:
        rows = file.get_tensor("cond_stage_model.known_rows").float()
        ids = {int(token): row for row, token in enumerate(file.get_tensor("cond_stage_model.known_ids"))}
        for name, value in model.text.state_dict().items():
            if name.startswith("text_model.") and name != table:
                value.copy_(file.get_tensor(f"cond_stage_model.transformer.{name}"))
    own = model.text.get_input_embeddings().weight
    own.copy_(rows[-1] + spread * torch.randn_like(own))
    for token, row in model.known.items():
        if token in ids:
            own[row] = rows[ids[token]]
    own[-1] = rows[-1]


class Denoiser(nn.Module):
    """Text model and U-Net that predict noise from noisy latents, timesteps and token ids.

    Args:
        known: token ids that captions use; all others share one fallback row, the last.
    """

    def __init__(self, known: list[int]) -> None:
        super().__init__()
        ops = comfy.ops.disable_weight_init
        self.unet = UNetModel(**UNET, dtype=torch.float32, device="cpu", operations=ops)
        widen_groups(self.unet)
        self.text = CLIPTextModel(TEXT, torch.float32, "cpu", ops)
        self.text.text_projection = nn.Identity()
        self.text.set_input_embeddings(ops.Embedding(len(known) + 1, WIDTH))
        for layer in self.text.text_model.encoder.layers:
            layer.forward = MethodType(out_of_place, layer)
        set_first_weights(self.text)
        set_first_weights(self.unet, zeroed=("proj_out", "out_layers.3", "out.2"))
        nn.init.normal_(self.text.text_model.embeddings.position_embedding.weight, 0, 0.02)
        nn.init.normal_(self.text.get_input_embeddings().weight, 0, 0.3)
        self.known = {token: row for row, token in enumerate(known)}

    def context(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode token ids, (batch token) -> (batch token width)."""
        inner = self.text.text_model
        device = inner.embeddings.position_embedding.weight.device
        rows = torch.tensor(
            [[self.known.get(t, len(self.known)) for t in row] for row in tokens.tolist()], device=device
        )
        # As CLIPTextModel_.forward, but for prompts of any length: what comes later in a prompt changes nothing before.
        embedded = inner.embeddings.token_embedding(rows) + inner.embeddings.position_embedding.weight[: rows.shape[1]]
        later = torch.full((rows.shape[1],) * 2, -torch.finfo(embedded.dtype).max, device=device).triu_(1)
        return inner.final_layer_norm(inner.encoder(embedded, mask=later)[0])

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Predict the noise, (batch 4 row column)."""
        return self.unet(noisy, timesteps, context=context)
