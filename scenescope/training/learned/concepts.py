"""What was learned: embeddings, weight changes, and how; as one file, or as files that others read."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ...cost import MOST_CONCEPTS
from ...drawing.pixels import to_image
from ...errors import InputError
from ...files.atomic import Where
from ...files.dataclass_file import read_value, write_value
from ...files.dataclass_json import demand
from ...files.safetensors_file import ANY_SIZE, Bounds, write_container
from ..scene.scene import Concept, check_handles
from ..settings import Settings
from ..weights.contract import LowRank

FORMAT = "scenescope-concepts 1"
EMBEDDING_KEY = "clip_l"
"""Host contract, ComfyUI 0.33 `sd1_clip.load_embed`: the tensor (token 768) that `embedding:` names in a prompt."""


NO_COVER: Mapping[str, str] = MappingProxyType({})
THUMBNAIL = 256  # pixels


@dataclass(frozen=True)
class Concepts:
    """Learned concepts.

    Args:
        concepts: handles and the words that they began as.
        embeddings: (concept channel) float32, read where the handles stand.
        low_rank: additions by layer, `unet.` or `text.` and the module's name; empty for `full`.
        differences: of parameters, by `unet.` or `text.` and the parameter's name; empty for `lora`.
        base: a name for the base model's weights; the changes fit no other.
        settings: how they were learned.
        steps: that were taken.
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor = field(metadata={"key": "rows"})  # files of every version name them so
    low_rank: Mapping[str, LowRank]
    differences: Mapping[str, Tensor]
    base: str
    settings: Settings
    steps: int

    def __post_init__(self) -> None:
        demand(0 < len(self.concepts) <= MOST_CONCEPTS, "concepts", f"1 to {MOST_CONCEPTS}")
        check_handles(self.handles)
        demand(
            self.embeddings.ndim == 2 and len(self.embeddings) == len(self.concepts),
            "embeddings",
            "one for each concept",
        )
        demand(0 <= self.steps <= self.settings.steps, "steps", "at most the settings'")
        every = [self.embeddings, *self.differences.values()]
        for name, pair in self.low_rank.items():
            fits = (
                pair.down.ndim == pair.up.ndim and pair.down.ndim in (2, 4) and pair.down.shape[0] == pair.up.shape[1]
            )
            fits = fits and pair.down.shape[2:] == pair.up.shape[2:] and 0 < pair.alpha < math.inf
            demand(fits, name[:80], "a pair that fits")
            every += [pair.down, pair.up]
        demand(all(bool(tensor.isfinite().all()) for tensor in every), "a number", "finite ones")

    @property
    def handles(self) -> tuple[str, ...]:
        """What prompts call them."""
        return tuple(concept.handle for concept in self.concepts)

    def embedding(self, handle: str) -> Tensor:
        """The embedding (channel) float32 of a handle.

        Raises:
            InputError: there is no such handle.
        """
        if handle not in self.handles:
            raise InputError(f"Concepts: there is no handle {handle!r}. Choose one of {', '.join(self.handles)}.")
        return self.embeddings[self.handles.index(handle)]


def save_concepts(concepts: Concepts, where: Where) -> Path:
    """Write concepts to one safetensors file, completely or not at all; returns its path.

    Raises:
        FileError: it cannot be written.
    """
    return write_value(concepts, where, FORMAT, "Save Concepts")


def load_concepts(path: Path, bounds: Bounds = ANY_SIZE) -> Concepts:
    """Read concepts, on the CPU and within bounds; whatever the file holds, they are read back exactly or refused.

    Raises:
        FileError: the file is missing, damaged, hostile, foreign, or of another format.
    """
    return read_value(Concepts, path, FORMAT, f"Load Concepts: {path.name}", bounds)


def save_embedding(concepts: Concepts, handle: str, where: Where, cover: Mapping[str, str] = NO_COVER) -> Path:
    """Write an embedding as a file that prompts use as `embedding:name` without the pack; returns its path.

    The embedding fits the base model; what was learned in the weights is not in it.

    Args:
        concepts: with it.
        handle: whose it is.
        where: the file's place.
        cover: of `cover_of`.

    Raises:
        InputError: there is no such handle.
        FileError: it cannot be written.
    """
    embedding = concepts.embedding(handle)[None].float()  # (token channel)
    about = {"handle": handle, "base": concepts.base, **model_spec(concepts, (handle,), "textual-inversion")}
    return write_container({EMBEDDING_KEY: embedding}, where, about | dict(cover), "Save Concepts")


def save_weights(
    concepts: Concepts, keys: Mapping[str, str], where: Where, cover: Mapping[str, str] = NO_COVER
) -> Path:
    """Write the weight changes as a file that stock loaders of LoRAs read.

    Args:
        concepts: with weight changes.
        keys: the file's name for each layer, such as `lora_unet_down_blocks_0_attentions_0_proj_in`.
        where: the file's place.
        cover: of `cover_of`.

    Returns:
        The file's path.

    Raises:
        InputError: there are no changes, or a layer has no name.
        FileError: it cannot be written.
    """
    tensors = weight_tensors(concepts, keys)
    if not tensors:
        raise InputError(
            "Save Concepts: these concepts have no weight changes to put into a LoRA file. Save only the embeddings, "
            "or train with steps in phase 2."
        )
    about = {"base": concepts.base, "ss_network_dim": str(concepts.settings.rank)}
    about |= model_spec(concepts, concepts.handles, "lora") | dict(cover)
    return write_container(tensors, where, about, "Save Concepts")


def cover_of(picture: Tensor) -> dict[str, str]:
    """Put a picture that was made with the concepts, and its size, where managers of LoRAs look for them.

    Source: the Model Metadata Standard 1.0.1: `modelspec.thumbnail` is a data URL of at most 256 pixels a side,
    `modelspec.resolution` is `widthxheight`.

    Args:
        picture: (height width channel) float, 0..1; of more than three channels the first three.

    Returns:
        Texts by key.
    """
    height, width = picture.shape[:2]
    small, file = to_image(picture), BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(file, "JPEG", quality=85)
    url = f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
    return {"modelspec.thumbnail": url, "modelspec.resolution": f"{width}x{height}"}


def model_spec(concepts: Concepts, handles: tuple[str, ...], kind: str) -> dict[str, str]:
    """Say in a file's metadata what it is, where managers of LoRAs and SwarmUI look for it.

    Source: the Stability AI Model Metadata Standard, `modelspec.*` (version 1.0.1).

    Args:
        concepts: what is written.
        handles: those that the file is for.
        kind: `lora` or `textual-inversion`.

    Returns:
        Texts by key. A date and a hash are left out, so that equal concepts make equal files.
    """
    words = [f"{concept.handle} ({concept.word})" if concept.word else concept.handle for concept in concepts.concepts]
    named = [word for word, concept in zip(words, concepts.concepts, strict=True) if concept.handle in handles]
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"stable-diffusion-v1/{kind}",
        "modelspec.implementation": "https://github.com/scenescope/scenescope",
        "modelspec.title": f"SceneScope: {', '.join(handles)}",
        "modelspec.description": f"Learned in {concepts.steps} steps: {', '.join(named)}.",
        "modelspec.trigger_phrase": ", ".join(handles),
        "modelspec.prediction_type": "epsilon",
    }


def weight_tensors(concepts: Concepts, keys: Mapping[str, str]) -> dict[str, Tensor]:
    """Name the weight changes as LoRA files do.

    Source: kohya's sd-scripts: `.lora_up.weight`, `.lora_down.weight`, `.alpha`; and host contract, ComfyUI 0.33
    `lora.load_lora`: `.diff` is added to a weight, `.diff_b` to a bias.

    Args:
        concepts: with weight changes.
        keys: the file's name for each layer.

    Returns:
        Tensors by name.

    Raises:
        InputError: a layer has no name in `keys`, or a parameter is neither weight nor bias.
    """
    tensors: dict[str, Tensor] = {}
    for layer, pair in concepts.low_rank.items():
        key = _key(layer, keys)
        tensors |= {f"{key}.lora_up.weight": pair.up, f"{key}.lora_down.weight": pair.down}
        tensors[f"{key}.alpha"] = torch.tensor(pair.alpha)
    for name, difference in concepts.differences.items():
        layer, _, parameter = name.rpartition(".")
        ending = {"weight": "diff", "bias": "diff_b"}.get(parameter)
        if ending is None:
            raise InputError(
                f"Save Concepts: the parameter {name} is neither a weight nor a bias, and LoRA files can name nothing "
                "else. Save the concepts in their own file."
            )
        tensors[f"{_key(layer, keys)}.{ending}"] = difference
    return tensors


def _key(layer: str, keys: Mapping[str, str]) -> str:
    if layer not in keys:
        raise InputError(
            f"Save Concepts: the layer {layer} is none of the {len(keys)} that LoRA files of this model can name. "
            "Connect the model that the concepts were learned with."
        )
    return keys[layer]
