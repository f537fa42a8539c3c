"""Concepts applied, saved, loaded and exported: the same picture by every way."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.supported_models
import pytest
import torch
from comfy_execution.graph import ExecutionBlocker
from pack.host.concepts.apply import apply_concepts
from pack.host.concepts.export import lora_keys, plan_export
from pack.host.demo import load_demo_model
from pack.host.prompts.text import TOKENS_KEY, trace_words
from pack.host.training.models import training_ports
from pack.nodes.concepts import ApplyConcepts, LoadConcepts, SaveConcepts
from pack.scenescope.attention.words.find import find_words
from pack.scenescope.errors import FileError, HostError, InputError
from pack.scenescope.training.learned.concepts import Concepts
from pack.scenescope.training.scene.scene import Concept, build_scene
from pack.scenescope.training.settings import lora_settings
from pack.scenescope.training.weights.contract import LowRank
from pack.scenescope.training.weights.lora import UNET_LAYERS, Lora, layers_of
from pack.tests.support.host.checkpoint import FULL_UNET
from pack.tests.support.host.learned import PROMPT, call, made_up, with_handles
from safetensors.torch import save_file

import nodes as host_nodes

KINDS = ("rows", "lora", "full")


@pytest.fixture(scope="module")
def demo(folders: Path) -> Iterator[tuple[Any, Any, Any]]:
    """MODEL, CLIP and VAE of the demo model; never changed by the tests."""
    with torch.inference_mode():
        yield load_demo_model()


def test_applied_concepts_compute_what_training_computed(demo):
    """Oracle: the training ports with the same rows, and the same additions by training's own forward hooks."""
    learned = made_up(demo, "lora")
    unet = {name: pair for name, pair in learned.low_rank.items() if name.startswith("unet.")}
    learned, prompt = replace(learned, low_rank=unet), "a photo of <asset0> and <asset1>"
    picture, concepts = torch.rand(1, 64, 96, 3), learned.concepts
    scene = build_scene(picture, [picture[..., 0].round(), picture[..., 1].round()], concepts)
    latent, timestep = torch.randn(1, 4, 8, 12), torch.tensor([600])
    with training_ports(*demo, scene, learned.settings) as ports, torch.no_grad():
        context = ports.text.encode([prompt], {handle: learned.embedding(handle) for handle in learned.handles}).context
        layers = {name: ports.denoiser.unet.get_submodule(name.removeprefix("unet.")) for name in unet}
        generator, device = torch.Generator(), torch.device("cpu")
        with Lora(layers, rank=2, alpha=3.0, generator=generator, device=device) as additions:
            for name, pair in unet.items():
                additions.trained[f"{name}.down"].copy_(pair.down.clone())
                additions.trained[f"{name}.up"].copy_(pair.up.clone())
            wanted = ports.denoiser(latent.clone(), timestep.clone(), context)
    model, clip = apply_concepts(*demo[:2], learned)
    columns = host_nodes.CLIPTextEncode().encode(clip, prompt)[0][0][0]
    comfy.model_management.load_models_gpu([model])
    sigma = model.model.model_sampling.sigmas[timestep]
    noisy = latent * (1 + sigma**2).sqrt()
    found = (noisy - model.model.apply_model(noisy, sigma, c_crossattn=columns)) / sigma
    torch.testing.assert_close(columns, context.detach(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_concepts_give_the_same_picture(demo, folders, kind):
    """Oracle: the concepts before they were saved; the file is offered in the list."""
    learned = made_up(demo, kind)
    passed, report, lora = call(
        SaveConcepts, concepts=learned, filename_prefix=f"c/{kind}", write="own file", export_name="x",
        overwrite_exports=False,
    )  # fmt: skip
    assert passed is learned
    assert isinstance(lora, ExecutionBlocker)
    assert report.startswith(f"Saved {kind}_00001_.concepts.safetensors (")
    file = f"c/{kind}_00001_.concepts.safetensors [output]"
    assert file in LoadConcepts.INPUT_TYPES()["required"]["file"][1]["options"]
    assert LoadConcepts.validate_inputs(file) is True
    loaded = call(LoadConcepts, file=file)[0]
    before, after = (with_handles(*apply_concepts(*demo[:2], one)) for one in (learned, loaded))
    assert torch.equal(before, after)


def test_the_users_models_stay_as_they_are(demo):
    """Oracle: a picture of the base model before and after, bit for bit, and no patch on it."""
    before = with_handles(*demo[:2])
    for kind in KINDS:
        with_handles(*apply_concepts(*demo[:2], made_up(demo, kind)))
    assert torch.equal(with_handles(*demo[:2]), before)
    assert (demo[0].patches, demo[1].patcher.patches) == ({}, {})


def test_strength_scales_the_weights_and_not_the_rows(demo):
    """Oracle: twice the additions at half the strength; the powers of two leave the arithmetic exact."""
    learned = made_up(demo, "lora")
    twice = {name: replace(pair, alpha=2 * pair.alpha) for name, pair in learned.low_rank.items()}
    halved = apply_concepts(*demo[:2], replace(learned, low_rank=twice), strength=0.5)
    assert torch.equal(with_handles(*halved), with_handles(*apply_concepts(*demo[:2], learned)))
    none = apply_concepts(*demo[:2], learned, strength=0.0)
    rows = apply_concepts(*demo[:2], replace(learned, low_rank={}))
    assert torch.equal(with_handles(*none), with_handles(*rows))


def test_traced_before_or_after_the_handles_are_words_of_the_conditioning(demo):
    """Oracle: by hand: start, a, photo, of, the first handle, and, (, the second."""
    learned = made_up(demo, "lora")
    after = trace_words(apply_concepts(*demo[:2], learned)[1])
    before = apply_concepts(demo[0], trace_words(demo[1]), learned)[1]
    for clip in (after, before):
        prompt = PROMPT.format("<asset0>", "<asset1>")
        table = host_nodes.CLIPTextEncode().encode(clip, prompt)[0][0][1][TOKENS_KEY]
        assert [match.columns for match in find_words(table, "<asset0>, <asset1>")] == [(4,), (6,)]


def test_another_base_model_is_refused_unless_it_is_asked_for(demo):
    """Oracle: the message; the same weights count as the same model, also after other concepts were applied."""
    learned = made_up(demo, "lora")
    foreign = replace(learned, base="0123456789")
    inputs = {"model": demo[0], "clip": demo[1], "concepts": foreign, "strength": 1.0}
    with pytest.raises(
        InputError,
        match=r"Apply Concepts: this base model \(\w{8}\) is not the one that <asset0> was trained on \(01234567\)",
    ):
        call(ApplyConcepts, **inputs, base_model="must match")
    anyway = call(ApplyConcepts, **inputs, base_model="any")
    assert torch.equal(with_handles(*anyway), with_handles(*apply_concepts(*demo[:2], learned)))
    once = apply_concepts(*demo[:2], learned)
    renamed = replace(learned, concepts=tuple(replace(one, handle=f"{one.handle}b") for one in learned.concepts))
    apply_concepts(*once, renamed)
    merged = demo[0].clone()
    merged.add_patches({"diffusion_model.out.2.bias": ("diff", (torch.ones(4),))})
    with pytest.raises(InputError, match="this base model"):
        apply_concepts(merged, demo[1], learned)


def test_another_node_that_applies_concepts_speaks_for_itself(demo):
    """Oracle: the sentences: who it is, and advice that can be followed at a node which samples by itself."""
    learned, who = made_up(demo, "lora"), "Generate from Tokens"
    with pytest.raises(
        InputError, match=rf"^{who}: this base model \(\w{{8}}\) is not the one .*\(01234567\)\. "
    ) as raised:
        apply_concepts(*demo[:2], replace(learned, base="0123456789"), who=who)
    assert str(raised.value).endswith(
        "Connect that checkpoint itself, set base_model to any, or use Apply Concepts, then Load LoRA, then the stock "
        "nodes."
    )
    once = apply_concepts(*demo[:2], learned)
    with pytest.raises(InputError, match=rf"^{who}: this CLIP already has <asset0>, <asset1>") as raised:
        apply_concepts(*once, learned, who=who)
    assert str(raised.value).endswith("Connect the MODEL and CLIP from before Apply Concepts.")
    with pytest.raises(InputError, match="^Apply Concepts: .* Give the concepts other handles, or connect the CLIP of"):
        apply_concepts(*once, learned)
    name, pair = next(iter(learned.low_rank.items()))
    for layout in (
        {"embeddings": learned.embeddings.repeat(1, 2)},
        {"low_rank": {"unet.gone": pair}},
        {"low_rank": {name: replace(pair, up=pair.up.repeat(2, 1))}},
    ):
        with pytest.raises(InputError, match=f"^{who}: "):
            apply_concepts(*demo[:2], replace(learned, **layout), base="any", who=who)
    bare = demo[1].clone()
    bare.tokenizer = object()
    with pytest.raises(HostError, match=f"^{who}: this CLIP is not SD1.5's"):
        apply_concepts(demo[0], bare, learned, who=who)


def test_concepts_of_another_layout_are_refused_whatever_is_asked_for(demo):
    """Oracle: the messages: rows too wide, a layer that is not there, a layer of another size."""
    learned = made_up(demo, "lora")
    width = learned.embeddings.shape[1]
    with pytest.raises(InputError, match=f"<asset0> has {width * 2} channels, but the words of this CLIP have {width}"):
        apply_concepts(*demo[:2], replace(learned, embeddings=learned.embeddings.repeat(1, 2)), base="any")
    name, pair = next(iter(learned.low_rank.items()))
    with pytest.raises(InputError, match=r"the weights unet\.gone\.weight don't exist in this model"):
        apply_concepts(*demo[:2], replace(learned, low_rank={"unet.gone": pair}), base="any")
    wide = replace(pair, up=pair.up.repeat(2, 1))
    with pytest.raises(InputError, match=rf"the weights {name}\.weight are 32x32 in this model, but 64x"):
        apply_concepts(*demo[:2], replace(learned, low_rank={name: wide}), base="any")


def test_the_names_are_those_of_lora_files_of_sd15():
    """Oracle: the host's map of names for SD1.5 at full size, and four names as kohya's trainer writes them."""
    with torch.device("meta"):
        model = comfy.supported_models.SD15(FULL_UNET).get_model({}, "")
        text = comfy.sd1_clip.SD1ClipModel(device="meta")
    layers = layers_of(model.diffusion_model, "unet.", UNET_LAYERS)
    layers |= layers_of(text.clip_l.transformer.text_model.encoder, "text.text_model.encoder.")
    pair = LowRank(torch.ones(1, 1), torch.ones(1, 1), 1.0)
    learned = Concepts((Concept("<a>"),), torch.ones(1, 768), dict.fromkeys(layers, pair), {}, "", lora_settings(), 1)
    keys = lora_keys(learned)
    known = comfy.lora.model_lora_keys_clip(text, comfy.lora.model_lora_keys_unet(model, {}))
    assert len(keys) == len(layers) == 16 * (8 + 2 + 2) + 12 * 6
    for layer, key in keys.items():
        assert known[key].split(".", 1)[1].endswith(f"{layer.removeprefix('unet.').removeprefix('text.')}.weight")
    assert {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    } <= set(keys.values())


def test_foreign_and_hostile_files_are_refused_by_the_node(demo, folders):
    """Oracle: the messages; the pickle would write a file if it were read."""

    class Nasty:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(folders / "owned"), "w"))

    kind = ".concepts.safetensors"
    exported = plan_export(made_up(demo, "lora"), "foreign").write()
    _, good, lora = call(
        SaveConcepts, concepts=made_up(demo, "lora"), filename_prefix="good", write="own file and exports",
        export_name="good", overwrite_exports=True,
    )  # fmt: skip
    assert lora == "good.safetensors"
    assert "weights: good.safetensors, with Load LoRA at strength 1" in good
    whole = (folders / "output" / f"good_00001_{kind}").read_bytes()
    (folders / "input" / f"lora{kind}").write_bytes(exported.files[2].read_bytes())
    (folders / "input" / f"pickle{kind}").write_bytes(pickle.dumps(Nasty()))
    (folders / "input" / f"short{kind}").write_bytes(whole[: len(whole) // 2])
    (folders / "input" / f"huge{kind}").write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    later = {"format": "scenescope-concepts 2", "value": json.dumps({})}
    save_file({"t": torch.zeros(1)}, folders / "input" / f"later{kind}", later)
    reasons = {
        "lora": "format should be 'scenescope-concepts 1' but is not there",
        "pickle": "pickle or a zip archive",
        "short": "damaged or not a safetensors file",
        "huge": "a header of",
        "later": "format should be 'scenescope-concepts 1' but is 'scenescope-concepts 2'",
    }
    for name, reason in reasons.items():
        assert LoadConcepts.validate_inputs(f"{name}{kind} [input]") is True
        with pytest.raises(FileError, match=reason):
            call(LoadConcepts, file=f"{name}{kind} [input]")
    assert not (folders / "owned").exists()
    for name in ("gone", "../good", "/etc/x"):
        step = "Use a plain name|Choose one from the list|Press R to refresh the list"
        assert re.match(rf"Load Concepts: .*({step})", str(LoadConcepts.validate_inputs(f"{name}{kind} [input]")))
