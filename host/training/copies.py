"""Copies of the host's models that can be trained: clean weights with patches baked in."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from comfy.weight_adapter import BypassInjectionManager
from torch import Tensor, nn

from ...scenescope.errors import HostError
from ...scenescope.training.settings import Settings
from ...scenescope.training.weights.digest import base_digest, enter_tensor

BYPASS = "bypass_lora"
"""The injection by which the host puts LoRAs on in bypass mode."""

TypeOf = Callable[[nn.Module, Tensor], torch.dtype]


def copy_patcher(patcher: Any, what: str) -> Any:
    """Ask the host for a copy with weights of its own.

    Source: host contract, ComfyUI 0.33 `ModelPatcher.clone(force_deepcopy=True)`: the loader runs again, so the weights
    are clean and no inference tensors; without dynamic loading they are all there.

    Raises:
        HostError: the model came from a loader that the host cannot run again.
    """
    manage = comfy.model_management
    with torch.inference_mode():  # so that loading moves no other model; contract: see `is_short`, in memory.py
        manage.free_memory(1.1 * patcher.model_size() + manage.minimum_inference_memory(), patcher.load_device)
    try:
        copy = patcher.clone(disable_dynamic=True, force_deepcopy=True)
    except RuntimeError as error:
        if patcher.cached_patcher_init is not None:
            raise
        raise HostError(
            f"Train Concepts: the {what} can't be copied ({error}), because its loader can't be run again. Load it "
            "with the stock Load Checkpoint."
        ) from error
    loaded = manage.current_loaded_models
    # A loader may enter its model there, with a patcher that is gone by now; the host would take that for a leak.
    loaded[:] = [entry for entry in loaded if entry.real_model is None or entry.real_model() is not copy.model]
    return copy


def bake(patcher: Any) -> None:
    """Compute the patches of a copy into its weights, as sampling with them would; LoRAs in bypass mode too.

    Those are added beside the weights when sampling, so their sum is not rounded to half precision here either.
    """
    device = patcher.load_device
    for key, adapters in bypass_adapters(patcher).items():
        owner, _, name = key.rpartition(".")
        module = patcher.model.get_submodule(owner)
        setattr(module, name, _still(getattr(module, name).detach().float()))
        for adapter, strength in adapters:
            patcher.add_patches({key: adapter}, strength)
    patcher.injections = {}
    for key in list(patcher.patches):
        owner, _, name = key.rpartition(".")
        weight = patcher.patch_weight_to_device(key, device_to=device, return_weight=True)
        module = patcher.model.get_submodule(owner)
        given = getattr(module, name)
        if isinstance(given, nn.Parameter):
            setattr(module, name, _still(weight.to(given.device, given.dtype)))
    patcher.patches = {}


def prepare(module: nn.Module, origin: nn.Module, device: torch.device, type_of: TypeOf) -> None:
    """Make a copy's layers compute plainly, on a device, with weights of the given types.

    Where a weight is bit for bit the original's, on the same device, its memory is the original's too: training sets
    parameters aside and never writes to them, and a full-size model in single precision is 3.7 GB.

    Args:
        module: the copy; its parameters are replaced.
        origin: what it is a copy of; not changed.
        device: where it computes.
        type_of: the type of a layer's parameter.
    """
    originals: Mapping[str, Tensor] = dict(origin.named_parameters())
    for path, layer in module.named_modules():
        if isinstance(layer, comfy.ops.CastWeightBiasOp):  # contract: plain torch layers where nothing is cast
            layer.comfy_cast_weights, layer.weight_function, layer.bias_function = False, [], []
        for name, given in list(layer.named_parameters(recurse=False)):
            placed = given.detach().to(device=device, dtype=type_of(layer, given))
            shared = _alike(originals.get(f"{path}.{name}" if path else name), placed)
            setattr(layer, name, _still(placed if shared is None else shared))
        for name, buffer in list(layer.named_buffers(recurse=False)):
            setattr(layer, name, buffer.to(device))


def types_for(settings: Settings) -> TypeOf:
    """Which type each parameter of U-Net and text encoder has while it is trained.

    Layers that multiply have the arithmetic's type, which saves memory and time; `full` keeps what is in the
    checkpoint, because the differences are measured from it. Norms are always in single precision, and tables of
    embeddings as they came: what is read from them is added up in single precision.
    """
    half = (torch.float16, torch.bfloat16)

    def type_of(layer: nn.Module, given: Tensor) -> torch.dtype:
        if isinstance(layer, nn.Embedding) and given.dtype in half:
            return given.dtype
        if not isinstance(layer, nn.Linear | nn.Conv2d) or settings.precision == "float32":
            return torch.float32
        return given.dtype if settings.mode == "full" and given.dtype in half else settings.dtype

    return type_of


def release() -> None:
    """Give memory back to the host: the copies are in reference cycles."""
    gc.collect()
    comfy.model_management.soft_empty_cache()


def base_name(model: Any, clip: Any) -> str:
    """Name a base model: its weights as they were loaded, the patches on MODEL and CLIP, and another layer of CLIP.

    Args:
        model: MODEL.
        clip: CLIP.

    Returns:
        32 hexadecimal digits, equal for equal checkpoints with equal LoRAs, loaded in single or half precision.
    """
    digest = base_digest()
    parts = ((model, "diffusion_model."), (clip.patcher, "clip_l.transformer.text_model."))
    with torch.no_grad():
        for patcher, prefix in parts:
            backup = patcher.backup
            for name, weight in patcher.model.named_parameters():
                if name.startswith(prefix):
                    saved = backup.get(name)
                    digest.update(name.encode())
                    digest_value(digest, weight if saved is None else saved.weight)
            for key in sorted(patcher.patches, key=str):
                digest.update(str(key).encode())
                digest_value(digest, patcher.patches[key])
            for key, adapters in sorted(bypass_adapters(patcher).items()):
                digest.update(f"bypass {key}".encode())
                digest_value(digest, [(type(one).__qualname__, one.weights, strength) for one, strength in adapters])
    layer = encoder_layer(clip)
    if layer is not None:
        digest.update(f"layer {layer}".encode())
    return digest.hexdigest()


def encoder_layer(clip: Any) -> int | None:
    """The layer of SD1.5's text encoder that is read, counted from its first; None where it is the encoder's own.

    Source: host contract, ComfyUI 0.33 `sd1_clip.SDClipModel.set_clip_options`: a layer is counted from either end, and
    the last one, normed as the output is, is the output.
    """
    encoder: Any = getattr(clip.cond_stage_model, "clip_l", None)
    count = getattr(encoder, "num_layers", 0)
    if clip.layer_idx is None or abs(clip.layer_idx) > count:
        return None
    own, own_layer, _ = encoder.options_default
    last = count - 1 if encoder.layer_norm_hidden_state else count
    now, usual = clip.layer_idx % count, last if own == "last" else own_layer % count
    return None if now == usual else now


def bypass_adapters(patcher: Any) -> dict[str, list[tuple[Any, float]]]:
    """The LoRAs in bypass mode on a model patcher: weight -> (adapter, strength).

    Source: host contract, ComfyUI 0.33 `sd.load_bypass_lora_for_models` and `weight_adapter/bypass.py`: the injection
    named `bypass_lora` is a function of the manager that holds the adapters by module.

    Raises:
        HostError: they cannot be read.
    """
    found: dict[str, list[tuple[Any, float]]] = {}
    for injection in patcher.injections.get(BYPASS, ()):
        manager = inspect.getclosurevars(injection.inject).nonlocals.get("self")
        if not isinstance(manager, BypassInjectionManager):
            raise HostError(
                "Train Concepts: a LoRA in bypass mode can't be read, because another node put it on. Use Load LoRA."
            )
        for module, (adapter, strength) in manager.adapters.items():
            found.setdefault(f"{module}.weight", []).append((adapter, strength))
    return found


def digest_value(digest: Any, value: Any) -> None:
    """Enter a value of the host's patches: numbers, texts, tensors, and what holds them."""
    if isinstance(value, Tensor):
        enter_tensor(digest, value)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            digest_value(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            digest_value(digest, part)
    elif value is None or isinstance(value, (str, int, float, bool)):
        digest.update(repr(value).encode())
    else:  # the host's adapters (LoRA and its kin) keep what they are in attributes
        digest.update(type(value).__qualname__.encode())
        kept = {key: part for key, part in getattr(value, "__dict__", {}).items() if key != "loaded_keys"}
        digest_value(digest, kept)


def _still(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)


def _alike(original: Tensor | None, placed: Tensor) -> Tensor | None:
    """The original's memory as an ordinary tensor, if it holds exactly the same bits."""
    if original is None or original.is_meta or original.device != placed.device or original.dtype != placed.dtype:
        return None
    if type(original.data) is not Tensor or not original.is_contiguous() or not torch.equal(original, placed):
        return None
    view = torch.empty(0, dtype=original.dtype, device=original.device)
    return view.set_(original.untyped_storage(), original.storage_offset(), original.shape, original.stride())
