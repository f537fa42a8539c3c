"""Small U-Nets in the layouts of SD1.5, SD2 and SDXL: the host's own classes, random weights, milliseconds per step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import torch

SHARPNESS = 1.5  # on to_q and to_k: logits with a standard deviation near 2, so that attention is far from uniform
TEXT_WIDTH = 64
_FOUR_LEVELS: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "use_checkpoint": False,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "model_channels": 32,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": TEXT_WIDTH,
    "adm_in_channels": None,
}


@dataclass(frozen=True)
class Layout:
    """One model family: the host's class for it, and the sizes of the small U-Net."""

    family: type
    unet: dict[str, Any]


SD15 = Layout(
    comfy.supported_models.SD15,
    _FOUR_LEVELS | {"use_linear_in_transformer": False, "num_heads": 8, "num_head_channels": -1},
)
SD2 = Layout(
    comfy.supported_models.SD20,
    _FOUR_LEVELS | {"use_linear_in_transformer": True, "num_heads": -1, "num_head_channels": 16},
)
SDXL = Layout(
    comfy.supported_models.SDXL,
    _FOUR_LEVELS
    | {
        "use_linear_in_transformer": True,
        "num_heads": -1,
        "num_head_channels": 16,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 3, 3],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3],
        "transformer_depth_middle": 3,
        "num_classes": "sequential",
        # The pooled text and six sizes, 256 features each (model_base.SDXL.encode_adm).
        "adm_in_channels": TEXT_WIDTH + 6 * 256,
    },
)


@torch.inference_mode()
def build(layout: Layout, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """Make a patcher around a small random U-Net, as a core loader would hand it over.

    Args:
        layout: one of SD15, SD2, SDXL
        dtype: of the weights and of the arithmetic
        seed: of the weights

    Returns:
        model: comfy.model_patcher.ModelPatcher on the CPU; `clone(force_deepcopy=True)` builds the same weights again
    """
    config = layout.family(layout.unet)
    # The families' own extras hold the full-size widths of a head.
    config.unet_config.update(layout.unet, dtype=dtype)
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=torch.device("cpu"))
    _fill(model.diffusion_model, seed)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    patcher.cached_patcher_init = (_again, (layout, dtype, seed))
    return patcher


def _again(layout: Layout, dtype: torch.dtype, seed: int, disable_dynamic: bool = False) -> Any:
    return build(layout, dtype=dtype, seed=seed)


def _fill(unet: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in unet.named_parameters():
        if weight.ndim == 1:
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        scale = 1 / math.sqrt(weight[0].numel())
        if name.endswith(("to_q.weight", "to_k.weight")):
            scale *= SHARPNESS
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
