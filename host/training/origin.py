"""What a run learns from: the one list that names it and decides whether it may resume.

| what | where |
|---|---|
| scene: pictures, masks, handles, starting words | `Scene.digest` |
| settings | `Settings` |
| weights of U-Net and text encoder, LoRAs on them, also in bypass mode, and the CLIP's layer | `base_name` |
| the CLIP's layer, by itself, so that a difference can be told | `clip_layer` |
| the VAE | `vae_name` |
| the model's sampling: signal and noise of each timestep | `sampling_name` |
| embeddings that starting words and templates name | `vectors_name` |
| class pictures | `ports.digest_of`; before they are made, their prompt, number and sampler |

What a run cannot learn from is refused: hooks on CLIP, which change it from step to step, and replaced parts of MODEL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import comfy.model_sampling
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...scenescope.errors import HostError
from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from ..acting.run import KEY as ACTS
from ..recording.calls import RECORDER_KEY
from .copies import BYPASS, digest_value, encoder_layer

SAMPLING = "the model's sampling"
_CALLS = (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL)
_HARMLESS = (RECORDER_KEY, ACTS, "torch.compile")
"""Wrappers that watch, that are named otherwise here, or that only change the speed."""


def learned_from(model: Any, clip: Any, vae: Any, scene: Scene, settings: Settings) -> dict[str, str]:
    """Everything of the host that a run learns from beside the base model's name; "" for what is as usual.

    Args:
        model: MODEL.
        clip: CLIP.
        vae: VAE.
        scene: for its starting words.
        settings: for the templates.
    """
    words = [concept.word for concept in scene.concepts]
    return {
        "the CLIP's layer": clip_layer(clip),
        "the VAE": vae_name(vae),
        SAMPLING: sampling_name(model),
        "what embeddings in words and templates hold": vectors_name(clip, [*words, *settings.templates]),
    }


def vae_name(vae: Any) -> str:
    """Name a VAE by its kind and weights."""
    model, digest = getattr(vae, "first_stage_model", vae), hashlib.blake2b(digest_size=8)
    digest.update(type(model).__qualname__.encode())
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            for name, value in [*model.named_parameters(), *model.named_buffers()]:
                digest.update(name.encode())
                digest_value(digest, value)
    digest_value(digest, getattr(getattr(vae, "patcher", None), "patches", {}))
    return digest.hexdigest()


def sampling_name(model: Any) -> str:
    """Name a changed model sampling; "" for the one that the checkpoint has."""
    now, own = _sampling(model.get_model_object("model_sampling")), _sampling(model.model.model_sampling)
    return "" if now == own else now


def _sampling(sampling: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for function in ("calculate_input", "calculate_denoised", "noise_scaling"):
        digest.update(getattr(getattr(type(sampling), function, None), "__qualname__", "").encode())
    digest_value(digest, sampling.sigmas.float())
    return digest.hexdigest()


def clip_layer(clip: Any) -> str:
    """Name the layer of the text encoder that is read, counted from its first; "" for the one it reads by itself."""
    layer = encoder_layer(clip)
    return "" if layer is None else f"{layer}"


def vectors_name(clip: Any, texts: Iterable[str]) -> str:
    """Name the vectors of the embeddings that texts name; "" where they name none."""
    vectors = [
        value
        for text in texts
        for chunk in clip.tokenize(text)["l"]
        for value, *_ in chunk
        if isinstance(value, Tensor)
    ]
    digest = hashlib.blake2b(digest_size=8)
    digest_value(digest, vectors)
    return digest.hexdigest() if vectors else ""


def refuse_what_cannot_be_learned_from(model: Any, clip: Any) -> None:
    """Refuse what changes MODEL or CLIP in a way that a copy does not have, so that nothing is left out silently.

    Raises:
        HostError: there are hooks on CLIP, injections, replaced parts or wrapped weights.
    """
    if clip.patcher.forced_hooks or clip.apply_hooks_to_conds:
        raise HostError(
            "Train Concepts: CLIP carries hooks (Set CLIP Hooks), which change CLIP and MODEL while a picture is "
            "sampled, so there is no one CLIP to train on. Connect it from before that node; use Load LoRA for LoRAs."
        )
    for patcher, what in ((model, "MODEL"), (clip.patcher, "CLIP")):
        parts = [name for name in patcher.object_patches if name.startswith(("diffusion_model", "clip_l"))]
        odd = [*sorted(set(patcher.injections) - {BYPASS}), *parts, *patcher.weight_wrapper_patches]
        if odd:
            raise HostError(
                f"Train Concepts: another node has changed {odd[0]!r} in {what}, and the copy that is trained on would "
                f"not have that change. Connect {what} from before that node; LoRAs are fine."
            )


def left_out(model: Any) -> str:
    """Say which changes of MODEL apply while sampling but not in training; "" if there are none.

    Source: host contract, ComfyUI 0.33 `model_patcher`: patches of attention and blocks are functions in
    `transformer_options`, which a training step does not call. What only changes how predictions are combined (CFG),
    and what only watches or compiles, is not meant.
    """
    options = model.model_options.get("transformer_options", {})
    patches = [name for name, functions in options.get("patches", {}).items() if functions]
    replaced = [name for name, functions in options.get("patches_replace", {}).items() if functions]
    of_attention = any(name.startswith("attn") for name in (*patches, *replaced))
    wrappers = [key for kind in _CALLS for key in model.wrappers.get(kind, {}) if not str(key).startswith(_HARMLESS)]
    found = {
        "attention patches (a hypernetwork, IPAdapter)": of_attention or "optimized_attention_override" in options,
        "patches of blocks (FreeU, Deep Shrink)": any(not name.startswith("attn") for name in patches),
        "words that are steered": bool(model.get_attachment(ACTS)),
        "wrappers of the model": bool(wrappers) or "model_function_wrapper" in model.model_options,
    }
    names = [name for name, there in found.items() if there]
    if not names:
        return ""
    return (
        f"MODEL carries {' and '.join(names)}, which training leaves out: it learns on the checkpoint and its LoRAs. "
        "Put them after Apply Concepts."
    )


def refuse_other_sampling(model: Any) -> None:
    """Refuse a model sampling that is not SD1.5's kind: noise predicted, at whole timesteps.

    Raises:
        HostError: it is another one.
    """
    sampling, epsilon = model.get_model_object("model_sampling"), comfy.model_sampling.EPS
    kind = type(sampling)
    if (
        getattr(kind, "calculate_denoised", None) is not epsilon.calculate_denoised
        or getattr(kind, "calculate_input", None) is not epsilon.calculate_input
    ):
        raise HostError(
            f"Train Concepts: this model predicts {', '.join(base.__name__ for base in kind.__bases__)}; training "
            "needs one that predicts the noise (EPS), as SD1.5 does. Load an SD1.5 checkpoint that isn't a "
            "v-prediction model."
        )
    sigmas = getattr(sampling, "sigmas", None)
    whole = sigmas is not None and torch.equal(
        sampling.timestep(sigmas).float().cpu(), torch.arange(len(sigmas), dtype=torch.float32)
    )
    if not whole or float(getattr(sampling, "sigma_data", 1.0)) != 1.0:
        raise HostError(
            f"Train Concepts: this model samples with {_class_names(kind)}, whose noise levels aren't SD1.5's whole "
            "timesteps. Connect MODEL from before the ModelSampling node, or use ModelSamplingDiscrete with eps."
        )


def _class_names(kind: type) -> str:
    return " and ".join(base.__name__ for base in kind.__bases__ if base is not object) or kind.__name__
