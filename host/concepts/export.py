"""Concepts as files that work without the pack: an embedding for each token, and a LoRA.

Host contracts, ComfyUI 0.33.0: `sd1_clip.load_embed` looks for `embedding:name` in the embeddings folders and in every
folder below them, in no order; `lora.model_lora_keys_unet` and `model_lora_keys_clip` say which names a LoRA file may
use; `nodes.LoraLoader`, which the host keeps from one run to the next, keeps the last file that it read by its path.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import comfy.sd1_clip
import comfy.utils
import folder_paths
from torch import Tensor

from ...scenescope.errors import InputError
from ...scenescope.files.atomic import Where
from ...scenescope.training.learned.concepts import Concepts, cover_of, save_embedding, save_weights
from .. import core_nodes
from ..paths import Widget, check_name, model_file, numbered, without_ending
from .apply import place_of

SUFFIX = ".safetensors"
_NAME = Widget("Save Concepts: export_name", "toys")
_NAME_AND_HANDLE = Widget("Save Concepts: export_name with a handle", "toys-asset0")
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
        stale: the name of a LoRA that is left over from an earlier export and belongs to other tokens.
    """

    embeddings: dict[str, str]
    files: tuple[Path, ...]
    stale: str = ""

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
        lines += [f"weights: {name}, with Load LoRA at strength 1" for name in loras]
        if self.stale:
            lines.append(f"{self.stale} is from an earlier export; these tokens need no LoRA")
        return "\n".join(lines)


@dataclass(frozen=True)
class Export:
    """What will be written, with all names decided.

    Args:
        concepts: learned.
        places: of the embedding file of each handle.
        lora: the place of the weight changes, should there be any.
        cover: a picture and its size, for managers of LoRAs.
    """

    concepts: Concepts
    places: dict[str, Where]
    lora: Where
    cover: Mapping[str, str]

    def write(self) -> Exported:
        """Write all files, the largest first, so that a failure has most likely changed nothing.

        Raises:
            FileError: a file cannot be written.
        """
        concepts, loras = self.concepts, []
        if concepts.low_rank or concepts.differences:
            loras = [save_weights(concepts, lora_keys(concepts), self.lora, self.cover)]
            _forget(loras[0])
        paths = {handle: save_embedding(concepts, handle, place, self.cover) for handle, place in self.places.items()}
        typed = {handle: f"embedding:{_name_of(path)}" for handle, path in paths.items()}
        old = self.lora if isinstance(self.lora, Path) and not loras and self.lora.exists() else None
        return Exported(typed, (*paths.values(), *loras), old.name if old else "")


def plan_export(concepts: Concepts, name: str, *, overwrite: bool = False, picture: Tensor | None = None) -> Export:
    """Decide the names of an embedding file for each token, and of a LoRA; nothing is written.

    Args:
        concepts: learned.
        name: `toys` is `embeddings/toys-asset0.safetensors` and `loras/toys.safetensors`; may have sub-folders.
            `.safetensors` at its end is taken off.
        overwrite: whether files of these names may be replaced; if not, numbers are added.
        picture: (image height width channel) float, 0..1; its first image is shown by managers of LoRAs.

    Raises:
        InputError: the name is not one that prompts and every system can have, or a prompt could take another file of
            that name for the one that is to be replaced.
    """
    name = without_ending(name)
    check_name(name, _NAME)
    if _ENDS_A_NAME.search(name):
        raise InputError(
            f"Save Concepts: {name[:80]!r} can't be an export_name. Use a name without spaces, commas, colons or "
            "parentheses, which end an embedding's name in a prompt: for example toys."
        )
    places = {
        handle: _embedding_place(f"{name}-{stem}", overwrite)
        for handle, stem in zip(concepts.handles, _stems(concepts), strict=True)
    }
    lora = model_file("loras", name, SUFFIX, _NAME)
    cover = {} if picture is None else cover_of(picture[0])
    return Export(concepts, places, lora if overwrite else numbered(lora, SUFFIX), cover)


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


def _embedding_place(name: str, overwrite: bool) -> Where:
    """Choose a file that `embedding:name` in a prompt can mean alone."""
    path = model_file("embeddings", name, SUFFIX, _NAME_AND_HANDLE)
    if not overwrite:
        return (free for free in numbered(path, SUFFIX) if not _namesakes(_name_of(free)))
    if others := [other for other in _namesakes(_name_of(path)) if other != path]:
        raise InputError(
            f"Save Concepts: another embedding, {_shown(others[0])}, is also called {_name_of(path)}, and a prompt "
            "could mean either. Choose another export_name, or move that file."
        )
    return path


def _name_of(path: Path) -> str:
    """An embedding's name as prompts write it."""
    root = Path(folder_paths.get_folder_paths("embeddings")[0])
    return path.relative_to(root).as_posix().removesuffix(SUFFIX)


def _shown(path: Path) -> str:
    """An embedding's file without the server's folder: only its folder below the embeddings, and its name."""
    roots = [Path(root) for root in folder_paths.get_folder_paths("embeddings")]
    return next((path.relative_to(root).as_posix() for root in roots if path.is_relative_to(root)), path.name)


def _namesakes(name: str) -> list[Path]:
    """The files that the host may read for `embedding:name`."""
    roots = comfy.sd1_clip.expand_directory_list(folder_paths.get_folder_paths("embeddings"))
    found = (Path(root, name + suffix) for root in sorted(roots) for suffix in ("", SUFFIX, ".pt", ".bin"))
    return [path for path in found if path.is_file()]


def _forget(lora: Path) -> None:
    """Make the host's loaders read a file again after it was rewritten."""
    for one in gc.get_objects():
        if issubclass(type(one), core_nodes.LoraLoader) and one.loaded_lora and Path(one.loaded_lora[0]) == lora:
            one.loaded_lora = None


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
    """A part of a file name for each handle: mostly letters and digits, and all different."""
    stems = [_NOT_IN_A_NAME.sub("", handle).strip(".") or str(place) for place, handle in enumerate(concepts.handles)]
    alike = len({stem.lower() for stem in stems}) < len(stems)
    return [f"{stem}-{place}" for place, stem in enumerate(stems)] if alike else stems
