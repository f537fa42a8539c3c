"""A scene and short runs on the demo model."""

from __future__ import annotations

import hashlib
from typing import Any

import comfy.lora
import comfy.model_management
import torch
from pack.host.demo import demo_scene
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene
from pack.scenescope.training.settings import lora_settings

SHORT = lora_settings(phase1_steps=3, phase2_steps=3, rank=2, seed=4)


def small_scene(side: int = 64) -> Scene:
    """Two things, of a size at which a step takes a tenth of a second."""
    drawn = demo_scene(0, 2, loose=True, width=side, height=side)
    names = [Concept(f"<asset{index}>", word) for index, word in enumerate(drawn.words.splitlines())]
    return build_scene(drawn.image, drawn.single_masks[:2], names)


def bits_of(*parts: Any) -> str:
    """All parameters of MODEL, CLIP and VAE: bytes, types, and whether they ask for gradients."""
    digest = hashlib.sha256()
    model, clip, vae = parts
    for module in (model.model, clip.cond_stage_model, vae.first_stage_model):
        for name, item in module.named_parameters():
            digest.update(f"{name}{item.dtype}{item.requires_grad}{item.is_inference()}".encode())
            digest.update(item.detach().cpu().numpy().tobytes())
        digest.update(str(sum(len(part._forward_hooks) for part in module.modules())).encode())
    return digest.hexdigest()


def lora_of(model: Any, clip: Any, scale: float = 0.3) -> dict[str, torch.Tensor]:
    """A LoRA file's content: one layer of the U-Net, one of the text encoder."""
    generator, lora = torch.Generator().manual_seed(0), {}
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    keys = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, keys)
    weights = {**model.model.state_dict(), **clip.cond_stage_model.state_dict()}
    for name in (
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_k",
        "lora_te_text_model_encoder_layers_0_self_attn_v_proj",
    ):
        tall, wide = weights[keys[name]].shape
        lora[f"{name}.lora_up.weight"] = scale * torch.randn(tall, 2, generator=generator)
        lora[f"{name}.lora_down.weight"] = scale * torch.randn(2, wide, generator=generator)
    return lora


def hosts_noise(model: Any, noisy: torch.Tensor, place: int, context: torch.Tensor) -> torch.Tensor:
    """What the host's own model call says the noise is, from its denoised latent."""
    comfy.model_management.load_models_gpu([model])
    sigma = model.get_model_object("model_sampling").sigmas[place][None]
    latents = noisy * (1 + sigma**2).sqrt()
    denoised = model.model.apply_model(latents, sigma, c_crossattn=context)
    return (latents - denoised) / sigma
