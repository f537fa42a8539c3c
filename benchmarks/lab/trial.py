"""One trial: one way to train, on one scene, and everything that is measured about it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import comfy.utils
import numpy as np
import torch
from pack.benchmarks.lab.bounds import BOUNDS, bound_picture
from pack.benchmarks.lab.probe import Looked, look
from pack.benchmarks.lab.variants import WITHOUT_TRAINING, Length, settings_of
from pack.demo.judge.likeness import Truth, score
from pack.host.concepts.apply import apply_concepts
from pack.host.recording.sampling import SamplerSettings, sample
from pack.host.training.models import training_ports
from pack.scenescope.dims import Grid
from pack.scenescope.files.safetensors_file import read_container, write_container
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

    length: Length
    templates: int
    pictures: int


@dataclass(frozen=True)
class Stand:
    """A model before or after training: what the prompts call the things, and what was seen before and afterwards."""

    model: Any
    clip: Any
    names: tuple[str, ...]
    looks: tuple[Looked, Looked] | None = None
    seconds_per_step: tuple[float, float] = (0.0, 0.0)


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
CLASS_FORMAT = "scenescope-bench-class-pictures 1"


class Studio:
    """A model, and what of its work is used by many trials.

    Args:
        parts: MODEL, CLIP and VAE.
        manner: how it makes pictures.
        class_file: keeps the pictures for the prior from one run to the next; None keeps none.
    """

    def __init__(
        self, parts: tuple[Any, Any, Any], manner: Manner | None = None, class_file: Path | None = None
    ) -> None:
        comfy.utils.set_progress_bar_enabled(False)
        self.model, self.clip, self.vae = parts
        self.manner = manner or Manner()
        self.on_picture: Callable[[str, int, int], None] = lambda what, made, of: None
        self._class_file = class_file
        self._class_pictures: ClassPictures | None = None

    def pictures(self, stand: Stand, prompt: str, seeds: range, what: str = "picture") -> list[np.ndarray]:
        """Generate pictures (height width 3) float32, 0 to 1, one for each seed."""
        positive, negative = (encode(stand.clip, text) for text in (prompt, ""))
        made = []
        for seed in seeds:
            settings, blank = replace(self.manner.sampling, seed=seed), torch.zeros(1, 4, *self.manner.latent)
            latent = sample(stand.model, positive, negative, {"samples": blank}, settings)["samples"]
            made.append(self.vae.decode(latent)[0].float().numpy())
            self.on_picture(what, len(made), len(seeds))
        return made

    def class_pictures(self, ports: Ports) -> ClassPictures:
        """The base model's own pictures, made once: a run that goes on wants the very same."""
        if self._class_pictures is None:
            who, own = "bench: the class pictures", {"format": CLASS_FORMAT, "base": ports.base}
            if self._class_file is not None and self._class_file.is_file():
                latents = read_container(self._class_file, own, who).tensors["latents"]
            else:
                latents = self._made_class_pictures()
                if self._class_file is not None:
                    write_container({"latents": latents}, self._class_file, own, who)
            self._class_pictures = ClassPictures(latents.clone().float(), self.manner.class_prompt)
        return self._class_pictures

    def _made_class_pictures(self) -> torch.Tensor:
        base = Stand(self.model, self.clip, ())
        with torch.inference_mode():
            seeds = range(1000, 1000 + self.manner.class_pictures)
            made = self.pictures(base, self.manner.class_prompt, seeds, "class picture")
            pixels = torch.from_numpy(np.stack(made))
            latents: torch.Tensor = self.model.model.process_latent_in(self.vae.encode(pixels))
        return latents


def run_trial(studio: Studio, trial: Trial, protocol: Protocol) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Train, look, generate and score.

    Args:
        studio: the model.
        trial: what is tried.
        protocol: how much is trained and drawn.

    Returns:
        What JSON can hold: the trial, and what was measured; and the scene's picture and all that were generated, each
        (height width 3) float.
    """
    drawing = draw(unseen_layout(trial.scene, trial.things, test=trial.test), height=SIDE, width=SIDE)
    began, scene = time.perf_counter(), scene_of(drawing)
    if trial.variant in WITHOUT_TRAINING:
        stand = Stand(studio.model, studio.clip, tuple(f"a {concept.word}" for concept in scene.concepts))
    else:
        stand = trained(studio, scene, settings_of(trial.variant, protocol.length, trial.seed))
    drawing_began = time.perf_counter()
    with torch.inference_mode():
        scores, pictures = _scores(studio, stand, drawing, trial, protocol)
    ended = time.perf_counter()
    looked: dict[str, Any] = {}
    if looks := stand.looks:
        looked = {"fit": [look.iou for look in looks], "masked": [look.masked for look in looks]}
    times = {"train": drawing_began - began, "draw": ended - drawing_began, "step": stand.seconds_per_step}
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


def trained(studio: Studio, scene: Scene, settings: Settings, course: Course = UNWATCHED) -> Stand:
    """Learn a scene and apply what was learned.

    Args:
        studio: the model.
        scene: what is learned from.
        settings: the method's.
        course: how it is watched and kept.
    """
    parts = (studio.model, studio.clip, studio.vae)
    with training_ports(
        *parts,
        scene,
        settings,
        checkpointing=course.checkpointing,
        class_pictures=studio.class_pictures,
        on_progress=course.say,
    ) as ports:
        before, after, concepts, times = learn(ports, scene, settings, course)
    model, clip = apply_concepts(studio.model, studio.clip, concepts)
    return Stand(model, clip, scene.handles, (before, after), times)


def learn(
    ports: Ports, scene: Scene, settings: Settings, course: Course = UNWATCHED
) -> tuple[Looked, Looked, Concepts, tuple[float, float]]:
    """Train, and look before and afterwards.

    Returns:
        Both looks, what was learned, and the seconds of a step in each phase (0 for a phase without steps; where a
        state is kept its writing is among them, and of a run that goes on only its own steps are).
    """
    with Run(scene, ports, settings) as run:
        fresh = run.concepts()
        before = look(ports, scene, dict(zip(fresh.handles, fresh.embeddings, strict=True)))
    follower = _Follower(ports, scene, settings, course)
    concepts = train(scene, ports, settings, on_begin=follower.begin, on_step=follower.follow, keeping=course.keeping)
    return before, follower.looks[-1], concepts, follower.seconds_per_step()


@dataclass
class _Follower:
    """Takes the steps' time, and looks at what was learned while the modules still compute with it."""

    ports: Ports
    scene: Scene
    settings: Settings
    course: Course
    looks: list[Looked] = field(default_factory=list)
    spent: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})
    began: float = 0.0

    def begin(self, step: int, embeddings: Mapping[str, torch.Tensor]) -> None:
        self.course.on_begin(step)
        self._look_at_the_end(step, embeddings)
        self.began = time.perf_counter()

    def follow(self, report: StepReport) -> None:
        self.spent[report.phase].append(time.perf_counter() - self.began)
        self.course.on_step(report)
        self._look_at_the_end(report.step, report.embeddings)
        self.began = time.perf_counter()

    def seconds_per_step(self) -> tuple[float, float]:
        first, second = (sum(steps) / len(steps) if steps else 0.0 for steps in self.spent.values())
        return first, second

    def _look_at_the_end(self, step: int, embeddings: Mapping[str, torch.Tensor]) -> None:
        if step == self.settings.steps:
            copies = {handle: embedding.to("cpu", copy=True) for handle, embedding in embeddings.items()}
            self.looks.append(look(self.ports, self.scene, copies))


def _scores(
    studio: Studio, stand: Stand, drawing: Drawing, trial: Trial, protocol: Protocol
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    truth, rows, all_pictures = Truth.of(drawing), [], [drawing.picture]
    for place in backgrounds(drawing, trial.scene, protocol.templates):
        for asked in subsets(trial.things):
            prompt = f"a photo of {' and '.join(stand.names[thing] for thing in asked)} {BACKGROUNDS[place]}"
            first = 100 * trial.seed
            if trial.variant in BOUNDS:
                made = [bound_picture(trial.variant, studio.vae, drawing, asked, place)]
            else:
                made = studio.pictures(stand, prompt, range(first, first + protocol.pictures))
            for picture in made:
                all_pictures.append(picture.clip(0, 1))
                seen = score(all_pictures[-1], truth, asked, place)
                about = {"prompt": seen.prompt, "identity": seen.identity, "asked": asked, "place": place}
                rows.append(asdict(seen) | about)
    return rows, all_pictures


def encode(clip: Any, prompt: str) -> Any:
    """A prompt as the sampler reads it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
