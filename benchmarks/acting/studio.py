"""The demo model as the benchmarks of acting use it, and what they measure pictures by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack.demo.judge.checker import Found
from pack.demo.measure import SETTINGS, SIDE
from pack.host.demo import load_demo_model
from pack.host.prompts.text import trace_words
from pack.host.recording.sampling import sample
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.world.scene import Thing, noun_phrase


class Studio:
    """A demo model that poses.

    Args:
        file: of the model.
    """

    def __init__(self, file: Path) -> None:
        model, clip, self.vae = load_demo_model(file)
        self.model, self.clip = model, trace_words(clip)
        self.negative = self.encode("")

    def encode(self, prompt: str) -> Any:
        """A conditioning that knows its words."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def picture(self, model: Any, prompt: str, seed: int) -> np.ndarray:
        """(height width 3) float32."""
        return self.sampled(model, self.encode(prompt), seed)

    def sampled(self, model: Any, positive: Any, seed: int) -> np.ndarray:
        """(height width 3) float32."""
        return self.vae.decode(self.latent(model, positive, seed))[0].numpy()

    def latent(self, model: Any, positive: Any, seed: int) -> torch.Tensor:
        """(1 channel height width) float32."""
        blank = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}
        return sample(model, positive, self.negative, blank, replace(SETTINGS, seed=seed))["samples"]

    def recorded(self, prompt: str, seed: int) -> tuple[np.ndarray, Recording]:
        """An unsteered picture and its maps."""
        watched, runs = record_attention(self.model, Selection(branches=("positive",)))
        picture = self.picture(watched, prompt, seed)
        return picture, runs.find(None)[0]


def phrase(thing: Thing) -> str:
    """The thing's words, as the prompt has them."""
    return noun_phrase(thing.words()).split(" ", 1)[1]


def present(things: list[Found], thing: Thing) -> bool:
    """Whether a thing of this shape and colour was found."""
    return any((found.shape, found.colour) == (thing.shape, thing.colour) for found in things)


def overlap(things: list[Found], thing: Thing, mask: np.ndarray) -> float:
    """IoU of what was found in the thing's colour with the mask; 0 where nothing was."""
    own = [found.mask for found in things if found.colour == thing.colour]
    there = mask > 0.5
    return max((float((each & there).sum() / (each | there).sum()) for each in own), default=0.0)


def box_of(mask: np.ndarray) -> dict[str, int]:
    """Core's bounding box around a mask."""
    rows, columns = np.nonzero(mask.max(axis=1) > 0.5)[0], np.nonzero(mask.max(axis=0) > 0.5)[0]
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return {"x": int(columns[0]), "y": int(rows[0]), "width": int(width), "height": int(height)}
