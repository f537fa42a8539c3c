"""What training needs from a pipeline: copies that can be trained, and the pictures as latents."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..scenescope.errors import HostError
from ..scenescope.training.noise import NoiseSchedule
from ..scenescope.training.ports import ClassPictures, Ports
from ..scenescope.training.scene.scene import Scene
from .concepts import base_name
from .names import UnetNames, in_checkpoint_order
from .words import PipelineText


class PipelineDenoiser:
    """A copied U-Net, asked directly: latents arrive noised and scaled, as it expects them.

    Args:
        unet: `UNet2DConditionModel`, a copy.
    """

    def __init__(self, unet: Any) -> None:
        self._whole = unet
        self.unet: nn.Module = UnetNames(unet)

    def __call__(self, latents: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Predict the noise (batch channel height width)."""
        answer: Tensor = self._whole(latents, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return answer


@contextmanager
def training_ports(pipe: Any, scene: Scene, classes: ClassPictures | None = None) -> Iterator[Ports]:
    """Supply what training needs from a pipeline, which is not changed, bit for bit.

    U-Net and text encoder are copied, in single precision, to where the pipeline's are.

    Args:
        pipe: of SD1.5, epsilon prediction.
        scene: what is learned from; encoded once, upright and mirrored.
        classes: for the prior `class`.

    Raises:
        HostError: the model is not one that can be trained.
    """
    check_trainable(pipe)
    with torch.inference_mode(False), torch.no_grad():
        base = base_name(pipe)
        encoder, unet = (_single(part) for part in (pipe.text_encoder, pipe.unet))
        for part in (encoder, unet):
            in_checkpoint_order(part)
        upright, mirrored = (_latents(pipe, pictures) for pictures in (scene.pictures, scene.pictures.flip(2)))
        text, denoiser = PipelineText(pipe.tokenizer, encoder), PipelineDenoiser(unet)
    with torch.inference_mode(False):
        yield Ports(text, denoiser, _schedule(pipe.scheduler), upright, mirrored, base, classes)


def check_trainable(pipe: Any) -> None:
    """Refuse pipelines that the method does not know.

    Raises:
        HostError: it has no U-Net of SD1.5's kind, predicts something other than the noise, or the text encoder is of
            another family.
    """
    unet, parts = getattr(pipe, "unet", None), ("unet", "text_encoder", "tokenizer", "vae")
    missing = [name for name in parts if getattr(pipe, name, None) is None]
    if unet is None or missing or getattr(pipe, "text_encoder_2", None) is not None:
        raise HostError(
            f"Learning: this {type(pipe).__name__} is not an SD1.5 pipeline, with a U-Net, one text encoder, a "
            "tokenizer and a VAE. Load an SD1.5 checkpoint with StableDiffusionPipeline."
        )
    if pipe.scheduler.config.get("prediction_type", "epsilon") != "epsilon":
        raise HostError(
            f"Learning: the model predicts {pipe.scheduler.config.prediction_type}, but only epsilon, the noise "
            "itself, can be trained here, as in SD1.5. Load an SD1.5 checkpoint that is no v-prediction model."
        )
    width = pipe.text_encoder.config.hidden_size
    if unet.config.in_channels != 4 or unet.config.cross_attention_dim != width:
        raise HostError(
            f"Learning: the U-Net has {unet.config.in_channels} input channels and reads texts of width "
            f"{unet.config.cross_attention_dim}; SD1.5 has 4 channels, and this text encoder has width {width}. Load "
            "an SD1.5 checkpoint that is not made for inpainting."
        )


def _single(part: nn.Module) -> Any:
    """A copy in single precision, by torch's own `to`, because diffusers' version warns about layers that it names."""
    return nn.Module.to(copy.deepcopy(part), torch.float32).eval()


def _latents(pipe: Any, pictures: Tensor) -> Tensor:
    """Pictures (image height width 3) 0..1, encoded and scaled: (image channel height width) float32."""
    vae = pipe.vae
    values = (pictures.movedim(-1, 1) * 2 - 1).to(vae.device, vae.dtype)
    encoded = vae.encode(values)
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return (latents * vae.config.scaling_factor).to(pipe.unet.device, torch.float32, copy=True)


def _schedule(scheduler: Any) -> NoiseSchedule:
    """Signal and noise of each timestep, from the scheduler's own products of alphas."""
    kept = scheduler.alphas_cumprod.double().cpu()
    return NoiseSchedule(kept.sqrt().float(), (1 - kept).sqrt().float())
