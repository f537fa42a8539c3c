"""What a run learns from is in its name and in its state, or refused: nothing is left out without a word."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.hooks
import comfy.lora
import comfy.model_management
import comfy.sd
import folder_paths
import pytest
import safetensors.torch
import torch
from comfy_extras.nodes_freelunch import FreeU
from comfy_extras.nodes_hooks import CreateHookLora, SetClipHooks
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_model_advanced import (
    ModelComputeDtype,
    ModelSamplingAuraFlow,
    ModelSamplingContinuousEDM,
    ModelSamplingContinuousV,
    ModelSamplingDiscrete,
    ModelSamplingFlux,
    ModelSamplingSD3,
    ModelSamplingStableCascade,
)
from pack.host.acting.steer import Odds, steered, steerings_of
from pack.host.concepts.apply import apply_concepts
from pack.host.recording.unet import record_attention
from pack.host.training.copies import base_name
from pack.host.training.models import check_trainable, training_ports
from pack.host.training.origin import left_out
from pack.host.training.plan import Plan
from pack.host.training.run import TrainingResult, automatic_name, train_concepts
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import HostError, InputError
from pack.scenescope.training.scene.scene import Concept, Scene
from pack.tests.support.host.learned import made_up
from pack.tests.support.host.learning import SHORT, hosts_noise, lora_of, small_scene
from pack.tests.support.host.listening import Listening
from pack.tests.support.toy_runs import bits
from server import PromptServer

QUICK = Plan(sample_count=0, save_every=100)
MINE = replace(QUICK, run_name="mine")
Parts = tuple[Any, Any, Any]


@pytest.fixture(autouse=True)
def output(tmp_path: Path) -> Iterator[Path]:
    """The host with an output folder of its own."""
    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_output_directory(before)


def at_layer(parts: Parts, layer: int) -> Parts:
    """The stock CLIP Set Last Layer."""
    clip = parts[1].clone()
    clip.clip_layer(layer)
    return parts[0], clip, parts[2]


def with_other_vae(parts: Parts) -> Parts:
    """Another VAE: the same kind, one weight changed."""
    vae = copy.copy(parts[2])
    vae.first_stage_model = copy.deepcopy(vae.first_stage_model)
    next(vae.first_stage_model.parameters()).mul_(1.01)
    return *parts[:2], vae


def with_sampling(parts: Parts, zsnr: bool) -> Parts:
    """The stock ModelSamplingDiscrete."""
    return ModelSamplingDiscrete().patch(parts[0], "eps", zsnr)[0], *parts[1:]


def bypassed(parts: Parts, strength: float = 1.0) -> Parts:
    """A LoRA in bypass mode, on MODEL and CLIP."""
    lora = lora_of(*parts[:2])
    return *comfy.sd.load_bypass_lora_for_models(*parts[:2], lora, strength, strength), parts[2]


CHANGES = {
    "the CLIP's layer": lambda parts: at_layer(parts, -2),
    "the VAE": with_other_vae,
    "the model's sampling": lambda parts: with_sampling(parts, True),
    "the base model": bypassed,
}


@pytest.fixture(scope="module")
def trained(demo: Parts, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """An output folder with two finished runs, one named by the pack and one `mine`, and what the first one gave."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(folder_paths, "output_directory", str(folder))
        done = [train_concepts(demo, small_scene(), SHORT, plan, None) for plan in (QUICK, MINE)]
    return folder, done[0]


@pytest.mark.parametrize("change", list(CHANGES))
def test_another_part_makes_another_run_and_is_told_by_name(
    demo: Parts, trained: tuple[Path, TrainingResult], change: str
) -> None:
    """Oracle: by hand: two folders where the pack names the run; a refusal by name of the part where the user does."""
    folder, first = trained
    folder_paths.set_output_directory(str(folder))
    scene, other, named = small_scene(), CHANGES[change](demo), MINE
    second = train_concepts(other, scene, SHORT, QUICK, None)
    assert first.payload["run"] != second.payload["run"]
    assert bits(first.concepts) != bits(second.concepts)
    with pytest.raises(InputError, match=change):
        train_concepts(other, scene, SHORT, named, None)
    again = train_concepts(demo, scene, SHORT, named, None)
    assert bits(again.concepts) == bits(first.concepts)


def test_a_run_broken_off_never_goes_on_with_another_layer(demo: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the run at that layer which was not broken off: broken off at layer -1, at -2 it begins afresh."""
    scene, asked = small_scene(), [0]

    def cancel() -> None:
        asked[0] += 1
        if asked[0] == 3:
            raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train_concepts(demo, scene, SHORT, QUICK, None)
    monkeypatch.undo()
    other = at_layer(demo, -2)
    whole = train_concepts(other, scene, SHORT, replace(QUICK, run_name="whole"), None)
    assert bits(train_concepts(other, scene, SHORT, QUICK, None).concepts) == bits(whole.concepts)


@pytest.mark.parametrize(
    "same", [lambda parts: at_layer(parts, -1), lambda parts: with_sampling(parts, False)], ids=["layer -1", "eps"]
)
def test_what_changes_nothing_names_nothing_anew(demo: Parts, same: Any) -> None:
    """Oracle: the encoding at layer -1 is that of the output, bit for bit; eps is SD1.5's own sampling."""
    other, scene = same(demo), small_scene()
    tokens = demo[1].tokenize("a red star")
    assert torch.equal(demo[1].encode_from_tokens(tokens), other[1].encode_from_tokens(tokens))
    assert automatic_name(other, scene, SHORT, QUICK) == automatic_name(demo, scene, SHORT, QUICK)


def test_an_embedding_file_that_changes_makes_another_run(demo: Parts, folders: Path) -> None:
    """Oracle: by hand: one name in a starting word or in a template, two contents of its file."""
    scene, file = small_scene(), folders / "embeddings" / "moss.safetensors"
    words = Scene(scene.pictures, scene.masks, [Concept("<asset0>", "embedding:moss"), scene.concepts[1]])
    demo[1].tokenizer.clip_l.embedding_directory = [str(folders / "embeddings")]
    templates = replace(SHORT, templates=("embedding:moss {}",))
    names = []
    for seed in (0, 1):
        rows = torch.randn(2, 64, generator=torch.Generator().manual_seed(seed))
        width = demo[1].cond_stage_model.clip_l.transformer.get_input_embeddings().weight.shape[1]
        safetensors.torch.save_file({"emb_params": rows[:, :1].repeat(1, width)}, file)
        names += [automatic_name(demo, words, SHORT, QUICK), automatic_name(demo, scene, templates, QUICK)]
        names.append(automatic_name(demo, scene, SHORT, QUICK))
    assert names[2] == names[5]
    assert len(set(names)) == 5


def test_a_lora_in_bypass_mode_is_part_of_what_is_trained_on(demo: Parts) -> None:
    """Oracle: the host's own model call and encoding with that very MODEL and CLIP, the LoRA in bypass mode."""
    model, clip, vae = bypassed(demo)
    prompt = "a photo of a red star in the snow"
    wanted = clip.encode_from_tokens(clip.tokenize(prompt))
    plain = demo[1].encode_from_tokens(demo[1].tokenize(prompt))
    noisy, timesteps = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1)), torch.tensor([400])
    noise = hosts_noise(model, noisy, 400, wanted)
    with training_ports(model, clip, vae, small_scene(), SHORT) as ports, torch.no_grad():
        context = ports.text.encode([prompt], {}).context
        predicted = ports.denoiser(noisy, timesteps, context)
    assert not torch.allclose(plain, wanted, atol=1e-3)
    assert torch.allclose(context, wanted, atol=1e-4)
    assert torch.allclose(predicted, noise, atol=2e-3)
    assert base_name(model, clip) == base_name(*bypassed(demo)[:2]) != base_name(*bypassed(demo, 0.5)[:2])


def test_hooks_on_clip_are_refused_and_the_next_step_is_said(demo: Parts) -> None:
    """Oracle: the message; with the stock nodes, applied to conditionings or not, scheduled or not."""
    path = Path(folder_paths.get_output_directory()) / "lora.safetensors"
    hooks = comfy.hooks.create_hook_lora(lora_of(*demo[:2]), 1.0, 1.0)
    assert not path.exists()
    for scheduled in (False, True):
        for applied in (False, True):
            (clip,) = SetClipHooks().apply_hooks(demo[1], scheduled, applied, hooks)
            with pytest.raises(HostError, match=r"CLIP carries hooks.*Load LoRA"):
                check_trainable(demo[0], clip)
    assert CreateHookLora is not None


def test_parts_that_another_node_replaced_are_refused_and_options_of_precision_are_not(demo: Parts) -> None:
    """Oracle: the messages; a copy for training would not have a replaced layer, while precision is its own."""
    model = demo[0].clone()
    model.add_object_patch("diffusion_model.out", torch.nn.Identity())
    with pytest.raises(HostError, match="another node has changed 'diffusion_model.out' in MODEL"):
        check_trainable(model, demo[1])
    odd = demo[0].clone()
    odd.set_injections("motion", [])
    with pytest.raises(HostError, match="another node has changed 'motion' in MODEL"):
        check_trainable(odd, demo[1])
    check_trainable(ModelComputeDtype().patch(demo[0], "fp32")[0], demo[1])


CONTINUOUS = ["v_prediction", "edm", "edm_playground_v2.5", "eps"]


@pytest.mark.parametrize("sampling", CONTINUOUS)
def test_continuous_samplings_are_refused(demo: Parts, sampling: str) -> None:
    """Oracle: the host's own timesteps: they are not whole numbers, which training draws."""
    (model,) = ModelSamplingContinuousEDM().patch(demo[0], sampling, 120.0, 0.002)
    with pytest.raises(HostError, match="Train Concepts"):
        check_trainable(model, demo[1])


@pytest.mark.parametrize("sampling", ["v_prediction", "lcm", "x0", "img_to_img"])
def test_other_predictions_are_refused(demo: Parts, sampling: str) -> None:
    """Oracle: the message."""
    (model,) = ModelSamplingDiscrete().patch(demo[0], sampling, False)
    with pytest.raises(HostError, match="one that predicts the noise"):
        check_trainable(model, demo[1])
    (velocity,) = ModelSamplingContinuousV().patch(demo[0], "v_prediction", 500.0, 0.03)
    with pytest.raises(HostError, match="one that predicts the noise"):
        check_trainable(velocity, demo[1])


FLOWS = {
    "SD3": lambda model: ModelSamplingSD3().patch(model, 3.0),
    "AuraFlow": lambda model: ModelSamplingAuraFlow().patch_aura(model, 1.73),
    "Flux": lambda model: ModelSamplingFlux().patch(model, 1.15, 0.5, 512, 512),
    "Stable Cascade": lambda model: ModelSamplingStableCascade().patch(model, 2.0),
    "img_to_img_flow": lambda model: ModelSamplingDiscrete().patch(model, "img_to_img_flow", False),
    "Cosmos": lambda model: ModelSamplingContinuousEDM().patch(model, "cosmos_rflow", 120.0, 0.002),
}


@pytest.mark.parametrize("sampling", list(FLOWS))
def test_samplings_of_other_families_are_refused(demo: Parts, sampling: str) -> None:
    """Oracle: the message; these are all of the host's nodes that put another sampling on a model, beside those above.

    Stable Cascade's predicts noise as SD1.5 does, at other noise levels.
    """
    (model,) = FLOWS[sampling](demo[0])
    with pytest.raises(HostError, match="^Train Concepts: this model (predicts|samples with)"):
        check_trainable(model, demo[1])


@pytest.mark.parametrize("zsnr", [False, True])
def test_a_sampling_that_is_taken_is_the_one_that_is_learned_with(demo: Parts, zsnr: bool) -> None:
    """Oracle: the host's own model call with that MODEL: the noise at three timesteps."""
    model, clip, vae = with_sampling(demo, zsnr)
    context = clip.encode_from_tokens(clip.tokenize("a red star"))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with training_ports(model, clip, vae, small_scene(), SHORT) as ports, torch.no_grad():
        for place in (1, 400, 900):
            noisy = ports.noise.add(ports.latents[:1], noise, torch.tensor([place]))
            wanted = hosts_noise(model, noisy, place, context)
            assert torch.allclose(ports.denoiser(noisy, torch.tensor([place]), context), wanted, atol=5e-3)


def hypernetwork(model: Any) -> Any:
    """What the stock Hypernetwork Loader puts on a model."""
    clone = model.clone()
    clone.set_model_attn1_patch(lambda query, context, value, options: (query, context, value))
    return clone


def wrapped(model: Any) -> Any:
    """A wrapper of whole model calls, as tiled diffusion has one."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))
    return clone


def steering(model: Any) -> Any:
    """Steer Words on a model."""
    return steered(model, steerings_of("star", (), Odds()))


ATTENTION, BLOCKS = "attention patches (a hypernetwork, IPAdapter)", "patches of blocks (FreeU, Deep Shrink)"
LEFT_OUT = [
    (hypernetwork, ATTENTION),
    (lambda model: HyperTile.execute(model, 64, 2, 0, False)[0], ATTENTION),
    (lambda model: FreeU.execute(model, 1.1, 1.2, 0.9, 0.2).args[0], BLOCKS),
    (lambda model: FreeU.execute(hypernetwork(model), 1.1, 1.2, 0.9, 0.2).args[0], f"{ATTENTION} and {BLOCKS}"),
    (wrapped, "wrappers of the model"),
    (steering, "words that are steered"),
]


@pytest.mark.parametrize(("change", "said"), LEFT_OUT)
def test_what_acts_on_a_model_and_is_left_out_of_training_is_named(demo: Parts, change: Any, said: str) -> None:
    """Oracle: the sentence, for each kind of the host's own patches, a wrapper, and the pack's own steering."""
    assert left_out(change(demo[0])).startswith(f"MODEL carries {said}, which training leaves out")


def test_a_run_says_what_it_leaves_out(demo: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the sentence, in the last line on the node, in every event, and in the summary."""
    server, model = Listening("me"), hypernetwork(demo[0])
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    done = train_concepts((model, *demo[1:]), small_scene(), SHORT, QUICK, "7")
    said = left_out(model)
    assert server.events("progress_text")[-1]["text"].endswith(said)
    assert {event["caution"] for event in server.events("scenescope.training")} == {said}
    assert done.payload["caution"] == said


def test_nothing_is_said_of_a_model_that_is_only_watched_or_guided(demo: Parts) -> None:
    """Oracle: by hand: LoRAs and samplings are learned on, a recorder watches, and guidance comes after the model."""
    watched, _ = record_attention(demo[0], Selection(), None)
    guided = demo[0].clone()
    guided.set_model_sampler_cfg_function(lambda given: given["cond"])
    for model in (demo[0], watched, guided, with_sampling(demo, True)[0], bypassed(demo)[0]):
        assert left_out(model) == ""


@pytest.mark.parametrize(("learned", "applied"), [(-2, -1), (-1, -2), (-2, -3)])
def test_concepts_of_one_layer_are_refused_at_another(demo: Parts, learned: int, applied: int) -> None:
    """Oracle: the message; at their own layer they are taken."""
    concepts = made_up(at_layer(demo, learned), "lora")
    apply_concepts(*at_layer(demo, learned)[:2], concepts)
    with pytest.raises(InputError, match="this base model .* is not the one"):
        apply_concepts(*at_layer(demo, applied)[:2], concepts)
