"""A photo of one's own with its masks, read from a folder and questioned before time is spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pack.host.scene import pieces
from pack.scenescope.dims import Grid
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.scene.cautions import SceneCaution, cautions, size_cautions
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene
from PIL import Image, ImageOps
from torch import Tensor

PHOTOS = ("img.png", "img.jpg")
ASPECT = 0.03
"""How far a mask's aspect may be from the picture's: sides that were rounded when it was made smaller."""


@dataclass(frozen=True)
class Photo:
    """What is learned from, and what to doubt about it."""

    scene: Scene
    found: tuple[SceneCaution, ...]


def read_photo(folder: Path, resolution: int) -> Photo:
    """Read `img.png` (or .jpg), `mask0.png`, `mask1.png` ..., and a starting word in each line of `words.txt`.

    Pictures are turned as their EXIF orientation says, as the host's Load Image does.

    Args:
        folder: that holds them.
        resolution: side of a square with as many pixels as the training picture should have.

    Raises:
        FileError: a file is missing or cannot be read.
        InputError: a mask has a different shape from the picture or covers nothing, or they make no scene.
    """
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}. Give --scene one that holds img.png and mask0.png.")
    images = [folder / name for name in PHOTOS if (folder / name).is_file()]
    files = [file for file in folder.glob("mask*.png") if file.is_file()]
    files.sort(key=lambda file: int("".join(filter(str.isdigit, file.stem)) or 0))
    if not images or not files:
        raise FileError(f"{folder} has no img.png or no mask0.png. Both are needed.")
    words = [*_lines(folder / "words.txt"), *[""] * len(files)]
    picture, masks = _pixels(images[0], "RGB")[None], [_pixels(file, "L") for file in files]
    size = Grid(*picture.shape[1:3])
    for file, mask in zip(files, masks, strict=True):
        _check_aspect(file, Grid(*mask.shape), size)
    concepts = [Concept(f"<asset{index}>", words[index].strip()) for index in range(len(files))]
    scene = build_scene(picture, masks, concepts, resolution=resolution)
    found = (*size_cautions(masks, size), *cautions(scene, pieces))
    empty = next((doubt for doubt in found if doubt.kind == "empty mask"), None)
    if empty is not None and empty.concept is not None:
        raise InputError(f"{files[empty.concept]}: {empty.message}")
    return Photo(scene, found)


def _check_aspect(file: Path, own: Grid, size: Grid) -> None:
    ratio = own.width * size.height / (own.height * size.width)
    if not 1 - ASPECT <= ratio <= 1 + ASPECT:
        raise InputError(
            f"{file} is {own} (height x width), a different shape from the picture's {size}. Any size is fine, but "
            "paint it on the picture as it is, or rotate it."
        )


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file} can't be read ({error}). Save it as a text in UTF-8.") from error


def _pixels(file: Path, mode: str) -> Tensor:
    """A picture upright: (height width) float32 0..1 for mode L, (height width 3) for RGB."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            upright = ImageOps.exif_transpose(opened).convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a spoilt PNG
        raise FileError(f"{file} can't be read ({error}). Save it as a PNG again.") from error
    return torch.from_numpy(np.asarray(upright, dtype=np.float32) / 255)
