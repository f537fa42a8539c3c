"""The demo model in a real ComfyUI: ordinary parts, the latent that it was trained on, and its measured figures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import comfy.lora
import comfy.sd
import comfy.utils
import numpy as np
import pytest
import torch
from pack.demo.captions import vocabulary
from pack.demo.data import END, collate, shown
from pack.demo.export import LIMIT
from pack.demo.judge.checker import judge
from pack.demo.layouts import random_layout
from pack.demo.measure import following, layouts, looking_at_drawings
from pack.demo.studio import Studio
from pack.devtools.comfyui import ROOT
from pack.host.demo import DEMO_FILE, SCALE, load_demo_model, size_hint
from pack.nodes.demo import DemoModel, DemoScene
from pack.scenescope.errors import FileError
from pack.scenescope.world.latent import latent_of
from pack.scenescope.world.scene import draw, full_caption

import nodes as host_nodes

from ..support.host.runs import Run, sample

PICTURES = 12
"""For the slow figures; the card's are of more."""
FIGURES = json.loads((ROOT / "demo" / "figures.json").read_text("utf-8"))


def encode(clip: Any, prompt: str) -> Any:
    """Encode a prompt as the stock node does."""
    return host_nodes.CLIPTextEncode().encode(clip, prompt)[0]


def test_the_file_is_small_and_loads_fast():
    """Oracle: the promised 16 MB and 3 seconds; processor time, since a busy machine proves nothing."""
    began = time.process_time()
    load_demo_model()
    assert time.process_time() - began < 3
    assert DEMO_FILE.stat().st_size <= LIMIT


def test_the_unet_has_the_layout_of_sd15(demo):
    """Oracle: SD1.5's own block ids; 16 transformers, 8 heads, epsilon, and the ends of its noise schedule."""
    model = demo[0].model
    layers = [name for name, _ in model.diffusion_model.named_modules() if name.endswith("attn2")]
    inputs = [f"input_blocks.{i}" for i in (1, 2, 4, 5, 7, 8)]
    outputs = [f"output_blocks.{i}" for i in range(3, 12)]
    assert layers == [f"{b}.1.transformer_blocks.0.attn2" for b in (*inputs, "middle_block", *outputs)]
    assert {model.diffusion_model.get_submodule(layer).heads for layer in layers} == {8}
    assert model.model_type.name == "EPS"
    assert float(model.model_sampling.sigma_max) == pytest.approx(14.6146, rel=1e-4)
    assert float(model.model_sampling.sigma_min) == pytest.approx(0.0292, rel=1e-2)


def test_captions_are_tokenized_as_in_training(demo):
    """Oracle: the host's tokenizer on the whole sentence; training joined the words' own tokens."""
    tokenizer = demo[1].tokenizer.clip_l.tokenizer
    layout = random_layout(np.random.default_rng(5), count=3)
    batch = collate([shown(layout, 64)] * 8, lambda word: tokenizer(word)["input_ids"][1:-1], np.random.default_rng(0))
    for row in batch.tokens.tolist():
        text = tokenizer.decode([token for token in row[1:] if token not in (END, -1)])
        if -1 not in row:
            assert [token for token, _ in demo[1].tokenize(text)["l"][0]] == row


def test_known_words_have_rows_of_their_own_and_others_share_one(demo):
    """Oracle: the vocabulary; a word outside of it gets the fallback row."""
    clip = demo[1]
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight

    def rows(word: str) -> torch.Tensor:
        return table[[token for token, _ in clip.tokenize(word)["l"][0][1:] if token != END]]

    fallback = rows("zeppelin")[0]
    assert torch.equal(rows("contrabass")[0], fallback)
    for word in vocabulary():
        assert not (rows(word) == fallback).all(dim=1).any(), word


def test_the_encoder_is_the_closed_form(demo):
    """Oracle: latent_of, in NumPy; pictures that are not square among them."""
    for count, (height, width) in ((1, (128, 128)), (2, (64, 96)), (3, (96, 64))):
        drawing = draw(random_layout(np.random.default_rng(count), count=count), height=height, width=width)
        latent = demo[2].encode(torch.from_numpy(drawing.picture)[None])
        assert torch.allclose(latent[0] * SCALE, torch.from_numpy(latent_of(drawing.picture)), atol=2e-3)


def test_pictures_survive_the_autoencoder(demo):
    """Oracle: the closed-form checker; nine of ten drawn pictures are read the same after encoding and decoding."""
    right = 0
    for index in range(20):
        layout = random_layout(np.random.default_rng([8, index]), count=1 + index % 2, held_out=True)
        picture = draw(layout, height=128, width=128).picture
        back = demo[2].decode(demo[2].encode(torch.from_numpy(picture)[None]))[0].numpy()
        right += judge(back, layout).follows
        assert np.abs(back - picture).mean() < 0.06
    assert right >= 18


def test_tiled_coding_agrees_with_whole_coding(demo):
    """Oracle: the same without tiles; both halves of the autoencoder look at neighbours only."""
    picture = draw(random_layout(np.random.default_rng(1), count=2), height=256, width=256).picture
    pixels, vae = torch.from_numpy(picture)[None], demo[2]
    latent = vae.encode(pixels)
    assert torch.allclose(vae.encode_tiled(pixels, tile_x=128, tile_y=128, overlap=32), latent, atol=0.05)
    tiled = vae.decode_tiled(latent, tile_x=16, tile_y=16, overlap=4)
    assert (tiled - vae.decode(latent)).abs().mean() < 0.01


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_the_stock_sampler_runs_on_it(demo, size):
    """Oracle: finite latents that depend on the prompt, square and not, batch 2."""
    model, clip, _ = demo
    run = Run(size=size, batch=2, steps=3, cfg=3.0)
    night, snow = (
        sample(model, encode(clip, f"a photo of a red circle {where}"), encode(clip, ""), run)
        for where in ("at night", "in the snow")
    )
    assert night.shape == (2, 4, *size)
    assert night.isfinite().all()
    assert (night - snow).abs().mean() > 0.1


def test_a_run_far_from_its_size_is_told_and_no_other(demo):
    """Oracle: by hand; up to twice a side nothing is said, and nothing of another model."""
    assert size_hint(demo[0].model, 16, 16) == size_hint(demo[0].model, 32, 32) == size_hint(object(), 64, 64) == ""
    assert "this run is 512x768" in size_hint(demo[0].model, 96, 64)
    assert "128x128" in size_hint(demo[0].clone(force_deepcopy=True).model, 64, 64)


def test_the_host_can_copy_it_for_training(demo):
    """Oracle: the host's own deep copies; the copies are equal, separate, and can be trained."""
    with torch.inference_mode(False):
        for patcher in (demo[0], demo[1].patcher, demo[2].patcher):
            copy = patcher.clone(disable_dynamic=True, force_deepcopy=True)
            theirs, ours = dict(patcher.model.named_parameters()), dict(copy.model.named_parameters())
            assert theirs.keys() == ours.keys()
            for name, ours_too in ours.items():
                assert ours_too is not theirs[name]
                assert not ours_too.is_inference()
                assert torch.equal(ours_too, theirs[name])


def test_the_stock_lora_loader_changes_it_and_only_its_clone(demo):
    """Oracle: a LoRA made here, in the format of other tools; the picture changes, the model given does not."""
    model, clip, _ = demo
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    name = "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_v"
    height, width = model.model.state_dict()[keys[name]].shape
    generator = torch.Generator().manual_seed(0)
    lora = {
        f"{name}.lora_up.weight": torch.randn(height, 2, generator=generator),
        f"{name}.lora_down.weight": torch.randn(2, width, generator=generator),
    }
    positive, negative = encode(clip, "a photo of a blue star at night"), encode(clip, "")
    run = Run(size=(8, 8), steps=2)
    before = sample(model, positive, negative, run)
    changed, _ = comfy.sd.load_lora_for_models(model, clip, lora, 1.0, 1.0)
    assert not torch.allclose(sample(changed, positive, negative, run), before, atol=1e-3)
    assert torch.equal(sample(model, positive, negative, run), before)


def test_a_saved_checkpoint_holds_all_of_it(demo, tmp_path):
    """Oracle: the host's own checkpoint writer and SD1.5's key names."""
    path = tmp_path / "saved.safetensors"
    comfy.sd.save_checkpoint(str(path), demo[0], demo[1], demo[2])
    names = set(comfy.utils.load_torch_file(str(path)))
    assert "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight" in names
    assert "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight" in names
    assert "first_stage_model.taesd_decoder.1.weight" in names


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_broken_file_is_named(tmp_path, content):
    """Oracle: the message; a missing file among them."""
    path = tmp_path / "broken.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=r"broken\.safetensors can.t be read"):
        load_demo_model(path)


def test_the_nodes_hand_out_what_their_sockets_say():
    """Oracle: the schemas, and shapes worked out by hand."""
    model, clip, vae = DemoModel.execute().result
    assert (model.model_size() > 0, clip.tokenize("a")["l"] != [], vae.latent_channels) == (True, True, 4)
    for things in ("2", "3"):
        image, masks, *rest = DemoScene.execute(7, things, "exact", 160, 96).result
        assert image.shape == (1, 96, 160, 3)
        assert masks.shape == (int(things), 96, 160)
        singles, words, caption = rest[:3], rest[3], rest[4]
        assert all(single.shape == (1, 96, 160) for single in singles)
        assert (singles[2].max() == 0) == (things == "2")
        assert len(words.splitlines()) == int(things)
        assert caption.startswith("a photo of a")


def test_it_follows_prompts_as_the_card_says(demo):
    """Oracle: the closed-form checker; the card's share of right things, less what so few pictures can be off by."""
    seen = following(Studio(demo), layouts(31, PICTURES, 1))
    for part in ("finds", "shapes", "colours", "background"):
        share = FIGURES["one thing"][part]
        margin = 2.5 * (share * (1 - share) / PICTURES) ** 0.5 + 0.05
        assert getattr(seen, part) >= share - margin, part


def test_it_looks_where_the_things_are_as_the_card_says(demo):
    """Oracle: the true masks of drawn pictures; the card's IoU less 0.1, and shuffled words well below."""
    seen = looking_at_drawings(Studio(demo), 8)
    assert seen.own >= FIGURES["looking at drawings"]["own"] - 0.1
    assert seen.shuffled < 0.7 * seen.own


def test_captions_of_the_figures_are_held_out_combinations():
    """Oracle: an invariant; none of the prompts was trained on."""
    captions = [full_caption(layout) for count in (1, 2) for layout in layouts(31, 20, count)]
    assert len(set(captions)) > 35


def test_the_tokenizer_for_who_has_no_comfyui_is_made_for_the_words_that_the_model_knows(tmp_path, comfy_path):
    """Oracle: the command of its own docstring, from the host's vocabulary and the shipped weights, byte for byte."""
    made = tmp_path / "made.json"
    command = [sys.executable, ROOT / "devtools" / "as_pack.py", ROOT / "demo" / "tokenizer.py", comfy_path, made]
    subprocess.run(command, check=True)
    assert made.read_bytes() == DEMO_FILE.with_name("scenescope-demo-tokenizer.json").read_bytes()
