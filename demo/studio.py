"""A model that makes pictures: plainly, with what acts on it, and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..host.acting.run import with_act
from ..host.prompts.text import trace_words
from ..host.recording.sampling import SamplerSettings, sample
from ..host.recording.unet import record_attention
from ..scenescope.attention.act.acts import Instruction
from ..scenescope.attention.record.recording import Recording
from ..scenescope.attention.record.selection import Selection
from ..scenescope.dims import Grid

SETTINGS = SamplerSettings(seed=0, steps=20, cfg=2.0, sampler_name="dpmpp_2m", scheduler="karras")
"""How the figures' pictures are sampled."""
SIDE = 128
"""Side of the figures' pictures in pixels: the size of training."""
LATENT = Grid(SIDE // 8, SIDE // 8)
POSITIVE_MAPS = Selection(branches=("positive",))


class Studio:
    """A model and how it makes pictures; the same seed and number of a noise are the same noise everywhere.

    Args:
        parts: MODEL, CLIP and VAE.
        seed: of all noise.
        settings: of the sampler.
        latent: the pictures' size.
    """

    def __init__(
        self, parts: tuple[Any, Any, Any], seed: int = 0, settings: SamplerSettings = SETTINGS, latent: Grid = LATENT
    ) -> None:
        self.model, self.clip, self.vae = parts[0], trace_words(parts[1]), parts[2]
        self.settings, self.latent = replace(settings, seed=seed), latent
        self.negative = self.encode("")

    def encode(self, prompt: str) -> Any:
        """A conditioning that knows its words."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def acting(self, acts: Sequence[Instruction]) -> Any:
        """The model with what acts on it."""
        model = self.model
        for act in acts:
            model = with_act(model, act)
        return model

    def latents(
        self, model: Any, positive: Any, noises: Sequence[int], start: torch.Tensor | None = None, **changes: Any
    ) -> torch.Tensor:
        """(picture channel height width) float32, one for each number of a noise.

        Args:
            model: perhaps with acts, perhaps recorded.
            positive: a conditioning.
            noises: host contract: `batch_index` numbers the noises of one seed.
            start: latents that the noise is added to; None begins from the noise alone.
            changes: of the sampler's settings.
        """
        start = torch.zeros(len(noises), 4, *self.latent) if start is None else start
        given = {"samples": start, "batch_index": list(noises)}
        settings = replace(self.settings, **changes)
        return sample(model, positive, self.negative, given, settings)["samples"].float().cpu()

    def pictures(self, model: Any, positive: Any, noises: Sequence[int], **changes: Any) -> np.ndarray:
        """(picture height width 3) float32, of such latents."""
        made = self.vae.decode(self.latents(model, positive, noises, **changes))
        pixels: np.ndarray = made.float().cpu().numpy()
        return pixels

    def picture(self, prompt: str, noise: int, acts: Sequence[Instruction] = (), **changes: Any) -> np.ndarray:
        """(height width 3) float32."""
        return self.pictures(self.acting(acts), self.encode(prompt), [noise], **changes)[0]

    def recorded(
        self,
        prompt: str,
        noise: int,
        acts: Sequence[Instruction] = (),
        selection: Selection = POSITIVE_MAPS,
        **changes: Any,
    ) -> tuple[np.ndarray, Recording]:
        """A picture (height width 3), and what was recorded of it."""
        watched, runs = record_attention(self.acting(acts), selection)
        return self.pictures(watched, self.encode(prompt), [noise], **changes)[0], runs.find(None)[0]
