"""MODEL, CLIP and VAE as training needs them: copies that can be trained; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...scenescope.errors import HostError
from ...scenescope.training.noise import NoiseSchedule
from ...scenescope.training.ports import ClassPictures, Ports
from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from .copies import bake, base_name, copy_patcher, prepare, release, types_for
from .memory import is_short, refuse_hopeless, with_precision
from .origin import learned_from, refuse_other_sampling, refuse_what_cannot_be_learned_from
from .text_encoder import HostText, encoder_of

Say = Callable[[str], None]


class HostDenoiser:
    """The copied U-Net, asked directly: latents arrive noised and scaled, as the U-Net expects them.

    Args:
        unet: host contract, ComfyUI 0.33 `openaimodel.UNetModel`; a copy.
        checkpointing: compute blocks again in the backward pass instead of keeping what they computed.
    """

    def __init__(self, unet: nn.Module, *, checkpointing: bool = False) -> None:
        self.unet = unet
        if checkpointing:
            for module in unet.modules():
                if isinstance(module, ResBlock | SpatialTransformer):
                    module.forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)

    def __call__(self, latents: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Predict the noise; the attention is the fused kernel's, whatever the host samples with."""
        options = {"optimized_attention_override": _fused}
        return self.unet(latents, timesteps.float(), context=context, transformer_options=options)


@contextmanager
def training_ports(
    model: Any,
    clip: Any,
    vae: Any,
    scene: Scene,
    settings: Settings,
    *,
    checkpointing: bool = False,
    class_pictures: Callable[[Ports], ClassPictures] | None = None,
    on_progress: Say = lambda text: None,
) -> Iterator[Ports]:
    """Supply what training needs from the host; MODEL, CLIP and VAE are not changed, bit for bit.

    U-Net and text encoder are copied, and the patches on them (LoRAs) baked into the copies. The memory is asked of
    the host first, which unloads other models for it.

    Args:
        model: MODEL of SD1.5, epsilon prediction.
        clip: its CLIP.
        vae: its VAE.
        scene: what is learned from; encoded once, upright and mirrored.
        settings: the method's.
        checkpointing: save memory for time: blocks are computed twice. The numbers are the same. Where the memory
            would not do without, it is done unasked.
        class_pictures: makes the pictures for the prior `class` with the ports; called only where they are needed.
        on_progress: told in a few words what is being done.

    Yields:
        The ports, while the copies live.

    Raises:
        HostError: the model is not one that can be trained, or cannot be copied.
    """
    check_trainable(model, clip)
    refuse_hopeless(model, clip, scene, settings)
    manage, before = comfy.model_management, comfy.model_management.in_training
    device, settings = model.load_device, with_precision(settings, model.load_device)
    try:
        with torch.inference_mode(False), torch.no_grad():
            manage.in_training = True
            on_progress("Naming the base model")
            base = base_name(model, clip)
            on_progress("Encoding the pictures")
            upright, mirrored = _latents(model, vae, scene, device)
            checkpointing = is_short(model, clip, scene, settings) or checkpointing
            twice = ", blocks twice" if checkpointing else ""
            on_progress(f"Copying the model; it computes in {settings.precision}{twice}")
            text, denoiser = _copies(model, clip, settings, device, checkpointing)
            others = learned_from(model, clip, vae, scene, settings)
            ports = Ports(text, denoiser, _schedule(model), upright, mirrored, base, others=others)
            if class_pictures is not None and settings.prior == "class" and settings.phase2_steps:
                ports = replace(ports, class_pictures=class_pictures(ports))
        with torch.inference_mode(False), _summed_in_single():
            yield ports
    finally:
        manage.in_training = before
        text = denoiser = ports = None  # type: ignore[assignment]
        release()


@contextmanager
def _summed_in_single() -> Iterator[None]:
    """Products of halves are summed in single precision: a gradient is a sum over thousands of cells.

    Source: host contract, ComfyUI 0.33 `model_management.py`: `--fast` allows sums in half precision, for sampling.
    """
    sums = torch.backends.cuda.matmul
    in_half = getattr(sums, "allow_fp16_accumulation", False)  # older torch has no such switch
    try:
        if in_half:
            sums.allow_fp16_accumulation = False
        yield
    finally:
        if in_half:
            sums.allow_fp16_accumulation = True


def check_trainable(model: Any, clip: Any) -> None:
    """Refuse models that the method does not know.

    Raises:
        HostError: it is not a U-Net of SD1.5's kind, predicts something other than the noise, carries changes that a
            copy would not have, or CLIP is of another family.
    """
    refuse_what_cannot_be_learned_from(model, clip)
    family, config = type(model.model).__name__, model.model.model_config.unet_config
    if (
        config.get("in_channels") != 4
        or config.get("adm_in_channels")
        or not hasattr(model.model.diffusion_model, "input_blocks")
    ):
        raise HostError(
            f"Train Concepts: this model is of the family {family}, {_why_not(config)}. Training is for SD1.5, which "
            "has 4 channels and reads the prompt alone. Load an SD1.5 checkpoint that isn't made for inpainting."
        )
    refuse_other_sampling(model)
    width = encoder_of(clip.cond_stage_model).transformer.get_input_embeddings().weight.shape[-1]
    if config.get("context_dim") != width:
        raise HostError(
            f"Train Concepts: the model reads text embeddings of width {config.get('context_dim')}, but this CLIP "
            f"writes {width}. Connect MODEL and CLIP from the same SD1.5 loader."
        )


def _why_not(config: Mapping[str, Any]) -> str:
    """What keeps a model from being SD1.5's."""
    if config.get("in_channels") not in (None, 4):
        return f"with {config['in_channels']} input channels"
    if config.get("adm_in_channels"):
        return f"which reads {config['adm_in_channels']} numbers beside the prompt"
    return "which has no U-Net"


def _copies(
    model: Any, clip: Any, settings: Settings, device: torch.device, checkpointing: bool
) -> tuple[HostText, HostDenoiser]:
    """Trainable copies of text encoder and U-Net, where they compute."""
    copy = copy_patcher(clip.patcher, "CLIP")
    bake(copy)
    prepare(copy.model, clip.cond_stage_model, device, types_for(settings))
    text = HostText(clip, encoder_of(copy.model))
    copy = copy_patcher(model, "MODEL")
    bake(copy)
    unet = copy.model.diffusion_model
    prepare(unet, model.model.diffusion_model, device, types_for(settings))
    return text, HostDenoiser(unet, checkpointing=checkpointing)


def _latents(model: Any, vae: Any, scene: Scene, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pictures, and the mirrored pictures, encoded and scaled: (image channel height width) float32."""

    def encode(pictures: Tensor) -> Tensor:
        with torch.inference_mode():  # contract: see `is_short`
            latents = model.model.process_latent_in(vae.encode(pictures.contiguous().clone()))
        return latents.to(device, torch.float32, copy=True)

    return encode(scene.pictures), encode(scene.pictures.flip(2))


def _schedule(model: Any) -> NoiseSchedule:
    """Signal and noise of each timestep, from the model's own sigmas = noise / signal."""
    sigmas = model.get_model_object("model_sampling").sigmas.cpu().double()
    signal = (1 + sigmas**2).rsqrt()
    return NoiseSchedule(signal.float(), (sigmas * signal).float())


def _fused(function: Any, *args: Any, **options: Any) -> Tensor:
    """Host contract, ComfyUI 0.33 `ldm/modules/attention.wrap_attn`: called in place of the host's choice."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **options)
