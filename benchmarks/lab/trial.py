"""One trial: one way to train, on one scene, and everything that is measured about it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.utils
import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from pack.benchmarks.lab.bounds import BOUNDS, bound_picture
from pack.benchmarks.lab.probe import Looked, look
from pack.benchmarks.lab.variants import WITHOUT_TRAINING, settings_of
from pack.demo.judge.likeness import Truth, score
from pack.demo.studio import Studio
from pack.host.concepts.apply import apply_concepts
from pack.host.recording.sampling import SamplerSettings
from pack.host.training.class_pictures import ClassWish, made_class_pictures
from pack.host.training.models import training_ports
from pack.host.training.samples import Sampling
from pack.scenescope.dims import Grid
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.ports import ClassPictures, Ports
from pack.scenescope.training.run.trainer import OnStep, Run, StateStore, StepReport, train
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene
from pack.scenescope.training.settings import Settings
from pack.scenescope.world.scene import Drawing, draw
from pack.scenescope.world.unseen import STARTING_WORDS, loosened, unseen_layout
from pack.scenescope.world.vocabulary import BACKGROUNDS, FIRST_BACKGROUNDS

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
    """What is tried: a way to train, a scene by its number of things and its seed, and a seed of the training.

    test: whether the scene is of the families that nothing is tuned on.
    """

    variant: str
    things: int
    scene: int
    seed: int
    test: bool = True


@dataclass(frozen=True)
class Protocol:
    """How long is trained, and what is drawn afterwards: so many backgrounds and pictures for each subset."""

    steps: tuple[int, int]
    templates: int
    pictures: int


@dataclass(frozen=True)
class Stand:
    """A model before or after training: what the prompts call the things, and what was seen before and afterwards."""

    model: Any
    clip: Any
    names: tuple[str, ...]
    looks: tuple[Looked, Looked] | None = None


@dataclass(frozen=True)
class Course:
    """How a training is watched and kept; what is learned does not depend on it.

    Args:
        say: told in a few words what is being done.
        on_begin: told the step that the training goes on from.
        on_step: called after each step.
        keeping: where the state is kept, so that an interrupted run resumes; None keeps none.
        checkpointing: save memory for time.
    """

    say: Callable[[str], None] = lambda text: None
    on_begin: Callable[[int], None] = lambda step: None
    on_step: OnStep = lambda report: None
    keeping: StateStore | None = None
    checkpointing: bool = False


UNWATCHED = Course()
"""Nobody watches, and nothing is kept."""


class Lab:
    """A model, and what of its work is used by many trials.

    Args:
        parts: MODEL, CLIP and VAE.
        folder: keeps the pictures for the prior from one run to the next.
        manner: how it makes pictures.
    """

    def __init__(self, parts: tuple[Any, Any, Any], folder: Path, manner: Manner | None = None) -> None:
        comfy.utils.set_progress_bar_enabled(False)
        self.model, self.clip, self.vae = parts
        self.manner, self._folder = manner or Manner(), folder
        self.on_picture: Callable[[str, int, int], None] = lambda what, made, of: None

    def studio(self, stand: Stand) -> Studio:
        """What makes pictures with what was learned."""
        return Studio((stand.model, stand.clip, self.vae), 0, self.manner.sampling, self.manner.latent)

    def class_pictures(self, precision: torch.dtype, ports: Ports) -> ClassPictures:
        """The base model's own pictures for the prior, made as the node makes them, and once."""
        manner = self.manner
        sampling = (manner.class_prompt, manner.sampling.steps, manner.sampling.cfg, manner.latent, precision)
        self._folder.mkdir(parents=True, exist_ok=True)
        return made_class_pictures(
            ports,
            ClassWish(Sampling(*sampling), manner.class_pictures, 0, self._folder),
            partial(self.on_picture, "class picture"),
            throw_exception_if_processing_interrupted,
        )


def run_trial(lab: Lab, trial: Trial, protocol: Protocol) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Train, look, generate and score.

    Args:
        lab: the model.
        trial: what is tried.
        protocol: how much is trained and drawn.

    Returns:
        What JSON can hold: the trial, and what was measured; and the scene's picture and all that were generated, each
        (height width 3) float.
    """
    drawing = draw(unseen_layout(trial.scene, trial.things, test=trial.test), height=SIDE, width=SIDE)
    began, scene = time.perf_counter(), scene_of(drawing)
    if trial.variant in WITHOUT_TRAINING:
        stand = Stand(lab.model, lab.clip, tuple(f"a {concept.word}" for concept in scene.concepts))
    else:
        stand = trained(lab, scene, settings_of(trial.variant, protocol.steps, trial.seed))
    drawing_began = time.perf_counter()
    with torch.inference_mode():
        scores, pictures = _scores(lab, stand, drawing, trial, protocol)
    ended = time.perf_counter()
    looked: dict[str, Any] = {}
    if looks := stand.looks:
        looked = {"fit": [look.iou for look in looks], "masked": [look.masked for look in looks]}
    times = {"train": drawing_began - began, "draw": ended - drawing_began}
    return {**asdict(trial), **looked, "seconds": times, "pictures": scores}, pictures


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
    others = [name for name in FIRST_BACKGROUNDS if name != drawing.layout.background]
    return [str(name) for name in np.random.default_rng([77, scene]).permutation(others)[:number]]


def trained(lab: Lab, scene: Scene, settings: Settings, course: Course = UNWATCHED) -> Stand:
    """Learn a scene and apply what was learned.

    Args:
        lab: the model.
        scene: what is learned from.
        settings: the method's.
        course: how it is watched and kept.
    """
    with training_ports(
        lab.model,
        lab.clip,
        lab.vae,
        scene,
        settings,
        checkpointing=course.checkpointing,
        class_pictures=partial(lab.class_pictures, settings.dtype),
        on_progress=course.say,
    ) as ports:
        before, after, concepts = learn(ports, scene, settings, course)
    model, clip = apply_concepts(lab.model, lab.clip, concepts)
    return Stand(model, clip, scene.handles, (before, after))


def learn(
    ports: Ports, scene: Scene, settings: Settings, course: Course = UNWATCHED
) -> tuple[Looked, Looked, Concepts]:
    """Train; both looks, before and afterwards, while the modules compute with it, and what was learned."""
    looks: list[Looked] = []

    def look_at_the_end(step: int, embeddings: Mapping[str, torch.Tensor]) -> None:
        if step == settings.steps:
            copies = {handle: embedding.to("cpu", copy=True) for handle, embedding in embeddings.items()}
            looks.append(look(ports, scene, copies))

    def begin(step: int, embeddings: Mapping[str, torch.Tensor]) -> None:
        course.on_begin(step)
        look_at_the_end(step, embeddings)

    def follow(report: StepReport) -> None:
        course.on_step(report)
        look_at_the_end(report.step, report.embeddings)

    with Run(scene, ports, settings) as run:
        fresh = run.concepts()
        before = look(ports, scene, dict(zip(fresh.handles, fresh.embeddings, strict=True)))
    concepts = train(scene, ports, settings, on_begin=begin, on_step=follow, keeping=course.keeping)
    return before, looks[-1], concepts


def _scores(
    lab: Lab, stand: Stand, drawing: Drawing, trial: Trial, protocol: Protocol
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    truth, studio, rows, all_pictures = Truth.of(drawing), lab.studio(stand), [], [drawing.picture]
    for place in backgrounds(drawing, trial.scene, protocol.templates):
        for asked in subsets(trial.things):
            prompt = f"a photo of {' and '.join(stand.names[thing] for thing in asked)} {BACKGROUNDS[place]}"
            first = 100 * trial.seed
            if trial.variant in BOUNDS:
                made = [bound_picture(trial.variant, lab.vae, drawing, asked, place)]
            else:
                seeds = range(first, first + protocol.pictures)
                made = [studio.picture(prompt, 0, seed=seed) for seed in seeds]
            for picture in made:
                all_pictures.append(picture.clip(0, 1))
                seen = score(all_pictures[-1], truth, asked, place)
                about = {"prompt": seen.prompt, "identity": seen.identity, "asked": asked, "place": place}
                rows.append(asdict(seen) | about)
    return rows, all_pictures
