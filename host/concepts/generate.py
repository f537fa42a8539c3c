"""Pictures of learned tokens: every prompt with every seed, as the stock nodes would make them, recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...scenescope.attention.read.join import join_images
from ...scenescope.attention.read.view import View
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.record.selection import Selection
from ...scenescope.attention.words.find import WordMatch
from ...scenescope.attention.words.prompt import learned_names
from ...scenescope.cost import PICTURE, refuse_costly
from ...scenescope.dims import Grid, bytes_text
from ...scenescope.drawing.labelled_grid import labelled_grid
from ...scenescope.errors import BudgetError, InputError, RecordingError, SceneScopeError
from ...scenescope.training.learned.concepts import Concepts
from ...scenescope.training.learned.prompts import Which, prompts_of, refuse_template
from .. import core_nodes
from ..editor.messages import say_on_node
from ..prompts.text import trace_words
from ..prompts.words import words_asked
from ..recording.runs import RecordedRuns
from ..recording.sampling import SamplerSettings, sample
from ..recording.unet import record_attention
from ..shapes import PIXELS
from .apply import BaseCheck, apply_concepts

_MOST_SEEDS = 2**64
_WHO = "Generate from Tokens"


@dataclass(frozen=True)
class Request:
    """What to generate.

    Args:
        prompt: a prompt, or a template with `{tokens}`.
        which: subsets of the tokens stand in a template.
        negative: the negative prompt of all pictures.
        seeds: how many, from the sampler's seed on.
        sampler: the stock KSampler's widgets.
        latent: LATENT that every picture starts from; its first picture counts, with its mask.
        selection: what to record.
        row: the prompt whose maps are given, from 1; -1 for the last.
        strength: of the changed weights.
        base: whether another base model is refused.
    """

    prompt: str
    which: Which
    negative: str
    seeds: int
    sampler: SamplerSettings
    latent: dict[str, Any]
    selection: Selection
    row: int = -1
    strength: float = 1.0
    base: BaseCheck = "must match"


@dataclass(frozen=True)
class GenerationResult:
    """What was generated.

    Args:
        images: (prompt*seed height width 3) float32 0..1, seeds inside.
        grid: (1 height width 3) float32 0..1, all of them with prompts and seeds.
        recording: the maps of one prompt, a picture for each seed; or the reason why there are none.
        recorded: (seed height width 3), the pictures of the maps.
        words: the tokens that the recorded prompt names.
        prompts: one for each row.
    """

    images: Tensor
    grid: Tensor
    recording: Recording | SceneScopeError
    recorded: Tensor
    words: tuple[WordMatch, ...]
    prompts: tuple[str, ...]


def empty_latent(width: int, height: int) -> dict[str, Any]:
    """A LATENT of one empty picture; width and height in pixels."""
    (latent,) = core_nodes.EmptyLatentImage().generate(width, height, 1)
    return latent


def generate(models: tuple[Any, Any, Any], concepts: Concepts, request: Request, node: str | None) -> GenerationResult:
    """Sample every prompt with every seed, one picture at a time, so that each is what the stock nodes would make.

    Args:
        models: MODEL, CLIP and VAE; stay as they are.
        concepts: learned with these.
        request: what to generate.
        node: id of the node that says how far it is.

    Raises:
        InputError: there are too many pictures, there is no such row, nothing is asked for, or the concepts do not fit
            the models.
        BudgetError: the maps of all seeds are more than the selection's budget.
    """
    if not request.sampler.denoise:
        raise InputError("Generate from Tokens: with denoise at 0 nothing is generated. Raise it.")
    refuse_template(request.negative)
    prompts = prompts_of(request.prompt, concepts.handles, request.which, request.seeds)
    chosen = _row(request.row, len(prompts))
    size = Grid(*(PIXELS * side for side in request.latent["samples"].shape[-2:]))
    advice = "Lower the seeds, the size, or the subsets."
    refuse_costly(f"{_WHO}: the pictures", len(prompts) * request.seeds, size, PICTURE, advice)
    model, clip = apply_concepts(*models[:2], concepts, strength=request.strength, base=request.base, who=_WHO)
    clip = trace_words(clip)
    budget = request.selection.budget // request.seeds
    watched, book = record_attention(model, replace(request.selection, budget=budget))
    negative, start = _encode(clip, request.negative), _first(request.latent)
    seeds = [(request.sampler.seed + place) % _MOST_SEEDS for place in range(request.seeds)]
    images: dict[tuple[int, int], Tensor] = {}
    runs: list[Recording | SceneScopeError] = []
    # The recorded prompt first: maps that are over the budget are refused before anything has been sampled.
    for row, place in sorted(product(range(len(prompts)), range(len(seeds))), key=lambda one: one[0] != chosen):
        told = f"icture {len(images) + 1} of {len(prompts) * len(seeds)}"
        say_on_node(node, f"P{told}: {prompts[row]}, seed {seeds[place]}")
        with _saying_what_to_do(request), _saying_that_it_stopped(node, f"Stopped at p{told}"):
            comfy.model_management.throw_exception_if_processing_interrupted()
            positive, sampler = _encode(clip, prompts[row]), replace(request.sampler, seed=seeds[place])
            latent = sample(watched if row == chosen else model, positive, negative, start, sampler)
            if row == chosen:
                runs.append(_found(book, latent["samples"]))
            images[row, place] = _decoded(models[2], latent["samples"])
    pictures = torch.cat([images[key] for key in sorted(images)])
    grid = labelled_grid(pictures, prompts, [f"seed {seed}" for seed in seeds])
    recorded = pictures[chosen * len(seeds) : (chosen + 1) * len(seeds)]
    whole, words = _joined(runs, prompts[chosen], concepts)
    return GenerationResult(pictures, grid, whole, recorded, words, prompts)


def _found(book: RecordedRuns, latent: Tensor) -> Recording | SceneScopeError:
    try:
        return book.find(latent, -1)[0]
    except RecordingError as error:
        return error


def _joined(
    runs: list[Recording | SceneScopeError], prompt: str, concepts: Concepts
) -> tuple[Recording | SceneScopeError, tuple[WordMatch, ...]]:
    """All seeds' maps as one recording, and its words; or why there is none, without losing a picture."""
    try:
        whole = join_images([_or_raise(run) for run in runs])
        return whole, _words(whole, prompt, concepts)
    except SceneScopeError as error:
        return error, ()


def _or_raise(run: Recording | SceneScopeError) -> Recording:
    if isinstance(run, SceneScopeError):
        raise run
    return run


@contextmanager
def _saying_what_to_do(request: Request) -> Iterator[None]:
    """If maps exceed the budget, say what this node offers, since it has no widget for the budget."""
    try:
        yield
    except BudgetError as error:
        whole, part = (bytes_text(request.selection.budget // parts) for parts in (1, request.seeds))
        raise BudgetError(
            f"Generate from Tokens: the maps of one picture take more than {part}; {request.seeds} seeds together may "
            f"take {whole}. Lower the seeds, the steps or the size, or sample with KSampler and record it with Record "
            "Attention."
        ) from error


@contextmanager
def _saying_that_it_stopped(node: str | None, text: str) -> Iterator[None]:
    try:
        yield
    except comfy.model_management.InterruptProcessingException:
        say_on_node(node, text)
        raise


def _row(row: int, rows: int) -> int:
    index = row - 1 if row > 0 else rows + row
    if row == 0 or not 0 <= index < rows:
        raise InputError(
            f"Generate from Tokens: there is no prompt {row} to take the maps of. Choose 1 to {rows}, or -1 for the "
            "last."
        )
    return index


def _words(recording: Recording, prompt: str, concepts: Concepts) -> tuple[WordMatch, ...]:
    there = set(learned_names(concepts.handles).findall(prompt))
    named = [handle for handle in concepts.handles if handle in there]
    # What means something in a query is escaped, and so is the front, or `each` would be all words.
    escaped = [handle.replace("#", r"\#") for handle in named]
    query = ", ".join(handle if handle.startswith("\\") else f"\\{handle}" for handle in escaped)
    return words_asked(recording, View(), query) if named else ()


def _encode(clip: Any, text: str) -> Any:
    (conditioning,) = core_nodes.CLIPTextEncode().encode(clip, text)
    return conditioning


def _first(latent: dict[str, Any]) -> dict[str, Any]:
    """The first picture of a LATENT, with its mask and its place in the batch that it was taken from."""
    return {key: latent[key][:1] for key in ("samples", "noise_mask", "batch_index") if key in latent}


def _decoded(vae: Any, samples: Tensor) -> Tensor:
    """One picture (1 height width 3) float32 on the CPU, as the stock VAE Decode gives it."""
    (picture,) = core_nodes.VAEDecode().decode(vae, {"samples": samples})
    return picture[:1].float().cpu()
