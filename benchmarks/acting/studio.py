"""The demo model as the benchmarks of acting use it, and what they measure pictures by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack.benchmarks.acting.crowd import Crowd, Pose, alone
from pack.demo.judge.checker import Found
from pack.demo.judge.silhouette import silhouette_of
from pack.demo.measure import SETTINGS, SIDE
from pack.host.acting.run import with_act
from pack.host.demo import load_demo_model
from pack.host.prompts.text import TOKENS_KEY, trace_words
from pack.host.recording.sampling import SamplerSettings, sample
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.world.scene import Thing, noun_phrase

TOGETHER = 16
"""Pictures in one sampling call."""
POSITIVE_MAPS = Selection(branches=("positive",))


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

    def sampled(self, model: Any, positive: Any, seed: int, pictures: int = 1) -> np.ndarray:
        """(picture height width 3) float32: as many from different noise."""
        latent = _sample(model, positive, self.negative, list(range(pictures)), replace(SETTINGS, seed=seed))
        return self.vae.decode(latent).numpy()

    def crowd(self, poses: Sequence[Pose], seed: int, settings: SamplerSettings = SETTINGS) -> np.ndarray:
        """(picture height width 3) float32: a picture for each pose, in as few calls as their number allows.

        Args:
            poses: prompts, noises and acts.
            seed: of all noise.
            settings: of the sampler.
        """
        settings, starts = replace(settings, seed=seed), range(0, len(poses), TOGETHER)
        return np.concatenate([self._crowd(poses[at : at + TOGETHER], settings, self.model) for at in starts])

    def _crowd(self, poses: Sequence[Pose], settings: SamplerSettings, model: Any) -> np.ndarray:
        encoded = [self.encode(pose.prompt)[0] for pose in poses]
        if any(pose.acts for pose in poses):
            tables = [more[TOKENS_KEY] for _, more in encoded]
            model = with_act(model, Crowd(tables, [pose.acts for pose in poses]))
        positive = [[torch.cat([tensor for tensor, _ in encoded]), encoded[0][1]]]
        latent = _sample(model, positive, self.negative, [pose.noise for pose in poses], settings)
        return self.vae.decode(latent).numpy()

    def recorded(
        self, poses: Sequence[Pose], seed: int, selection: Selection = POSITIVE_MAPS
    ) -> list[tuple[np.ndarray, Recording]]:
        """Pictures (height width 3), each with what was recorded of it."""
        found = []
        for at in range(0, len(poses), TOGETHER):
            own = poses[at : at + TOGETHER]
            watched, runs = record_attention(self.model, selection)
            pictures, recording = self._crowd(own, replace(SETTINGS, seed=seed), watched), runs.find(None)[0]
            for image, pose in enumerate(own):
                table = self.encode(pose.prompt)[0][1][TOKENS_KEY]
                found.append((pictures[image], alone(recording, image, table)))
        return found


def _sample(model: Any, positive: Any, negative: Any, noises: list[int], settings: SamplerSettings) -> torch.Tensor:
    """(picture channel height width); host contract: `batch_index` numbers the noises of one seed."""
    blank = {"samples": torch.zeros(len(noises), 4, SIDE // 8, SIDE // 8), "batch_index": noises}
    return sample(model, positive, negative, blank, settings)["samples"]


def phrase(thing: Thing) -> str:
    """The thing's words, as the prompt has them."""
    return noun_phrase(thing.words()).split(" ", 1)[1]


def present(things: list[Found], thing: Thing) -> bool:
    """Whether a thing of this shape and colour was found."""
    return any((found.shape, found.colour) == (thing.shape, thing.colour) for found in things)


def overlap(things: list[Found], thing: Thing, mask: np.ndarray, *, whole: bool = False) -> float:
    """IoU of what was found in the thing's colour with the mask; 0 where nothing was.

    Args:
        things: what was found in the picture.
        thing: the one that was asked for.
        mask: (height width), where.
        whole: compare the whole silhouette, dark outline included, as masks have it; else the coloured part alone.
    """
    own = [found.mask for found in things if found.colour == thing.colour]
    return max((iou(silhouette_of(part) if whole else part, mask > 0.5) for part in own), default=0.0)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of (height width) bool masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def box_of(mask: np.ndarray) -> dict[str, int]:
    """Core's bounding box around a mask."""
    rows, columns = np.nonzero(mask.max(axis=1) > 0.5)[0], np.nonzero(mask.max(axis=0) > 0.5)[0]
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return {"x": int(columns[0]), "y": int(rows[0]), "width": int(width), "height": int(height)}
