"""Concepts as files that work without the pack: an embedding for each token, and a LoRA.

Host contracts, ComfyUI 0.33.0: `sd1_clip.load_embed` looks for `embedding:name` below the embeddings folders;
`lora.model_lora_keys_unet` and `model_lora_keys_clip` say which names a LoRA file may use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import comfy.utils
import folder_paths

from ..scenescope.errors import InputError
from ..scenescope.training.concepts import Concepts, save_embedding, save_weights
from .concepts import place_of
from .paths import check_name, model_file

SUFFIX = ".safetensors"
# SD1.5's levels; the demo model has the same, at reduced width.
_LEVELS = {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
}
_ENDS_A_NAME = re.compile(r"[\s,<\[\](){}:\\]")
_NOT_IN_A_NAME = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        embeddings: handle -> what to type in its place.
        files: all files, embeddings first.
    """

    embeddings: dict[str, str]
    files: tuple[Path, ...]

    @property
    def lora(self) -> str:
        """The LoRA's name as Load LoRA lists it, or "" where there is none."""
        if len(self.files) == len(self.embeddings):
            return ""
        return str(self.files[-1].relative_to(folder_paths.get_folder_paths("loras")[0]))

    def describe(self) -> str:
        """Say what was written, and how it is used."""
        lines = [f"{handle} is {typed}" for handle, typed in self.embeddings.items()]
        loras = [file.name for file in self.files[len(self.embeddings) :]]
        return "\n".join([*lines, *(f"weights: {name}, with Load LoRA at strength 1" for name in loras)])


def export_concepts(concepts: Concepts, name: str, *, overwrite: bool = False) -> Exported:
    """Write an embedding file for each token, and the changes of weights, if there are any, as a LoRA.

    Args:
        concepts: learned.
        name: `toys` makes `embeddings/toys-asset0.safetensors` and `loras/toys.safetensors`; may have sub-folders.
        overwrite: whether files of these names may be replaced; if not, numbers are added.

    Returns:
        What was written.

    Raises:
        InputError: the name is not one that prompts and every system can have.
        FileError: a file cannot be written.
    """
    check_name(name)
    if _ENDS_A_NAME.search(name):
        raise InputError(
            f"Save Concepts: the export's name is {name[:80]!r}; expected one without blanks, commas, colons and "
            "brackets, which end an embedding's name in a prompt. Write for example toys."
        )
    embeddings, files = {}, []
    for handle, stem in zip(concepts.handles, _stems(concepts), strict=True):
        path = model_file("embeddings", f"{name}-{stem}", SUFFIX, overwrite=overwrite)
        save_embedding(concepts, handle, path)
        root = Path(folder_paths.get_folder_paths("embeddings")[0])
        embeddings[handle] = f"embedding:{path.relative_to(root).as_posix().removesuffix(SUFFIX)}"
        files.append(path)
    if concepts.low_rank or concepts.differences:
        path = model_file("loras", name, SUFFIX, overwrite=overwrite)
        save_weights(concepts, lora_keys(concepts), path)
        files.append(path)
    return Exported(embeddings, tuple(files))


def lora_keys(concepts: Concepts) -> dict[str, str]:
    """Name each changed layer as LoRA files do.

    Low-rank additions get kohya's names, which other programs read too; differences, for which those names do not
    suffice, the host's generic ones.

    Returns:
        Names by layer; a layer that has none is left out.
    """
    known = {f"unet.{ours}": f"lora_unet_{theirs.replace('.', '_')}" for ours, theirs in _diffusers()}
    found = {layer: known.get(layer, _text_key(layer)) for layer in concepts.low_rank}
    changed = dict.fromkeys(name.rpartition(".")[0] for name in concepts.differences)
    generic = {layer: place_of(layer) for layer in changed}
    texts = {layer: f"text_encoders.{key}" for layer, key in generic.items() if layer.startswith("text.")}
    return {layer: key for layer, key in found.items() if key is not None} | generic | texts


def _diffusers() -> Iterator[tuple[str, str]]:
    """SD1.5's layers, as the host and as diffusers name them."""
    for theirs, ours in comfy.utils.unet_to_diffusers(_LEVELS).items():
        if theirs.endswith(".weight"):
            yield ours.removesuffix(".weight"), theirs.removesuffix(".weight")


def _text_key(layer: str) -> str | None:
    if not layer.startswith("text.text_model.encoder."):
        return None
    return f"lora_te_{layer.removeprefix('text.').replace('.', '_')}"


def _stems(concepts: Concepts) -> list[str]:
    """A part of a file's name for each handle: letters, digits and little else, and all different."""
    stems = [_NOT_IN_A_NAME.sub("", handle).strip(".") or str(place) for place, handle in enumerate(concepts.handles)]
    alike = len({stem.lower() for stem in stems}) < len(stems)
    return [f"{stem}-{place}" for place, stem in enumerate(stems)] if alike else stems
