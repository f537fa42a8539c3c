"""New pictures with what was learned: every subset of the things at every place, and how many colours come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pack.benchmarks.lab.report import PLACES
from pack.benchmarks.lab.trial import subsets
from pack.demo.judge.likeness import colour_overlap
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.masks import above_otsu
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.drawing.labelled_grid import labelled_grid
from pack.scenescope.resample import resize


def colours_back(picture: np.ndarray, maps: torch.Tensor, scene: Any, asked: tuple[int, ...]) -> list[float]:
    """Compare the colours where each token looks with those inside its mask.

    Args:
        picture: (height, width, 3) float, 0 to 1.
        maps: (concept height width) float, the maps of the concepts asked for, on the picture's grid.
        scene: what was learned from.
        asked: the concepts.
    """
    cut, _ = above_otsu(maps)
    truth = scene.pictures[0].numpy()
    return [
        colour_overlap(picture[cut[index].numpy() > 0.5], truth[scene.masks[0, thing].numpy() > 0.5])
        for index, thing in enumerate(asked)
    ]


def draw_all(lab: Any, stand: Any, scene: Any, seed: int) -> tuple[torch.Tensor, float]:
    """Generate every subset at every place.

    Returns:
        The sheet (1 height width 3) float, 0 to 1, places down and subsets across, and the share of the colours that
        came back.
    """
    studio, ways, pictures, back = lab.studio(stand), subsets(len(scene.concepts)), [], []
    names = [[stand.names[thing] for thing in asked] for asked in ways]
    for place in PLACES:
        for asked, called in zip(ways, names, strict=True):
            prompt = f"a photo of {' and '.join(called)} {place}"
            picture, recording = studio.recorded(prompt, 0, seed=seed)
            picture = picture.clip(0, 1)
            table = next(entry.table for entry in recording.entries if entry.table is not None)
            seen = heatmaps(recording, find_words(table, ", ".join(called)), View("all", "latent", steps="all"))
            maps = resize(seen.values.movedim(-1, 1), scene.size)[0].cpu()
            back += colours_back(picture, maps, scene, asked)
            pictures.append(torch.from_numpy(picture))
            lab.on_picture("picture", len(pictures), len(PLACES) * len(ways))
    sheet = labelled_grid(torch.stack(pictures), PLACES, [" and ".join(called) for called in names])
    return sheet, float(np.mean(back))
