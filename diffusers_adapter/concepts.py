"""Learned tokens in a pipeline: handles become tokens, weight changes are added to copies."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..scenescope.errors import InputError
from ..scenescope.training.learned.concepts import Concepts
from ..scenescope.training.weights.digest import base_digest, enter_tensor
from .names import TextNames, UnetNames, named_weights, text_layers

_WHO = "Applying concepts"


def apply_concepts(
    pipe: Any, concepts: Concepts, *, strength: float = 1.0, base: Literal["must match", "any"] = "must match"
) -> Any:
    """Make a pipeline that knows the concepts; the one given stays as it is.

    Args:
        pipe: of the base model.
        concepts: learned with it, here or in ComfyUI.
        strength: of the weight changes; the embeddings always apply fully.
        base: whether concepts of another base model are refused. Embeddings of another width are always refused.

    Returns:
        A pipeline of the same class, whose U-Net, text encoder and tokenizer are copies.

    Raises:
        InputError: the base model is another one, a handle is taken, or embeddings or weights do not fit.
    """
    name = base_name(pipe)
    if base == "must match" and name != concepts.base:
        raise InputError(
            f"{_WHO}: {concepts.handles[0]} was learned with the base model {concepts.base[:8]}, and this one is "
            f'{name[:8]}. Load that checkpoint without LoRAs, or pass base="any".'
        )
    parts = {name: copy.deepcopy(getattr(pipe, name)) for name in ("unet", "text_encoder", "tokenizer")}
    _add_words(parts["tokenizer"], parts["text_encoder"], concepts)
    views = {"unet": UnetNames(parts["unet"]), "text": TextNames(parts["text_encoder"], table=False)}
    with torch.no_grad():
        for layer, pair in concepts.low_rank.items():
            change = (pair.up.flatten(1) @ pair.down.flatten(1)) * (pair.alpha / len(pair.down))
            shape = torch.Size((len(pair.up), *pair.down.shape[1:]))
            _add(views, f"{layer}.weight", change.reshape(shape), strength)
        for weight, difference in concepts.differences.items():
            _add(views, weight, difference, strength)
    extra = {"requires_safety_checker": False} if pipe.components.get("safety_checker") is None else {}
    applied = type(pipe)(**pipe.components | parts, **extra)
    applied.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return applied


def base_name(pipe: Any) -> str:
    """Name a pipeline's base model: 32 hexadecimal digits, the same as ComfyUI's adapter gives the checkpoint."""
    digest = base_digest()
    parts = (
        (UnetNames(pipe.unet), "diffusion_model."),
        (TextNames(pipe.text_encoder, table=True), "clip_l.transformer."),
    )
    for view, prefix in parts:
        for name, weight in named_weights(view, prefix):
            digest.update(name.encode())
            enter_tensor(digest, weight)
    return digest.hexdigest()


def _add_words(tokenizer: Any, encoder: Any, concepts: Concepts) -> None:
    """Add the handles to a tokenizer and their embeddings to the token table."""
    table = text_layers(encoder).embeddings.token_embedding
    learned, words = concepts.embeddings.shape[1], table.weight.shape[1]
    if learned != words:
        raise InputError(
            f"{_WHO}: {concepts.handles[0]} has {learned} channels, but the words of this text encoder have {words}. "
            "Load the base model that the concepts were learned with."
        )
    if taken := [handle for handle in concepts.handles if handle in tokenizer.get_vocab()]:
        raise InputError(
            f"{_WHO}: the tokenizer already knows {', '.join(taken)}, and each scene needs handles of its own. Apply "
            "to the pipeline from before, or give the concepts other handles."
        )
    tokenizer.add_tokens(list(concepts.handles))
    grown = nn.Embedding(len(tokenizer), table.weight.shape[1], dtype=table.weight.dtype, device=table.weight.device)
    places = tokenizer.convert_tokens_to_ids(list(concepts.handles))
    with torch.no_grad():
        grown.weight.zero_()
        grown.weight[: len(table.weight)] = table.weight
        grown.weight[places] = concepts.embeddings.to(grown.weight)
    text_layers(encoder).embeddings.token_embedding = grown.requires_grad_(table.weight.requires_grad)
    encoder.config.vocab_size = len(tokenizer)


def _add(views: dict[str, nn.Module], name: str, change: Tensor, strength: float) -> None:
    part, _, own = name.partition(".")
    found = dict(views[part].named_parameters()).get(own) if part in views else None
    if found is None or found.shape != change.shape:
        there = "not there" if found is None else f"{tuple(found.shape)}"
        raise InputError(
            f"{_WHO}: the weights {name} should be {tuple(change.shape)}, but in this model they are {there}. Load the "
            "base model that the concepts were learned with."
        )
    found.copy_(found.float() + strength * change.to(found.device))
