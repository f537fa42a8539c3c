"""One step's losses: draw, noise, denoise under observation, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...attention.read.heatmap import aggregate_on_grid
from ...errors import InputError
from ...host_copies import to_device, to_host
from ...resample import resize
from ..noise import noised
from ..ports import ClassPictures, Encoded, Ports
from ..scene.scene import Scene
from ..settings import Settings
from .losses import attention_loss, concept_maps, ious, masked_loss, prior_loss
from .prompts import choose_template, draw_union, generator_at, sentence
from .schedule import outside_strength
from .supervision import capture_maps, supervised_layers

Backward = Callable[[Tensor], None]


@dataclass(frozen=True)
class Item:
    """One picture of a step: which, mirrored or not, and the concepts drawn, in the order of the sentence."""

    image: int
    flipped: bool
    drawn: tuple[int, ...]
    prompt: str

    @property
    def side(self) -> tuple[int, int]:
        """Its place among pictures that are upright and mirrored: (flip image)."""
        return int(self.flipped), self.image


@dataclass(frozen=True)
class StepResult:
    """What a step cost, each part before weighting.

    Args:
        masked: the error inside the masks; over all of the picture where the settings say so.
        attention: the attention loss.
        prior: the prior loss; None where there was none.
        maps: of the concepts drawn, on the supervised grid (height width), 0..1, not mirrored, detached on the CPU.
        ious: intersection over union of their upper half with the masks.
    """

    masked: float
    attention: float
    prior: float | None
    maps: Mapping[str, Tensor]
    ious: Mapping[str, float]


@dataclass(frozen=True)
class Costs:
    """A step's losses where they were computed.

    Args:
        parts: masked, attention and prior loss, each (); the prior may be missing.
        totals: the backpropagated totals, () each.
        maps: of each picture (concept height width) float32, detached.
        goals: their masks, on the CPU.
        named: each picture with its concepts' handles.
    """

    parts: tuple[Tensor, Tensor, Tensor | None]
    totals: list[Tensor]
    maps: list[Tensor]
    goals: list[Tensor]
    named: list[tuple[Item, list[str]]]

    def read(self, *more: Tensor) -> tuple[StepResult, list[float]]:
        """Bring all of it to the CPU with one wait.

        Args:
            more: further numbers, () each.

        Returns:
            The result, and the totals and further numbers.
        """
        numbers = [part.detach().float() for part in (*self.parts, *self.totals, *more) if part is not None]
        read = to_host([*numbers, *self.maps])
        values = [float(value) for value in read[: len(numbers)]]
        prior = None if self.parts[2] is None else values[2]
        shown: dict[str, Tensor] = {}
        overlaps: dict[str, float] = {}
        for (item, names), own, goal in zip(self.named, read[len(numbers) :], self.goals, strict=True):
            overlaps |= dict(zip(names, ious(own, goal).tolist(), strict=True))
            shown |= dict(zip(names, own.flip(-1) if item.flipped else own, strict=True))
        result = StepResult(values[0], values[1], prior, shown, overlaps)
        return result, values[2 if prior is None else 3 :]


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for a step, on the device: signal, rest and timesteps are (batch), goals one for each picture."""

    items: list[Item]
    union: Tensor  # (batch height width)
    noise: Tensor  # (batch channel height width)
    signal: Tensor
    rest: Tensor
    timesteps: Tensor
    outside: Tensor | None
    goals: list[Tensor]


@dataclass(frozen=True)
class Frozen:
    """The model as it was given.

    Args:
        embeddings: the first embedding (channel) of each handle.
        off: takes what is trained out of the modules for a while.
    """

    embeddings: Mapping[str, Tensor]
    off: Callable[[], AbstractContextManager[None]]


class Objective:
    """Computes the losses of any step of a run.

    Args:
        scene: what is learned from; every concept is shown by some picture.
        ports: the host's.
        settings: the method's.

    Raises:
        InputError: a concept is shown nowhere, latents do not fit the pictures, or class pictures are missing.
        HostError: the model has no layers to supervise.
    """

    def __init__(self, scene: Scene, ports: Ports, settings: Settings) -> None:
        self._scene, self._ports, self._settings = scene, ports, settings
        _check(scene, ports, settings)
        self._layers = supervised_layers(ports.denoiser.unet)
        # Copies: tensors created in the host's inference mode can't be trained through.
        self._latents = torch.stack([ports.latents, ports.flipped]).float()  # (flip image channel height width)
        self._unions: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}
        sides = torch.stack([scene.masks, scene.masks.flip(-1)])  # (flip image concept height width)
        self._goals = resize(sides, scene.loss_grid).to("cpu", copy=True)
        self._shown = tuple(image for image in range(len(scene.masks)) if scene.present(image))

    def costs(self, step: int, embeddings: Mapping[str, Tensor], backward: Backward, frozen: Frozen | None) -> Costs:
        """Compute a step's losses and their gradients. All that is drawn goes to the device in one copy.

        Args:
            step: the place in the run; all that is drawn depends on it and the seed alone.
            embeddings: the embedding (channel) float32 of each handle.
            backward: what is done with each part of the weighted loss, once or twice.
            frozen: for the prior; None in phase 1, where no weights change.
        """
        settings, generator = self._settings, generator_at(self._settings.seed, step)
        drawn = self._drawing(step, generator)
        latents, union, noise = self._latents_of(drawn), drawn.union, drawn.noise
        if drawn.outside is not None:
            latents = latents + outside_strength(step, settings) * (1 - union[:, None]) * drawn.outside
        noisy = noised(latents, noise, drawn.signal, drawn.rest)
        prompts = [item.prompt for item in drawn.items]
        keeps = frozen is not None and settings.prior == "frozen"
        base = self._base(noisy, drawn.timesteps, prompts, frozen) if keeps and frozen is not None else None
        with self._arithmetic(), capture_maps(self._layers) as captured:
            encoded = self._ports.text.encode(prompts, embeddings)
            predicted = self._ports.denoiser(noisy, drawn.timesteps, encoded.context)
        maps = aggregate_on_grid(captured.layers(), self._scene.loss_grid)  # (batch height width token)
        own = [self._concept_maps(*pair, encoded, n) for n, pair in enumerate(zip(maps, drawn.items, strict=True))]
        learned = union if settings.masked else torch.ones_like(union)
        masked = masked_loss(predicted, noise, learned, settings.normalise)
        attention = attention_loss(own, drawn.goals)
        prior = None if base is None else masked_loss(predicted, base, 1 - union, settings.normalise)
        total = masked + settings.attention_weight * attention
        totals = [total if prior is None else total + settings.prior_weight * prior]
        backward(totals[0])
        if frozen is not None and settings.prior == "class" and self._ports.class_pictures is not None:
            prior = self._class_prior(self._ports.class_pictures, generator)
            totals.append(settings.prior_weight * prior)
            backward(totals[1])
        kept = [item.detach() for item in own]
        return Costs((masked, attention, prior), totals, kept, self._goals_of(drawn.items), self._named(drawn.items))

    def _drawing(self, step: int, generator: Generator) -> _Drawn:
        """Draw a step on the CPU, so that every device draws the same, and bring all of it over at once."""
        items = [self._draw(generator) for _ in range(self._settings.batch)]
        union = torch.stack([self._union(item) for item in items])
        timesteps = self._ports.noise.timesteps(len(items), generator)
        shape = (len(items), *self._latents.shape[2:])
        noise = torch.randn(shape, generator=generator)
        outside = [torch.randn(shape, generator=generator)] if outside_strength(step, self._settings) else []
        shares = [part.float()[timesteps] for part in (self._ports.noise.signal, self._ports.noise.noise)]
        here = [union, noise, *shares, timesteps.float(), *outside, *self._goals_of(items)]
        union, noise, signal, rest, times, *more = to_device(here, self._latents.device)
        goals = more[len(outside) :]
        return _Drawn(items, union, noise, signal, rest, times.long(), more[0] if outside else None, goals)

    def _latents_of(self, drawn: _Drawn) -> Tensor:
        return torch.stack([self._latents[item.side] for item in drawn.items])

    def _goals_of(self, items: Sequence[Item]) -> list[Tensor]:
        return [self._goals[item.side][list(item.drawn)] for item in items]

    def _named(self, items: Sequence[Item]) -> list[tuple[Item, list[str]]]:
        return [(item, [self._scene.handles[concept] for concept in item.drawn]) for item in items]

    def _draw(self, generator: Generator) -> Item:
        settings, handles = self._settings, self._scene.handles
        image = self._shown[int(torch.randint(len(self._shown), (), generator=generator))]
        drawn = draw_union(self._scene.present(image), generator, single=settings.single)
        template = choose_template(settings.templates, generator)
        flipped = float(torch.rand((), generator=generator)) < settings.flip
        return Item(image, flipped, drawn, sentence(template, [handles[concept] for concept in drawn]))

    def _union(self, item: Item) -> Tensor:
        """Where a step's picture shows what was drawn, on the latent's grid: (height width), on the CPU."""
        key = (int(item.flipped), item.image, tuple(sorted(item.drawn)))
        if key not in self._unions:
            union = self._scene.union_on(self._scene.latent, item.image, key[2], flipped=item.flipped)
            self._unions[key] = union.to("cpu", copy=True)
        return self._unions[key]

    def _base(self, noisy: Tensor, timesteps: Tensor, prompts: list[str], frozen: Frozen) -> Tensor:
        """What the model as it was given predicts for the words that the concepts began as."""
        with torch.no_grad(), frozen.off(), self._arithmetic():
            context = self._ports.text.encode(prompts, frozen.embeddings).context
            return self._ports.denoiser(noisy, timesteps, context)

    def _class_prior(self, pictures: ClassPictures, generator: Generator) -> Tensor:
        """Separate from the step's own pass, which halves the memory and keeps the maps to the step's own prompt."""
        schedule, device = self._ports.noise, self._latents.device
        picks = torch.randint(len(pictures.latents), (self._settings.batch,), generator=generator)
        timesteps = schedule.timesteps(len(picks), generator)
        noise = torch.randn((len(picks), *pictures.latents.shape[1:]), generator=generator)
        shares = [part.float()[timesteps] for part in (schedule.signal, schedule.noise)]
        here = [pictures.latents[picks].float(), noise, *shares, timesteps.float()]
        latents, noise, signal, rest, times = to_device(here, device)
        with self._arithmetic():
            context = self._ports.text.encode([pictures.prompt] * len(picks), {}).context
            predicted = self._ports.denoiser(noised(latents, noise, signal, rest), times.long(), context)
        return prior_loss(predicted, noise)

    def _arithmetic(self) -> torch.autocast:
        """Nothing is cached: a pass needs each weight once, and blocks computed twice would keep all copies."""
        dtype = self._settings.dtype
        kind, on = self._latents.device.type, dtype != torch.float32
        return torch.autocast(kind, dtype=dtype, enabled=on, cache_enabled=False)

    def _concept_maps(self, maps: Tensor, item: Item, encoded: Encoded, index: int) -> Tensor:
        places, handles = encoded.columns[index], [self._scene.handles[concept] for concept in item.drawn]
        lost = [handle for handle in handles if handle not in places]
        if lost:
            raise InputError(
                f"Train Concepts: {lost[0]} is cut off from the prompt {item.prompt!r}, which is longer than the text "
                "encoder reads. Shorten the template."
            )
        return concept_maps(maps, [places[name] for name in handles], detach_maximum=self._settings.detach_maximum)


def _check(scene: Scene, ports: Ports, settings: Settings) -> None:
    shown = {concept for image in range(len(scene.masks)) for concept in scene.present(image)}
    hidden = [scene.handles[concept] for concept in range(len(scene.concepts)) if concept not in shown]
    if hidden:
        raise InputError(
            f"Train Concepts: the mask of {hidden[0]} is empty. Paint it, or remove the handle from the scene."
        )
    wanted = (len(scene.pictures), *scene.latent)
    for latents in (ports.latents, ports.flipped):
        shape = tuple(latents.shape)
        if len(shape) != 4 or (shape[0], *shape[2:]) != wanted:
            raise InputError(
                f"Train Concepts: the VAE gave latents of {shape}, but they have to be {wanted[0]} of {scene.latent} "
                f"cells, an eighth of the pictures' {scene.size}. Use the VAE of an SD1.5 checkpoint."
            )
    if settings.prior == "class" and settings.phase2_steps and ports.class_pictures is None:
        raise InputError(
            "Train Concepts: the prior is `class`, but there are no class pictures. Make some, or set the prior to "
            "frozen or off."
        )
