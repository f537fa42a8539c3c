"""Tokens are learned, kept, applied and painted with, and the pipeline stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.diffusers_adapter import Scope, load_concepts, save_concepts
from pack.diffusers_adapter.demo import demo_pipeline
from pack.diffusers_adapter.learning import training_ports
from pack.scenescope.errors import InputError
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.run.trainer import train
from pack.scenescope.training.scene.scene import Concept, Scene, build_scene
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.tests.support.pipelines import NOT_OURS, painted, small_pipeline

pytestmark = NOT_OURS

SHORT: dict[str, Any] = {"phase1_steps": 2, "phase2_steps": 2, "seed": 4}


def small_scene() -> Scene:
    """Two halves of a picture of noise, wider than high."""
    picture = torch.rand((1, 64, 96, 3), generator=torch.Generator().manual_seed(0))
    halves = torch.zeros(2, 1, 64, 96)
    halves[0, :, :, :48] = halves[1, :, :, 48:] = 1
    return build_scene(picture, list(halves), [Concept("<asset0>", "heart"), Concept("<asset1>", "")])


def bits_of(pipe: Any) -> str:
    """All that training could change in a pipeline."""
    digest = hashlib.sha256()
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        for name, weight in part.named_parameters():
            digest.update(f"{name}{weight.dtype}{weight.requires_grad}".encode() + weight.detach().numpy().tobytes())
        digest.update(repr([list(module._modules) for module in part.modules()]).encode())
        digest.update(str(sum(len(module._forward_hooks) for module in part.modules())).encode())
    return digest.hexdigest() + str(len(pipe.tokenizer))


@pytest.mark.parametrize("settings", [lora_settings(**SHORT), full_settings(**SHORT, prior="off", precision="float32")])
def test_learning_and_applying_leave_the_pipeline_as_it_was(settings):
    """Oracle: its bits, hooks and the order of its modules before and after."""
    scope = Scope(small_pipeline())
    before, plain = bits_of(scope.pipe), painted(scope.pipe)
    concepts = scope.learn(small_scene(), settings)
    scope.apply(concepts)
    assert concepts.steps == 4
    assert bits_of(scope.pipe) == before
    assert torch.equal(painted(scope.pipe), plain)


def learned() -> Concepts:
    """Short, with rates at which something changes."""
    settings = lora_settings(**SHORT, weights_rate=1e-2)
    return Scope(small_pipeline()).learn(small_scene(), settings)


def test_a_run_that_is_broken_off_goes_on_with_the_same_numbers(tmp_path: Path):
    """Oracle: the run that was not broken off, bit for bit."""
    settings, scope = lora_settings(**SHORT), Scope(small_pipeline())
    whole = scope.learn(small_scene(), settings)

    def stop(report: Any) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scope.learn(small_scene(), settings, keep=tmp_path / "state.safetensors", on_step=stop)
    resumed = scope.learn(small_scene(), settings, keep=tmp_path / "state.safetensors")
    assert torch.equal(resumed.embeddings, whole.embeddings)
    for layer, pair in whole.low_rank.items():
        assert torch.equal(resumed.low_rank[layer].up, pair.up)


def test_learned_tokens_are_words_of_the_applied_pipeline():
    """Oracle: the embeddings themselves in the token table, and the words of a recorded prompt."""
    concepts = learned()
    scope = Scope(small_pipeline()).apply(concepts)
    numbers = scope.pipe.tokenizer.convert_tokens_to_ids(list(concepts.handles))
    table = scope.pipe.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[numbers], concepts.embeddings)
    with scope.record() as session:
        painted(scope.pipe, "a photo of <asset0>'s heart and <asset1>")
    words = [word.label for word in scope.words(session.recording)]
    assert words[3] == "<asset0>"
    assert words[-2:] == ["and", "<asset1>"]


def test_changes_of_weights_are_added_as_they_were_trained():
    """Oracle: what the trained copies predict, while the additions are hooks; for embeddings and both models."""
    scope, scene = Scope(small_pipeline()), small_scene()
    seen: dict[str, Any] = {}

    def ask(report: Any) -> None:
        if report.step == 4:
            seen["context"] = seen["ports"].text.encode(["a photo of <asset0>"], report.embeddings).context
            times = torch.tensor([500])
            seen["noise"] = seen["ports"].denoiser(torch.ones(1, 4, 8, 12), times, seen["context"])

    with training_ports(scope.pipe, scene) as ports, torch.no_grad():
        seen["ports"] = ports
        concepts = train(scene, ports, lora_settings(**SHORT, weights_rate=1e-2), on_step=ask)
    pipe = scope.apply(concepts).pipe
    context, _ = pipe.encode_prompt("a photo of <asset0>", "cpu", 1, False)
    torch.testing.assert_close(context, seen["context"], atol=1e-4, rtol=0)
    noise = pipe.unet(torch.ones(1, 4, 8, 12), torch.tensor([500]), encoder_hidden_states=context).sample
    torch.testing.assert_close(noise, seen["noise"], atol=1e-4, rtol=0)
    plain = scope.pipe.unet(torch.ones(1, 4, 8, 12), torch.tensor([500]), encoder_hidden_states=context).sample
    assert (plain - noise).abs().max() > 1e-3


def test_strength_0_leaves_the_weights_as_they_were():
    """Oracle: the base model's own weights; the embeddings are whole."""
    scope = Scope(small_pipeline())
    applied = scope.apply(learned(), strength=0.0)
    for one, other in zip(applied.pipe.unet.parameters(), scope.pipe.unet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_does_not_fit_is_refused_in_a_sentence():
    """Oracle: the messages."""
    concepts, scope = learned(), Scope(small_pipeline())
    with pytest.raises(
        InputError, match="the tokenizer already knows <asset0>, <asset1>, and each scene needs handles"
    ):
        scope.apply(concepts).apply(concepts, base="any")
    demo = Scope(demo_pipeline())
    with pytest.raises(InputError, match="<asset0> was learned with the base model .*, and this one is "):
        demo.apply(concepts)
    with pytest.raises(InputError, match="<asset0> has 32 channels, but the words of this text encoder have 128"):
        demo.apply(concepts, base="any")


def test_concepts_are_the_same_after_a_file(tmp_path: Path):
    """Oracle: an invariant."""
    concepts = learned()
    save_concepts(concepts, tmp_path / "toys.safetensors")
    read = load_concepts(tmp_path / "toys.safetensors")
    assert torch.equal(read.embeddings, concepts.embeddings)
    assert list(read.low_rank) == list(concepts.low_rank)


def test_a_template_is_painted_over_all_subsets_with_every_seed():
    """Oracle: by hand: three subsets of two tokens, two seeds; each picture is the pipeline's own."""
    concepts, scope = learned(), Scope(small_pipeline())
    options = {"height": 64, "width": 96, "num_inference_steps": 2}
    made = scope.generate(concepts, "a photo of {tokens}", seeds=[0, 7], **options)
    assert made.prompts == ("a photo of <asset0>", "a photo of <asset1>", "a photo of <asset0> and <asset1>")
    assert made.images.shape == (6, 64, 96, 3)
    assert made.recording.images == 2
    pipe = scope.apply(concepts).pipe
    own = pipe(made.prompts[1], generator=torch.Generator().manual_seed(7), output_type="pt", **options).images
    assert torch.equal(made.images[3], own[0].movedim(0, -1))
    assert [word.label for word in scope.words(made.recording, "<asset0>, <asset1>")] == ["<asset0>", "<asset1>"]


def test_the_demo_model_draws_what_is_asked_for_without_comfyui():
    """Oracle: what the words mean: there is something red, and the circle's map lies on it."""
    scope = Scope(demo_pipeline())
    with scope.record() as session:
        picture = painted(
            scope.pipe, "a photo of a red circle on a wooden floor", height=128, width=128, num_inference_steps=12,
            guidance_scale=2.0,
        )[0]  # fmt: skip
    red = (picture[0] > picture[1:].amax(0) + 0.3).float()
    assert 0.05 < float(red.mean()) < 0.6
    masks = scope.masks(session.recording, "circle", truth=red[None])
    assert masks.mean_iou > 0.4
