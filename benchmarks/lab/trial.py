"""One trial: one way to train, on one scene, and everything that is measured about it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import comfy.utils
import numpy as np
import torch
from pack.benchmarks.lab.probe import Looked, look
from pack.benchmarks.lab.variants import UNTRAINED, Length, settings_of
from pack.host.concepts import apply_concepts
from pack.host.sampling import SamplerSettings, sample
from pack.host.training import training_ports
from pack.scenescope.dims import Grid
from pack.scenescope.training.concepts import Concepts
from pack.scenescope.training.ports import ClassPictures, Ports
from pack.scenescope.training.scene import Concept, Scene, build_scene
from pack.scenescope.training.settings import Settings
from pack.scenescope.training.trainer import Run
from pack.scenescope.world.likeness import Truth, score
from pack.scenescope.world.scene import Drawing, draw
from pack.scenescope.world.unseen import STARTING_WORDS, loosened, unseen_layout
from pack.scenescope.world.vocabulary import BACKGROUNDS

SIDE = 128
LATENT = Grid(SIDE // 8, SIDE // 8)
SAMPLING = SamplerSettings(0, steps=12, cfg=3.0, sampler_name="dpmpp_2m", scheduler="karras")


@dataclass(frozen=True)
class Manner:
    """How pictures are made.

    Args:
        latent: their grid.
        sampling: the sampler's settings; the seed is replaced.
        class_prompt: of the pictures for the prior; the paper's code has `a photo at the beach`, but the demo model
            knows no picture without a thing.
        class_pictures: how many; the code has 100.
    """

    latent: Grid = LATENT
    sampling: SamplerSettings = SAMPLING
    class_prompt: str = "a photo of a thing at the beach"
    class_pictures: int = 16


@dataclass(frozen=True)
class Trial:
    """What is tried: a way to train, a scene by its number of things and its seed, and a seed of the training."""

    variant: str
    things: int
    scene: int
    seed: int


@dataclass(frozen=True)
class Protocol:
    """How long is trained, and what is drawn afterwards: so many backgrounds and pictures for each subset."""

    length: Length
    templates: int
    pictures: int


@dataclass(frozen=True)
class Stand:
    """A model before or after training: what the prompts call the things, and what the look found."""

    model: Any
    clip: Any
    names: tuple[str, ...]
    before: Looked | None = None
    after: Looked | None = None
    seconds_per_step: tuple[float, float] = (0.0, 0.0)


class Studio:
    """A model, and what of its work is used by many trials.

    Args:
        parts: MODEL, CLIP and VAE.
        manner: how it makes pictures.
    """

    def __init__(self, parts: tuple[Any, Any, Any], manner: Manner | None = None) -> None:
        comfy.utils.set_progress_bar_enabled(False)
        self.model, self.clip, self.vae = parts
        self.manner = manner or Manner()
        self._class_pictures: ClassPictures | None = None

    def pictures(self, stand: Stand, prompt: str, seeds: range) -> list[np.ndarray]:
        """Generate pictures (height width 3) float32, 0 to 1, one for each seed."""
        positive, negative = (encode(stand.clip, text) for text in (prompt, ""))
        made = []
        for seed in seeds:
            settings, blank = replace(self.manner.sampling, seed=seed), torch.zeros(1, 4, *self.manner.latent)
            latent = sample(stand.model, positive, negative, {"samples": blank}, settings)["samples"]
            made.append(self.vae.decode(latent)[0].float().numpy())
        return made

    def class_pictures(self, ports: Ports) -> ClassPictures:
        """The base model's own pictures, made once."""
        if self._class_pictures is None:
            base, prompt = Stand(self.model, self.clip, ()), self.manner.class_prompt
            with torch.inference_mode():
                pixels = np.stack(self.pictures(base, prompt, range(1000, 1000 + self.manner.class_pictures)))
                latents = self.model.model.process_latent_in(self.vae.encode(torch.from_numpy(pixels)))
            self._class_pictures = ClassPictures(latents.clone().to(ports.latents), prompt)
        return self._class_pictures


Keep = Callable[[list[np.ndarray]], None]


def run_trial(studio: Studio, trial: Trial, protocol: Protocol, keep: Keep = lambda pictures: None) -> dict[str, Any]:
    """Train, look, generate and score.

    Args:
        studio: the model.
        trial: what is tried.
        protocol: how much is trained and drawn.
        keep: is handed the scene's picture and all that were generated, each (height width 3) float.

    Returns:
        What JSON can hold: the trial, and what was measured.
    """
    drawing = draw(unseen_layout(trial.scene, trial.things), height=SIDE, width=SIDE)
    began = time.perf_counter()
    stand = _untrained(studio, drawing) if trial.variant == UNTRAINED else _learned(studio, drawing, trial, protocol)
    drawing_began = time.perf_counter()
    with torch.inference_mode():
        pictures = _scores(studio, stand, drawing, trial, protocol, keep)
    ended = time.perf_counter()
    looked = (
        {}
        if stand.before is None or stand.after is None
        else {
            "fit": [stand.before.fit, stand.after.fit],
            "masked": [stand.before.masked, stand.after.masked],
        }
    )
    times = {"train": drawing_began - began, "draw": ended - drawing_began, "step": stand.seconds_per_step}
    return {**asdict(trial), **looked, "seconds": times, "pictures": pictures}


def scene_of(drawing: Drawing) -> Scene:
    """The drawing as a user would hand it in: with masks drawn loosely, and a known word for each thing."""
    words = [STARTING_WORDS[thing.shape] for thing in drawing.layout.things]
    concepts = [Concept(f"<asset{index}>", word) for index, word in enumerate(words)]
    masks = torch.from_numpy(loosened(drawing.masks))
    return build_scene(torch.from_numpy(drawing.picture)[None], list(masks), concepts)


def subsets(things: int) -> list[tuple[int, ...]]:
    """All ways to ask for some of the things.

    >>> subsets(2)
    [(0,), (1,), (0, 1)]
    """
    return [part for size in range(1, things + 1) for part in itertools.combinations(range(things), size)]


def backgrounds(drawing: Drawing, scene: int, number: int) -> list[str]:
    """Some backgrounds that are not the scene's own."""
    others = [name for name in BACKGROUNDS if name != drawing.layout.background]
    return [str(name) for name in np.random.default_rng([77, scene]).permutation(others)[:number]]


def _untrained(studio: Studio, drawing: Drawing) -> Stand:
    names = tuple(f"a {STARTING_WORDS[thing.shape]}" for thing in drawing.layout.things)
    return Stand(studio.model, studio.clip, names)


def _learned(studio: Studio, drawing: Drawing, trial: Trial, protocol: Protocol) -> Stand:
    return trained(studio, scene_of(drawing), settings_of(trial.variant, protocol.length, trial.seed))


def trained(studio: Studio, scene: Scene, settings: Settings) -> Stand:
    """Learn a scene and apply what was learned."""
    with training_ports(
        studio.model, studio.clip, studio.vae, scene, settings, class_pictures=studio.class_pictures
    ) as ports:
        before, after, concepts, times = learn(ports, scene, settings)
    model, clip = apply_concepts(studio.model, studio.clip, concepts)
    return Stand(model, clip, scene.handles, before, after, times)


def learn(ports: Ports, scene: Scene, settings: Settings) -> tuple[Looked, Looked, Concepts, tuple[float, float]]:
    """Train, and look before and afterwards.

    Returns:
        Both looks, what was learned, and the seconds of a step in each phase (0 for a phase without steps).
    """
    spent, taken = [0.0, 0.0], [0, 0]
    with Run(scene, ports, settings) as run:
        before = look(ports, scene, _rows(run.concepts()))
        for _ in range(settings.steps):
            began = time.perf_counter()
            phase = run.advance().phase - 1
            spent[phase] += time.perf_counter() - began
            taken[phase] += 1
        concepts = run.concepts()
        after = look(ports, scene, _rows(concepts))
    first, second = (total / count if count else 0.0 for total, count in zip(spent, taken, strict=True))
    return before, after, concepts, (first, second)


def _rows(concepts: Concepts) -> dict[str, torch.Tensor]:
    return dict(zip(concepts.handles, concepts.rows, strict=True))


def _scores(
    studio: Studio, stand: Stand, drawing: Drawing, trial: Trial, protocol: Protocol, keep: Keep
) -> list[dict[str, Any]]:
    truth, rows, all_pictures = Truth.of(drawing), [], [drawing.picture]
    for place in backgrounds(drawing, trial.scene, protocol.templates):
        for asked in subsets(trial.things):
            prompt = f"a photo of {' and '.join(stand.names[thing] for thing in asked)} {BACKGROUNDS[place]}"
            first = 100 * trial.seed
            for picture in studio.pictures(stand, prompt, range(first, first + protocol.pictures)):
                all_pictures.append(picture.clip(0, 1))
                seen = score(all_pictures[-1], truth, asked, place)
                rows.append(
                    {**asdict(seen), "prompt": seen.prompt, "identity": seen.identity, "asked": asked, "place": place}
                )
    keep(all_pictures)
    return rows


def encode(clip: Any, prompt: str) -> Any:
    """A prompt as the sampler reads it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
