"""One step's losses: draw, noise, denoise under observation, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...attention.read.heatmap import aggregate_on_grid
from ...errors import InputError
from ..ports import ClassPictures, Encoded, Ports
from ..scene.scene import Scene
from ..settings import Settings
from .losses import attention_loss, concept_maps, fits, masked_loss, prior_loss
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


@dataclass(frozen=True)
class StepResult:
    """What a step was found to cost, each part before it is weighted.

    Args:
        masked: the error inside the masks; over all of the picture where the settings say so.
        attention: the attention loss.
        prior: the prior loss; None where there was none.
        maps: of the concepts drawn, on the supervised grid (height width), 0..1, not mirrored, detached on the CPU.
        fits: intersection over union of their upper half with the masks.
    """

    masked: float
    attention: float
    prior: float | None
    maps: Mapping[str, Tensor]
    fits: Mapping[str, float]


@dataclass(frozen=True)
class Frozen:
    """The model as it was given.

    Args:
        rows: the first row (channel) of each handle.
        off: takes what is trained out of the modules for a while.
    """

    rows: Mapping[str, Tensor]
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
        device = ports.latents.device
        both = torch.stack([scene.masks, scene.masks.flip(-1)])  # (flip image concept height width)
        sides = [Scene(scene.pictures, masks, scene.concepts) for masks in both]
        # Copies: what was born in the host's inference mode could not be trained through.
        self._latents = torch.stack([ports.latents, ports.flipped]).float()  # (flip image channel height width)
        self._masks = torch.stack([side.masks_on(scene.latent) for side in sides]).to(device, copy=True)
        self._goals = torch.stack([side.masks_on(scene.loss_grid) for side in sides]).to(device, copy=True)
        self._shown = tuple(image for image in range(len(scene.masks)) if scene.present(image))

    def learn(self, step: int, rows: Mapping[str, Tensor], backward: Backward, frozen: Frozen | None) -> StepResult:
        """Compute a step's losses and their gradients.

        Args:
            step: the place in the run; all that is drawn depends on it and the seed alone.
            rows: the row (channel) float32 of each handle.
            backward: what is done with each part of the weighted loss, once or twice.
            frozen: for the prior; None in phase 1, where the prior has nothing to hold on to.
        """
        settings, generator = self._settings, generator_at(self._settings.seed, step)
        items = [self._draw(generator) for _ in range(settings.batch)]
        picks = [(int(item.flipped), item.image) for item in items]
        latents = torch.stack([self._latents[pick] for pick in picks])
        union = torch.stack(
            [self._masks[pick][list(item.drawn)].amax(0) for pick, item in zip(picks, items, strict=True)]
        )  # (batch height width)
        timesteps, noise = self._noise_for(latents, generator)
        strength = outside_strength(step, settings)
        if strength:
            latents = latents + strength * (1 - union[:, None]) * _normal(latents, generator)
        noisy = self._ports.noise.add(latents, noise, timesteps)
        prompts = [item.prompt for item in items]
        base = None if frozen is None or settings.prior != "frozen" else self._base(noisy, timesteps, prompts, frozen)
        with self._arithmetic(), capture_maps(self._layers) as captured:
            encoded = self._ports.text.encode(prompts, rows)
            predicted = self._ports.denoiser(noisy, timesteps, encoded.context)
        maps = aggregate_on_grid(captured.layers(), self._scene.loss_grid)  # (batch height width token)
        own = [self._concept_maps(*pair, encoded, index) for index, pair in enumerate(zip(maps, items, strict=True))]
        goals = [self._goals[pick][list(item.drawn)] for pick, item in zip(picks, items, strict=True)]
        learned = union if settings.masked else torch.ones_like(union)
        masked = masked_loss(predicted, noise, learned, settings.normalise)
        attention = attention_loss(own, goals)
        prior = None if base is None else masked_loss(predicted, base, 1 - union, settings.normalise)
        total = masked + settings.attention_weight * attention
        backward(total if prior is None else total + settings.prior_weight * prior)
        if frozen is not None and settings.prior == "class" and self._ports.class_pictures is not None:
            prior = self._class_prior(self._ports.class_pictures, generator)
            backward(settings.prior_weight * prior)
        return self._measured((masked, attention, prior), items, own, goals)

    def _draw(self, generator: Generator) -> Item:
        settings, handles = self._settings, self._scene.handles
        image = self._shown[int(torch.randint(len(self._shown), (), generator=generator))]
        drawn = draw_union(self._scene.present(image), generator, single=settings.single)
        template = choose_template(settings.templates, generator)
        flipped = float(torch.rand((), generator=generator)) < settings.flip
        return Item(image, flipped, drawn, sentence(template, [handles[concept] for concept in drawn]))

    def _noise_for(self, latents: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        timesteps = self._ports.noise.timesteps(len(latents), generator).to(latents.device)
        return timesteps, _normal(latents, generator)

    def _base(self, noisy: Tensor, timesteps: Tensor, prompts: list[str], frozen: Frozen) -> Tensor:
        """What the model as it was given predicts for the words that the concepts began as."""
        with torch.no_grad(), frozen.off(), self._arithmetic():
            context = self._ports.text.encode(prompts, frozen.rows).context
            return self._ports.denoiser(noisy, timesteps, context)

    def _class_prior(self, pictures: ClassPictures, generator: Generator) -> Tensor:
        """Apart from the step's own pass, which halves the memory and leaves the maps to the step's own prompt."""
        picks = torch.randint(len(pictures.latents), (self._settings.batch,), generator=generator).tolist()
        latents = pictures.latents[picks].to(self._latents)
        timesteps, noise = self._noise_for(latents, generator)
        with self._arithmetic():
            context = self._ports.text.encode([pictures.prompt] * len(picks), {}).context
            predicted = self._ports.denoiser(self._ports.noise.add(latents, noise, timesteps), timesteps, context)
        return prior_loss(predicted, noise)

    def _arithmetic(self) -> torch.autocast:
        dtype = self._settings.dtype
        return torch.autocast(self._latents.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _concept_maps(self, maps: Tensor, item: Item, encoded: Encoded, index: int) -> Tensor:
        places, handles = encoded.columns[index], [self._scene.handles[concept] for concept in item.drawn]
        lost = [handle for handle in handles if handle not in places]
        if lost:
            raise InputError(
                f"Train Concepts: {lost[0]} is cut off from the prompt {item.prompt!r}, which is longer than the text "
                "encoder reads. Shorten the template."
            )
        return concept_maps(maps, [places[name] for name in handles], detach_maximum=self._settings.detach_maximum)

    def _measured(
        self, costs: tuple[Tensor, Tensor, Tensor | None], items: list[Item], maps: list[Tensor], goals: list[Tensor]
    ) -> StepResult:
        shown: dict[str, Tensor] = {}
        fitting: dict[str, float] = {}
        for item, own, goal in zip(items, maps, goals, strict=True):
            own, names = own.detach(), [self._scene.handles[concept] for concept in item.drawn]
            fitting |= dict(zip(names, fits(own, goal).tolist(), strict=True))
            upright = own.flip(-1) if item.flipped else own
            shown |= dict(zip(names, upright.cpu(), strict=True))
        masked, attention, prior = costs
        prior_cost = None if prior is None else float(prior.detach())
        return StepResult(float(masked.detach()), float(attention.detach()), prior_cost, shown, fitting)


def _normal(like: Tensor, generator: Generator) -> Tensor:
    """Drawn on the CPU, so that a run draws alike on every device."""
    return torch.randn(like.shape, generator=generator).to(like.device)


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
                f"Train Concepts: the latents are {shape}; expected {wanted[0]} of {scene.latent} cells, an eighth of "
                f"the pictures' {scene.size}. Use the VAE of an SD1.5 checkpoint."
            )
    if settings.prior == "class" and settings.phase2_steps and ports.class_pictures is None:
        raise InputError(
            "Train Concepts: the prior is `class`, but there are no class pictures. Make some, or set the prior to "
            "frozen or off."
        )
