"""Floors and ceilings of the measures: pictures that nobody generated, scored as if somebody had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pack.scenescope.world.scene import Drawing, Layout, draw
from pack.scenescope.world.unseen import unseen_layout

Bound = Callable[[Any, Layout], Layout | np.ndarray]


def _foreign(_: Any, wanted: Layout) -> Layout:
    """Other unseen things, in other colours, where those asked for would stand."""
    taken = {thing.colour for thing in wanted.things}
    seed = wanted.seed
    while True:
        others = unseen_layout(seed, 3).things[: len(wanted.things)]
        if not taken & {thing.colour for thing in others}:
            break
        seed += 1
    things = zip(others, wanted.things, strict=True)
    return replace(wanted, things=tuple(replace(o, centre=t.centre, size=t.size) for o, t in things))


def _coloured(_: Any, wanted: Layout) -> Layout:
    """Plain circles of the right colours."""
    return replace(wanted, things=tuple(replace(t, shape="circle", texture="plain") for t in wanted.things))


def _mirrored(_: Any, wanted: Layout) -> np.ndarray:
    return _drawn(wanted)[:, ::-1].copy()


def _reconstructed(vae: Any, wanted: Layout) -> np.ndarray:
    """The true picture, encoded and decoded."""
    pixels = torch.from_numpy(_drawn(wanted))[None]
    picture: np.ndarray = vae.decode(vae.encode(pixels))[0].float().numpy()
    return picture


BOUNDS: dict[str, Bound] = {
    "foreign": _foreign,
    "coloured": _coloured,
    "mirrored": _mirrored,
    "reconstructed": _reconstructed,
    "true": lambda _, wanted: wanted,
}
"""Way to get a picture -> its maker, from a VAE and the picture that would be right; floors first."""


def _drawn(layout: Layout) -> np.ndarray:
    return draw(layout, height=128, width=128).picture


def bound_picture(name: str, vae: Any, drawing: Drawing, asked: Sequence[int], place: str) -> np.ndarray:
    """Make a floor's or a ceiling's picture for a prompt.

    Args:
        name: a key of BOUNDS.
        vae: the model's.
        drawing: the scene.
        asked: which of its things the prompt names.
        place: the background that it asks for.

    Returns:
        picture: (height, width, 3) float32, 0 to 1.
    """
    things = tuple(drawing.layout.things[thing] for thing in asked)
    made = BOUNDS[name](vae, Layout(things, place, drawing.layout.seed))
    return _drawn(made) if isinstance(made, Layout) else made.clip(0, 1)
