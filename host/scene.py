"""A scene from what sockets and widgets carry, with the host's tokenizer to warn about words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import folder_paths
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..scenescope.dims import Grid
from ..scenescope.errors import FileError, SceneScopeError
from ..scenescope.training.scene.cautions import cautions, colour_cautions, painting_cautions, size_cautions
from ..scenescope.training.scene.masks import MaskSources, collect_masks, lines_of, name_things
from ..scenescope.training.scene.preview import describe, facts, preview
from ..scenescope.training.scene.scene import Scene, build_scene
from .files.pictures import opened_png, shown_turned
from .paths import chosen_file

STROKES = ".png"
"""How the painter's files end; they lie in the host's input folder."""


@dataclass(frozen=True)
class Naming:
    """The texts of the widgets: handles and words, one per line, and the background's handle."""

    handles: str = ""
    words: str = ""
    background: str = ""


@dataclass(frozen=True)
class SceneResult:
    """What Build Scene gives.

    Args:
        scene: the scene.
        sheet: (image height width 3) float32, 0..1.
        report: the scene and its warnings in words.
        facts: the same for the front end.
    """

    scene: Scene
    sheet: Tensor
    report: str
    facts: dict[str, Any]

    @property
    def warnings(self) -> str:
        """The warnings alone, one per line."""
        return "\n".join(warning["message"] for warning in self.facts["warnings"]) or "No warnings."


def built_scene(
    pictures: Tensor, marks: MaskSources, naming: Naming, resolution: int, file: Path | None = None
) -> SceneResult:
    """Build a scene and list the reasons to doubt it.

    Args:
        pictures: (image height width channel) float, 0..1.
        marks: where the things are.
        naming: what they are called.
        resolution: side of a square with as many pixels; 0 keeps the pictures' size.
        file: what the first picture was loaded from; None where that is not known.

    Raises:
        InputError: pictures, masks and texts do not fit.
    """
    masks = collect_masks(_over(pictures, marks), len(pictures))
    concepts, background = name_things(len(masks), naming.handles, naming.words, naming.background)
    scene = build_scene(pictures, masks, concepts, resolution=resolution or None, background=background)
    of_colours = colour_cautions(marks, len(masks), len(lines_of(naming.handles)))
    size = Grid(*pictures.shape[1:3])
    turned = marks.strokes is not None and file is not None and shown_turned(file, pictures[0, ..., :3])
    of_sizes = (*size_cautions(masks, size), *painting_cautions(marks.strokes, size, turned))
    found = (*of_sizes, *of_colours, *cautions(scene, pieces, background))
    return SceneResult(scene, preview(scene, found), describe(scene, found), facts(scene, found))


def loaded_file(prompt: Any, node: str | None) -> Path | None:
    """The file that the node behind the input `image` loads, which the editor shows before a run; None for none.

    Args:
        prompt: the whole prompt, as nodes get it.
        node: whose input it is.
    """
    # Host contract, ComfyUI 0.33 `nodes.LoadImage`: the widget of the file is called `image` too.
    nodes = prompt if isinstance(prompt, dict) else {}
    link = nodes.get(str(node), {}).get("inputs", {}).get("image")
    source = nodes.get(str(link[0]), {}) if isinstance(link, list) and link else {}
    file = source.get("inputs", {}).get("image")
    if not isinstance(file, str):
        return None
    try:
        path = Path(folder_paths.get_annotated_filepath(file))
        return path if path.is_file() else None
    except ValueError:  # a name that leads out of the folder, or holds a null character
        return None


def _over(pictures: Tensor, marks: MaskSources) -> MaskSources:
    """Bring the strokes to the pictures' size: the painter stretches its canvas over the picture, whatever its size."""
    if marks.strokes is None:
        return marks
    size = tuple(pictures.shape[1:3])
    strokes = functional.interpolate(marks.strokes.movedim(-1, 0)[None], size, mode="nearest-exact")
    return replace(marks, strokes=strokes[0].movedim(0, -1))


def painted_strokes(name: str, copied: str = "", *, who: str = "Build Scene") -> Tensor | None:
    """Read what was painted in the node.

    Source: host contract, ComfyUI 0.33 `comfy_extras/nodes_painter.py`: the widget's value names a picture with
    transparent ground in the input folder, or is empty.

    Args:
        name: the widget's value.
        copied: where a farm has put the picture that `name` was on another machine; read where there is no `name`.
        who: the node, for messages.

    Returns:
        (height width 4) float32, 0..1, or None where nothing was painted.

    Raises:
        FileError: the file is gone, or is not a picture.
    """
    if not (name.strip() or copied.strip()):
        return None
    try:
        picture = opened_png(_strokes_file(name.strip(), copied.strip(), who))
    except FileError as error:
        raise FileError(
            f"{who}: the painted masks {(name or copied)[:80]!r} can't be read from the input folder. Clear the "
            f"painting and paint again. ({error})"
        ) from error
    return torch.from_numpy(np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255)


def strokes_version(name: str, copied: str = "") -> str:
    """What changes when what the painted file holds does; empty where there is none."""
    try:
        if not (name.strip() or copied.strip()):
            return ""
        return hashlib.blake2b(_strokes_file(name.strip(), copied.strip(), "Painter").read_bytes()).hexdigest()
    except (SceneScopeError, OSError):
        return ""


def _strokes_file(name: str, copied: str, who: str) -> Path:
    try:
        return chosen_file(name or copied, STROKES, ("input",), who=who)
    except FileError:
        if name and copied and copied != name:
            return chosen_file(copied, STROKES, ("input",), who=who)
        raise


def pieces(text: str) -> int:
    """How many tokens SD1.5's text encoder makes of a text; an embedding counts as its vectors, as in training."""
    tokenizer, count = _tokenizer(), 0
    tokenizer.embedding_directory = folder_paths.get_folder_paths("embeddings")
    for chunk in tokenizer.tokenize_with_weights(text):
        for value, *_ in chunk[1:]:
            if isinstance(value, Tensor):
                count += len(value) if value.ndim == 2 else 1
            elif value == tokenizer.end_token:
                break
            else:
                count += 1
    return count


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    return comfy.sd1_clip.SDTokenizer()
