"""Learned concepts in the host's MODEL and CLIP: handles become words, weight changes become ordinary patches.

Host contracts, ComfyUI 0.33.0: `sd1_clip.SDTokenizer._try_get_embedding` gives the vectors behind `embedding:name`, the
name and the text that is left; `lora.load_lora` and `ModelPatcher.add_patches` take weight changes by the weights'
names in the state dictionary; clones of a CLIP share one tokenizer (`sd.CLIP.clone`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import comfy.lora
import torch
from torch import Tensor

from ...scenescope.attention.words.prompt import learned_names
from ...scenescope.errors import HostError, InputError
from ...scenescope.training.learned.concepts import Concepts, weight_tensors
from ..prompts.text import LEARNED_ATTRIBUTE
from ..training.copies import base_name

BaseCheck = Literal["must match", "any"]

_APPLY = "Apply Concepts"  # the node that errors name, unless the caller names another
_PLACES = {"unet": "diffusion_model.", "text": "clip_l.transformer."}
_OURS = "\U000f0003"  # a private character, so that no file or number can have a handle's name
_HOST_TOKENIZER: Any = object  # the class of the tokenizer it derives from comes second


def apply_concepts(
    model: Any,
    clip: Any,
    concepts: Concepts,
    *,
    strength: float = 1.0,
    base: BaseCheck = "must match",
    who: str = _APPLY,
) -> tuple[Any, Any]:
    """Make a MODEL and a CLIP that know the concepts.

    The stock CLIP Text Encode then takes a handle for its embedding, wherever it stands: weighted, glued to
    punctuation, in any chunk of a long prompt, beside `embedding:` names. Trace Words before or after finds the handles
    as words.

    Args:
        model: the base model; stays as it is.
        clip: its text encoder; stays as it is.
        concepts: learned with this base model.
        strength: of the weight changes; the embeddings always apply fully.
        base: whether concepts of another base model are refused. Embeddings of another width are always refused.
        who: the node, as errors name it; at another than Apply Concepts they advise what can be done there.

    Returns:
        Clones: the model with patches, the text encoder with patches and a tokenizer of its own.

    Raises:
        InputError: the base model is another one, a handle is taken, or embeddings or weights do not fit.
        HostError: the text encoder is not one that can be read.
    """
    learned_clip = learn_words(clip, {handle: concepts.embedding(handle) for handle in concepts.handles}, who=who)
    name = check_base(model, clip, concepts, who=who) if base == "must match" else None
    learned_model = model.clone()
    if strength:
        learned_model.add_patches(_patches(concepts, unet_places(model), who), strength)
        learned_clip.add_patches(_patches(concepts, text_places(clip), who), strength)
    if name is not None:
        learned_clip.tokenizer.scenescope_base = (base_name(learned_model, learned_clip), name)
    return learned_model, learned_clip


def check_base(model: Any, clip: Any, concepts: Concepts, *, who: str = _APPLY) -> str:
    """Refuse concepts of another base model; concepts applied earlier don't change the model's name.

    Returns:
        The base model's name.

    Raises:
        InputError: it is another one.
    """
    name = base_name(model, clip)
    applied, before = getattr(clip.tokenizer, "scenescope_base", ("", ""))
    name = before if name == applied else name
    if name != concepts.base:
        advice = (
            "Connect MODEL and CLIP from one loader of that checkpoint, in the same precision as then, with LoRAs only "
            "after this node; or set base_model to any."
            if who == _APPLY
            else "Connect that checkpoint itself, set base_model to any, or use Apply Concepts, then Load LoRA, then "
            "the stock nodes."
        )
        raise InputError(
            f"{who}: this base model ({name[:8]}) is not the one that {concepts.handles[0]} was trained on "
            f"({concepts.base[:8]}). {advice}"
        )
    return name


def learn_words(clip: Any, embeddings: Mapping[str, Tensor], *, who: str = _APPLY) -> Any:
    """Make a CLIP whose prompts hold embeddings where handles stand.

    Args:
        clip: of SD1.5; stays as it is.
        embeddings: handle -> (channel) float.
        who: the node, as errors name it.

    Returns:
        A clone with a tokenizer of its own.

    Raises:
        InputError: a handle is taken, or the embeddings have another width than the encoder's.
        HostError: the text encoder is not one that can be read.
    """
    name = str(getattr(clip.tokenizer, "clip", ""))
    tokenizer = getattr(clip.tokenizer, name, None)
    if name != "clip_l" or not callable(getattr(tokenizer, "_try_get_embedding", None)):
        raise HostError(
            f"{who}: this CLIP is not SD1.5's (its tokenizer is {type(clip.tokenizer).__name__}). Connect the CLIP of "
            "an SD1.5 checkpoint."
        )
    known = dict(getattr(clip.tokenizer, LEARNED_ATTRIBUTE, {}))
    _check_embeddings(clip, embeddings, known, who)
    inner: Any = copy.copy(tokenizer)
    if inner.embedding_directory is None:
        inner.embedding_directory = []  # none is there, but a handle is an embedding without a file
    inner.scenescope_embeddings = {**getattr(inner, "scenescope_embeddings", {}), **_own_embeddings(embeddings)}
    if not isinstance(inner, _Learned):
        own: Any = type(inner)
        inner.__class__ = _learned_class(own)
    outer = copy.copy(clip.tokenizer)
    setattr(outer, name, inner)
    setattr(outer, LEARNED_ATTRIBUTE, known | dict.fromkeys(embeddings, 1))
    learned = clip.clone()
    learned.tokenizer = outer
    return learned


class _Learned(_HOST_TOKENIZER):
    """What a tokenizer that knows handles adds to its own class: a handle is an embedding without a file."""

    scenescope_embeddings: dict[str, Tensor]

    def tokenize_with_weights(self, text: str, *args: Any, **kwargs: Any) -> Any:
        handle = learned_names(self.scenescope_embeddings)
        marked = handle.sub(lambda found: f" {self.embedding_identifier}{_OURS}{found.group()} ", text)
        return super().tokenize_with_weights(marked, *args, **kwargs)

    def _try_get_embedding(self, embedding_name: str) -> Any:
        name, *left = embedding_name.split(maxsplit=1) or [""]
        embedding = self.scenescope_embeddings.get(name.removeprefix(_OURS)) if name.startswith(_OURS) else None
        if embedding is not None:
            return embedding, name, left[0] if left else ""
        if not name:  # `embedding:` and then a handle: the host would look for a first word that is not there
            return None, "", ""
        return super()._try_get_embedding(embedding_name)


@lru_cache(maxsize=64)
def _learned_class(base: Any) -> Any:
    return type(f"Learned{base.__name__}", (_Learned, base), {})


def _own_embeddings(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {handle: embedding.detach().float().cpu().clone() for handle, embedding in embeddings.items()}


def _check_embeddings(clip: Any, embeddings: Mapping[str, Tensor], known: Mapping[str, int], who: str) -> None:
    if taken := sorted(known.keys() & embeddings.keys()):
        advice = (
            "Give the concepts other handles, or connect the CLIP of the checkpoint."
            if who == _APPLY
            else "Connect the MODEL and CLIP from before Apply Concepts."
        )
        raise InputError(
            f"{who}: this CLIP already has {', '.join(taken)}. Each scene needs handles of its own. {advice}"
        )
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight  # (token channel)
    for handle, embedding in embeddings.items():
        if embedding.shape[-1] != table.shape[-1]:
            raise InputError(
                f"{who}: {handle} has {embedding.shape[-1]} channels, but the words of this CLIP have "
                f"{table.shape[-1]}. Connect the base model that the concepts were trained on."
            )


def unet_places(model: Any) -> dict[str, torch.Size]:
    """The U-Net's parameters by their names in concepts, with their shapes."""
    return _places("unet", model.model)


def text_places(clip: Any) -> dict[str, torch.Size]:
    """The text encoder's parameters by their names in concepts, with their shapes."""
    return _places("text", clip.cond_stage_model)


def place_of(name: str) -> str:
    """The name in the host's state dictionaries of a layer or parameter.

    >>> place_of("unet.middle_block.1.proj_in"), place_of("text.text_model.final_layer_norm.bias")
    ('diffusion_model.middle_block.1.proj_in', 'clip_l.transformer.text_model.final_layer_norm.bias')
    """
    part, _, own = name.partition(".")
    return _PLACES[part] + own


def _places(part: str, module: torch.nn.Module) -> dict[str, torch.Size]:
    prefix, state = _PLACES[part], module.state_dict()
    return {f"{part}.{key[len(prefix) :]}": value.shape for key, value in state.items() if key.startswith(prefix)}


def _patches(concepts: Concepts, places: Mapping[str, torch.Size], who: str) -> dict[str, Any]:
    """What `add_patches` takes, for one of the two models; the same that a core loader makes of the exported file."""
    part = next(iter(places)).partition(".")[0] + "."
    layers = {layer: pair for layer, pair in concepts.low_rank.items() if layer.startswith(part)}
    keys = {layer: _fitting(f"{layer}.weight", _size(one.up, one.down), places, who) for layer, one in layers.items()}
    low_rank = weight_tensors(replace(concepts, low_rank=layers, differences={}), {layer: layer for layer in layers})
    patches = dict(comfy.lora.load_lora(low_rank, keys, log_missing=False))
    for name, difference in concepts.differences.items():
        if name.startswith(part):
            patches[_fitting(name, difference.shape, places, who)] = ("diff", (difference,))
    return patches


def _size(up: Tensor, down: Tensor) -> torch.Size:
    return torch.Size((up.shape[0], *down.shape[1:]))


def _fitting(name: str, shape: torch.Size, places: Mapping[str, torch.Size], who: str) -> str:
    if places.get(name) != shape:
        there = f"are {_by(places[name])}" if name in places else "don't exist"
        raise InputError(
            f"{who}: the weights {name} {there} in this model, but {_by(shape)} in the concepts. Connect the base "
            "model that the concepts were trained on."
        )
    return place_of(name)


def _by(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
