"""What the demo model can do, in numbers: does it draw what it is told, and does it look where the things are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..host.demo import load_demo_model
from ..scenescope.attention.read.heatmap import heatmaps
from ..scenescope.attention.read.masks import above_otsu, intersection_over_union
from ..scenescope.attention.read.view import View
from ..scenescope.attention.record.recording import Recording
from ..scenescope.attention.words.find import find_words
from ..scenescope.world.scene import Drawing, Layout, draw, full_caption
from ..scenescope.world.unseen import unseen_layout
from .judge.checker import Verdict, find_things, judge
from .judge.likeness import Truth, score
from .layouts import random_layout
from .studio import SIDE, Studio

VIEW = View(resolution="all", size="latent", steps="all")
"""Which maps make the figures' heatmaps: every block, brought to the latent's grid."""


@dataclass(frozen=True)
class Following:
    """Pictures that show everything asked for and nothing more, or perhaps more; right shapes, colours, and so on."""

    pictures: int
    follows: float
    finds: float
    shapes: float
    colours: float
    background: float
    count: float

    @classmethod
    def of(cls, verdicts: list[Verdict]) -> Following:
        """Average verdicts; shapes and colours are shares of things."""
        rows = [(v.follows, v.finds, v.shapes, v.colours, v.background, v.count) for v in verdicts]
        return cls(len(rows), *(round(float(part), 3) for part in np.mean(rows, axis=0)))


@dataclass(frozen=True)
class Looking:
    """Mean IoU of the heatmap of a thing's word with the thing itself, and with the other thing (shuffled words)."""

    things: int
    own: float
    shuffled: float

    @classmethod
    def of(cls, ious: list[tuple[float, float]]) -> Looking:
        """Average pairs of (own, shuffled); nothing measured counts as nothing met."""
        own, shuffled = np.mean(ious, axis=0) if ious else (0.0, 0.0)
        return cls(len(ious), round(float(own), 3), round(float(shuffled), 3))


def layouts(seed: int, number: int, count: int) -> list[Layout]:
    """Invent layouts of held-out combinations, `count` things each."""
    chances = (np.random.default_rng([seed, count, i]) for i in range(number))
    return [random_layout(chance, count=count, held_out=True) for chance in chances]


def picture_of(studio: Studio, layout: Layout, seed: int) -> np.ndarray:
    """Generate the picture of a layout's caption: (height, width, 3) float32."""
    return studio.picture(full_caption(layout), 0, seed=seed)


def look(studio: Studio, drawing: Drawing, seed: int) -> Recording:
    """Record one look at a drawn picture, noised to the middle of the schedule."""
    start = studio.vae.encode(torch.from_numpy(drawing.picture)[None])
    # Two steps at denoise 0.5 are the second half of four: the first starts in the middle.
    how = {"steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5}
    return studio.recorded(full_caption(drawing.layout), 0, start=start, seed=seed, **how)[1]


def following(studio: Studio, wanted: list[Layout]) -> Following:
    """Generate a picture for each layout and judge it."""
    return Following.of([judge(picture_of(studio, layout, at), layout) for at, layout in enumerate(wanted)])


def ious(recording: Recording, layout: Layout, masks: torch.Tensor) -> Iterator[tuple[float, float]]:
    """Compare the heatmap of each thing's shape word with its own mask and with its neighbour's.

    Args:
        recording: of the layout's caption.
        layout: two or more things.
        masks: (thing height width) float, in the layout's order.
    """
    table = next(entry.table for entry in recording.entries if entry.table is not None)
    words = find_words(table, ", ".join(thing.shape for thing in layout.things))
    values = heatmaps(recording, words, VIEW).values[0].permute(2, 0, 1)  # (word height width)
    cut, _ = above_otsu(values)
    own, other = (intersection_over_union(cut, m).tolist() for m in (masks, masks.roll(1, dims=0)))
    return zip(own, other, strict=True)


def looking_at_drawings(studio: Studio, number: int, *, seed: int = 21) -> Looking:
    """Measure on drawn pictures of two things, held-out combinations."""
    found: list[tuple[float, float]] = []
    for index, layout in enumerate(layouts(seed, number, 2)):
        drawing = draw(layout, height=SIDE, width=SIDE)
        found += ious(look(studio, drawing, index), layout, torch.from_numpy(drawing.masks))
    return Looking.of(found)


def looking_at_own(studio: Studio, number: int, *, seed: int = 22) -> Looking:
    """Measure on pictures that the model made itself, where both things came out: there the true masks are known."""
    found: list[tuple[float, float]] = []
    for index, layout in enumerate(layouts(seed, number, 2)):
        picture, recording = studio.recorded(full_caption(layout), 0, seed=index)
        seen = {thing.colour: thing.mask for thing in find_things(picture)}
        if all(thing.colour in seen for thing in layout.things):
            masks = torch.from_numpy(np.stack([seen[thing.colour] for thing in layout.things]).astype(np.float32))
            found += ious(recording, layout, masks)
    return Looking.of(found)


def glance(path: Path, sheet: Path) -> str:
    """Sample six prompts from a model file, write them side by side, and say in a line how they were answered."""
    with torch.inference_mode():
        studio = Studio(load_demo_model(path))
        asked = [layout for count in (1, 2) for layout in layouts(50, 3, count)]
        made = [picture_of(studio, layout, index).clip(0, 1) for index, layout in enumerate(asked)]
    Image.fromarray(np.uint8(np.concatenate(made, axis=1) * 255)).save(sheet)
    seen = Following.of([judge(picture, layout) for picture, layout in zip(made, asked, strict=True)])
    return f"samples: everything found {seen.finds:.2f}, and nothing more {seen.follows:.2f}; {sheet.name}"


@dataclass(frozen=True)
class Returning:
    """How the autoencoder alone brings unseen things back: the parts of their likeness, and found among 16."""

    things: int
    identity: float
    shape: float
    colour: float
    texture: float
    retrieved: float


def returning(vae: Any, number: int, *, seed: int = 600) -> Returning:
    """Encode and decode drawn scenes of two unseen things of the families that nothing is tuned on."""
    rows = []
    for index in range(number):
        drawing = draw(unseen_layout(seed + index, 2, test=True), height=SIDE, width=SIDE)
        back = vae.decode(vae.encode(torch.from_numpy(drawing.picture)[None]))[0].numpy().clip(0, 1)
        seen = score(back, Truth.of(drawing), (0, 1), drawing.layout.background)
        rows.append((seen.identity, seen.shape, seen.colour, seen.texture, seen.retrieved))
    return Returning(2 * number, *(round(float(part), 3) for part in np.mean(rows, axis=0)))
