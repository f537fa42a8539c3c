"""ComfyUI and diffusers, one core: the same maps, the same steps of training, and files that go both ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from pack.diffusers_adapter import Scope, demo_pipeline, demo_scene, load_concepts, save_concepts
from pack.diffusers_adapter.concepts import base_name as pipeline_base_name
from pack.diffusers_adapter.learning import training_ports as pipeline_ports
from pack.diffusers_adapter.words import table_of
from pack.host.concepts.apply import apply_concepts
from pack.host.demo import load_demo_model
from pack.host.prompts.text import table_from_prompt, trace_words
from pack.host.recording.unet import record_attention
from pack.host.training.copies import base_name
from pack.host.training.models import training_ports
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.run.trainer import train
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.tests.support.pipelines import NOT_OURS, scheduler_of

pytestmark = NOT_OURS

PROMPT, NEGATIVE = "a photo of a Red circle and a (dotted) blue heart, on a wooden floor", "a star"
CFG, SIDE = 2.0, 16
FIRST, LATER = (999,), (600, 450, 300)
"""Timesteps of a run. One from 999 to the next step would multiply the hosts' rounding by the fall of sigma, 10."""
EACH = Selection(kinds=("cross", "self"), heads="each", precision=torch.float32, self_times=1, budget=10**9)


@functools.cache
def parts() -> tuple[Any, Any, Any]:
    """ComfyUI's MODEL, CLIP and VAE of the demo model."""
    return load_demo_model()


@functools.cache
def pipeline() -> Any:
    """The demo model in diffusers, with a scheduler that ComfyUI's Euler sampler can follow step by step."""
    pipe = demo_pipeline()
    pipe.scheduler = scheduler_of(EulerDiscreteScheduler, timestep_spacing="trailing")
    return pipe


def noise() -> torch.Tensor:
    """Where both begin: (1 channel height width)."""
    return torch.randn((1, 4, SIDE, SIDE), generator=torch.Generator().manual_seed(5))


def literal(prompt: str) -> str:
    """A prompt whose parentheses are letters in ComfyUI too."""
    return prompt.replace("(", "\\(").replace(")", "\\)")


def in_comfyui(model: Any, clip: Any, prompt: str, steps: Sequence[int] = LATER) -> tuple[torch.Tensor, Recording]:
    """Sample with ComfyUI along the scheduler's sigmas; the latent as the U-Net has it, and the recording."""
    scheduler = pipeline().scheduler
    scheduler.set_timesteps(timesteps=list(steps))
    recorded, book = record_attention(model, EACH)
    clip = trace_words(clip)
    conds = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (literal(prompt), NEGATIVE)]
    sampler = comfy.samplers.ksampler("euler")
    sigmas = scheduler.sigmas.clone()
    # Both start at sigma times the noise, but for ComfyUI at its last sigma: there at sqrt(1 + sigma^2) times.
    start = noise() * (sigmas[0] / (1 + sigmas[0] ** 2).sqrt() if steps == FIRST else 1)
    latent = torch.zeros((1, 4, SIDE, SIDE))
    samples = comfy.sample.sample_custom(recorded, start, CFG, sampler, sigmas, conds[0], conds[1], latent, seed=0)
    return samples * 0.18215, book.find(samples, -1)[0]


def in_diffusers(pipe: Any, prompt: str, steps: Sequence[int] = LATER) -> tuple[torch.Tensor, Recording]:
    """The same in diffusers."""
    with Scope(pipe).record(EACH) as session:
        latent = pipe(
            prompt,
            negative_prompt=NEGATIVE,
            timesteps=list(steps),
            guidance_scale=CFG,
            latents=noise(),
            output_type="latent",
        ).images
    return latent, session.recording


@pytest.mark.parametrize("steps", [FIRST, LATER])
def test_maps_of_the_demo_model_are_the_same_in_both_hosts(steps):
    """Oracle: the other host. Both branches, both kinds, all heads and steps; the two latents as well."""
    model, clip, _ = parts()
    latent, theirs = in_comfyui(model, clip, PROMPT, steps)
    ours_latent, ours = in_diffusers(pipeline(), PROMPT, steps)
    assert [item.address for item in ours.maps] == [item.address for item in theirs.maps]
    assert len(ours.maps) == 2 * 2 * 16 * len(steps)
    for one, other in zip(ours.maps, theirs.maps, strict=True):
        torch.testing.assert_close(one.maps, other.maps, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours_latent, latent, atol=1e-4, rtol=0)
    assert ours.layers == theirs.layers
    assert [row.attention for row in ours.shapes] == [row.attention for row in theirs.shapes]


def test_heatmaps_of_words_are_the_same_in_both_hosts():
    """Oracle: the other host."""
    model, clip, _ = parts()
    found = [
        heatmaps(recording, find_words(recording.entry("positive", 0).table, "red circle, heart"), View())
        for recording in (in_comfyui(model, clip, PROMPT)[1], in_diffusers(pipeline(), PROMPT)[1])
    ]
    assert found[0].words == found[1].words
    torch.testing.assert_close(found[0].values, found[1].values, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "prompt",
    ["a photo of a striped green star and snow", "SNOW (Heart) a blue heart, a heart", "", "a red circle, " * 30],
)
def test_words_have_the_same_columns_in_both_hosts(prompt):
    """Oracle: ComfyUI's tokenizer, with the whole vocabulary; what it puts into more chunks, a pipeline cuts off."""
    theirs, ours = table_from_prompt(parts()[1], literal(prompt)), table_of(pipeline().tokenizer, prompt)
    for table in (ours, theirs):
        assert len(table.tokens) >= 77
    first = [(token.kind, token.text, token.column) for token in theirs.tokens[:76]]
    assert [(token.kind, token.text, token.column) for token in ours.tokens[:76]] == first


def test_a_base_model_has_the_same_name_in_both_hosts():
    """Oracle: the other host; by it concepts are refused or not."""
    model, clip, _ = parts()
    assert pipeline_base_name(pipeline()) == base_name(model, clip)


@pytest.mark.parametrize("settings", [lora_settings, full_settings])
def test_steps_of_training_are_the_same_in_both_hosts(settings):
    """Oracle: the other host: losses and gradients' norms of both phases, and what was learned."""
    scene = demo_scene(0, 2)
    chosen = settings(phase1_steps=2, phase2_steps=2, prior="frozen" if settings is lora_settings else "off", seed=4)
    chosen = replace(chosen, precision="float32")
    model, clip, vae = parts()
    told: dict[str, list[tuple[float, ...]]] = {"comfyui": [], "diffusers": []}
    learned: dict[str, Concepts] = {}

    def note(name: str) -> Callable[[Any], None]:
        def step(report: Any) -> None:
            told[name].append((report.measured.masked, report.measured.attention, report.gradient_norm))

        return step

    with training_ports(model, clip, vae, scene, chosen) as ports:
        learned["comfyui"] = train(scene, ports, chosen, on_step=note("comfyui"))
    with pipeline_ports(pipeline(), scene) as ports:
        learned["diffusers"] = train(scene, ports, chosen, on_step=note("diffusers"))
    for one, other in zip(told["comfyui"], told["diffusers"], strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-5)
    ours, theirs = learned["diffusers"], learned["comfyui"]
    torch.testing.assert_close(ours.embeddings, theirs.embeddings, atol=1e-5, rtol=0)
    assert list(ours.low_rank) == list(theirs.low_rank)
    assert set(ours.differences) == set(theirs.differences)
    assert ours.base == theirs.base


def test_concepts_go_both_ways(tmp_path):
    """Oracle: the other host: what was learned in one, by file, gives the same latent and maps in both.

    Without changes of the text encoder, which ComfyUI keeps in half precision on a CPU and rounds as it adds them.
    """
    scope, scene = Scope(pipeline()), demo_scene(0, 2)
    short = lora_settings(phase1_steps=2, phase2_steps=3, weights_rate=1e-2, prior="off", text_encoder=False)
    concepts = scope.learn(scene, short)
    save_concepts(concepts, tmp_path / "toys.safetensors")
    read = load_concepts(tmp_path / "toys.safetensors")
    model, clip, _ = parts()
    prompt = "a photo of <asset0> and <asset1> on a wooden floor"
    steps = LATER[:1]  # learned tokens are sharp: with every step the hosts' rounding grows tenfold
    latent, theirs = in_comfyui(*apply_concepts(model, clip, read), prompt, steps)
    ours_latent, ours = in_diffusers(scope.apply(read).pipe, prompt, steps)
    torch.testing.assert_close(ours_latent, latent, atol=1e-4, rtol=0)
    for one, other in zip(ours.maps, theirs.maps, strict=True):
        torch.testing.assert_close(one.maps, other.maps, atol=1e-5, rtol=0)
    tables = [recording.entry("positive", 0).table for recording in (ours, theirs)]
    assert [word.columns for word in tables[0].words()] == [word.columns for word in tables[1].words()]
    plain, _ = in_diffusers(pipeline(), "a photo of ring and square on a wooden floor", steps)
    assert (plain - ours_latent).abs().max() > 0.01
