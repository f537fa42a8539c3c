"""The ports that the host supplies to training: as the host computes, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.sd
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from pack.host.training.copies import base_name
from pack.host.training.models import training_ports
from pack.scenescope.errors import HostError
from pack.scenescope.training.run.trainer import train
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.tests.support.host.learning import SHORT, bits_of, hosts_noise, lora_of, small_scene


def with_lora(model: Any, clip: Any, strength: float = 1.0) -> tuple[Any, Any]:
    """MODEL and CLIP with a LoRA on one layer of each, through the stock loader."""
    return comfy.sd.load_lora_for_models(model, clip, lora_of(model, clip), strength, strength)


@pytest.mark.parametrize("patched", [False, True], ids=["plain", "lora"])
def test_text_and_noise_are_the_hosts_own(demo, patched):
    """Oracle: the stock encoding and the host's own model call, with and without a LoRA on MODEL and CLIP."""
    model, clip, vae = demo
    if patched:
        model, clip = with_lora(model, clip)
    prompt = "a photo of a red star in the snow"
    wanted = clip.encode_from_tokens(clip.tokenize(prompt))
    noisy, timesteps = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1)), torch.tensor([400])
    noise = hosts_noise(model, noisy, 400, wanted)
    with training_ports(model, clip, vae, small_scene(), SHORT) as ports, torch.no_grad():
        context = ports.text.encode([prompt], {}).context
        predicted = ports.denoiser(noisy, timesteps, context)
    assert torch.allclose(context, wanted, atol=1e-5)
    assert torch.allclose(predicted, noise, atol=2e-3)


def test_rows_stand_where_handles_are(demo):
    """Oracle: the host's encoding of the same tokens with the vectors in the handles' places, and columns by hand."""
    model, clip, vae = demo
    width = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight.shape[1]
    rows = {"<a>": torch.full((width,), 0.2), "<b>": torch.full((width,), -0.1)}
    tokens = clip.tokenize("a photo of star and star")
    at = [place for place, (given, _) in enumerate(tokens["l"][0]) if given == clip.tokenize("star")["l"][0][1][0]]
    for place, handle in zip(at, ("<b>", "<a>"), strict=True):
        tokens["l"][0][place] = (rows[handle], 1.0)
    wanted = clip.encode_from_tokens(tokens)
    with training_ports(model, clip, vae, small_scene(), SHORT) as ports, torch.no_grad():
        encoded = ports.text.encode(["a photo of <b> and <a>"], rows)
    assert torch.allclose(encoded.context, wanted, atol=1e-5)
    assert encoded.columns == ({"<b>": at[0], "<a>": at[1]},)


def test_gradients_reach_rows_text_encoder_and_unet_alike_with_checkpointing(demo):
    """Oracle: an invariant: computing blocks twice changes no gradient; every trained part has one."""
    found = []
    for checkpointing in (False, True):
        scene = small_scene()
        with training_ports(*demo, scene, SHORT, checkpointing=checkpointing) as ports, torch.enable_grad():
            row = ports.text.word("star")[0].clone().requires_grad_()
            unet, text = ports.denoiser.unet, ports.text.module
            parts = [unet.get_submodule("middle_block.1.transformer_blocks.0.attn2.to_k").weight]
            parts.append(text.get_submodule("text_model.encoder.layers.0.mlp.fc1").weight)
            for part in parts:
                part.requires_grad_()
            context = ports.text.encode(["a photo of <a>"], {"<a>": row}).context
            ports.denoiser(ports.latents, torch.tensor([300]), context).square().mean().backward()
            found.append([row.grad.clone(), *(part.grad.clone() for part in parts)])
    for plain, again in zip(*found, strict=True):
        assert plain.abs().max() > 0
        assert torch.equal(plain, again)


def test_sums_of_half_precision_are_single_while_training_and_as_they_were_afterwards(demo):
    """Oracle: torch's own switch, which the host's `--fast` turns on."""
    sums = torch.backends.cuda.matmul
    assert not sums.allow_fp16_accumulation
    sums.allow_fp16_accumulation = True
    try:
        with training_ports(*demo, small_scene(), SHORT):
            assert not sums.allow_fp16_accumulation
        assert sums.allow_fp16_accumulation
    finally:
        sums.allow_fp16_accumulation = False


class Broken(Exception):
    """What ends a run."""


def ended_by(error: type[BaseException] | None):
    """An `on_step` that ends the run in its second phase."""

    def on_step(report) -> None:
        if error is not None and report.step == 4:
            raise error

    return on_step


@pytest.mark.parametrize(
    "settings",
    [
        SHORT,
        replace(SHORT, text_encoder=True, precision="bfloat16"),
        full_settings(phase1_steps=3, phase2_steps=2, prior="frozen"),
        full_settings(phase1_steps=3, phase2_steps=2, prior="frozen", precision="float16"),
    ],
    ids=["lora", "lora bfloat16", "full", "full float16"],
)
@pytest.mark.parametrize(
    "error", [None, Broken, comfy.model_management.InterruptProcessingException], ids=["done", "error", "cancelled"]
)
def test_model_clip_and_vae_stay_bit_for_bit(demo, settings, error):
    """Oracle: their bytes, types and hooks before; after success, an error and a cancel."""
    before, scene = bits_of(*demo), small_scene()
    with pytest.raises(error) if error else torch.enable_grad():
        with training_ports(*demo, scene, settings) as ports:
            concepts = train(scene, ports, settings, on_step=ended_by(error))
        assert concepts.embeddings.isfinite().all()
    assert bits_of(*demo) == before
    assert not comfy.model_management.in_training
    assert torch.is_inference_mode_enabled()


def test_the_base_models_name_tells_loras_apart(demo):
    """Oracle: by hand: the same twice, also after sampling put the patches in; another for another strength."""
    model, clip, _ = demo
    plain, patched = base_name(model, clip), with_lora(model, clip)
    name = base_name(*patched)
    comfy.model_management.load_models_gpu([patched[0], patched[1].patcher])
    assert base_name(*patched) == name
    assert base_name(model, clip) == plain
    assert len({plain, name, base_name(*with_lora(model, clip, 0.5))}) == 3


def test_the_base_models_name_is_the_same_in_single_and_half_precision(demo):
    """Oracle: the name of the model with half-precision weights, and that of single-precision ones they come from."""
    model, clip, _ = demo
    exact, half = (model.clone(force_deepcopy=True) for _ in range(2))
    with torch.no_grad():
        for one, other in zip(exact.model.parameters(), half.model.parameters(), strict=True):
            one.add_(1e-5 * torch.randn(one.shape, generator=torch.Generator().manual_seed(one.numel())))
            other.copy_(one.half())
    assert not torch.equal(next(exact.model.parameters()), next(half.model.parameters()))
    assert base_name(exact, clip) == base_name(half, clip) != base_name(model, clip)


def test_models_of_other_kinds_are_refused(demo, sdxl, sd2):
    """Oracle: the messages."""
    model, clip, vae = demo
    velocity = ModelSamplingDiscrete().patch(model, "v_prediction", False)[0]
    noise = "V_PREDICTION; training needs one that predicts the noise"
    for other, words in ((velocity, noise), (sdxl, "family SDXL"), (sd2, "SD1.5")):
        with pytest.raises(HostError, match=words), training_ports(other, clip, vae, small_scene(), lora_settings()):
            pass


def test_a_model_without_a_loader_is_refused(demo):
    """Oracle: the message; the host cannot copy what it cannot load again."""
    model = demo[0].clone()
    model.cached_patcher_init = None
    with (
        pytest.raises(HostError, match="can't be copied"),
        training_ports(model, *demo[1:], small_scene(), lora_settings()),
    ):
        pass
