"""Generate from Tokens: the stock nodes' pictures, every prompt with every seed, and maps that find the tokens."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import comfy.model_management
import pytest
import torch
from pack.host.concepts import generate as generating
from pack.host.concepts.apply import apply_concepts
from pack.host.concepts.generate import Request, empty_latent, generate
from pack.host.prompts.words import words_asked
from pack.host.recording.sampling import SamplerSettings
from pack.nodes.generate import GenerateFromTokens, doubts_of
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import BudgetError, InputError
from pack.scenescope.training.scene.scene import Concept
from pack.tests.support.host.learned import made_up

import nodes as host_nodes

SAMPLER = SamplerSettings(seed=5, steps=2, cfg=3.0, sampler_name="euler_ancestral", scheduler="normal")
REQUEST = Request(
    prompt="a photo of {tokens}",
    which="all",
    negative="",
    seeds=2,
    sampler=SAMPLER,
    latent={},
    selection=Selection(branches=("positive",)),
)


def made(demo: tuple[Any, Any, Any], **changes: Any) -> Any:
    """Generate with made-up low-rank concepts, 96x64 pixels."""
    request = replace(REQUEST, **{"latent": empty_latent(96, 64), **changes})
    return generate(demo, made_up(demo, "lora"), request, None)


def stock(demo: tuple[Any, Any, Any], prompt: str, seed: int, latent: Any, denoise: float = 1.0) -> torch.Tensor:
    """Apply Concepts, then the stock nodes."""
    model, clip = apply_concepts(*demo[:2], made_up(demo, "lora"))
    encode = host_nodes.CLIPTextEncode().encode
    positive, negative = encode(clip, prompt)[0], encode(clip, "")[0]
    args = (seed, SAMPLER.steps, SAMPLER.cfg, SAMPLER.sampler_name, SAMPLER.scheduler)
    (result,) = host_nodes.KSampler().sample(model, *args, positive, negative, latent, denoise)
    return host_nodes.VAEDecode().decode(demo[2], result)[0]


def test_every_picture_is_what_the_stock_nodes_make(demo):
    """Oracle: Apply Concepts, CLIP Text Encode, KSampler and VAE Decode, prompt by prompt and seed by seed."""
    found = made(demo)
    assert found.prompts == ("a photo of <asset0>", "a photo of <asset1>", "a photo of <asset0> and <asset1>")
    pairs = [(prompt, seed) for prompt in found.prompts for seed in (5, 6)]
    theirs = torch.cat([stock(demo, prompt, seed, empty_latent(96, 64)) for prompt, seed in pairs])
    assert torch.equal(found.images, theirs)
    assert found.images.shape == (6, 64, 96, 3)
    assert len({picture.sum().item() for picture in found.images}) == 6
    assert found.grid.shape[0] == 1
    assert torch.equal(found.recorded, found.images[4:])
    assert [(word.label, word.columns) for word in found.words] == [("<asset0>", (4,)), ("<asset1>", (6,))]


@pytest.mark.parametrize(
    ("row", "words"), [(-1, "<asset0>, <asset1>"), (3, "<asset1>"), (1, "<asset0>"), (2, "<asset1>")]
)
def test_the_maps_are_those_of_the_chosen_prompt_with_a_picture_for_each_seed(demo, row, words):
    """Oracle: the same prompt generated alone, seed by seed; and the handles are found as words."""
    found = made(demo, row=row)
    view = View()
    matches = words_asked(found.recording, view, words)
    prompt = found.prompts[row if row < 0 else row - 1]
    assert found.recording.entries[0].table.prompt == prompt
    alone = [made(demo, prompt=prompt, seeds=1, sampler=replace(SAMPLER, seed=seed)) for seed in (5, 6)]
    values = torch.cat([heatmaps(one.recording, matches, view).values for one in alone])
    assert torch.equal(heatmaps(found.recording, matches, view).values, values)
    assert found.recording.images == 2


def test_a_masked_latent_keeps_what_the_mask_leaves(demo):
    """Oracle: the stock nodes from the same latent, and the latent itself where the mask is black."""
    start = host_nodes.VAEEncode().encode(demo[2], torch.rand(2, 64, 96, 3))[0]
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 48:] = 1
    (masked,) = host_nodes.SetLatentNoiseMask().set_mask(start, mask)
    first = {"samples": masked["samples"][:1], "noise_mask": masked["noise_mask"]}
    found = made(demo, prompt="a photo of <asset1>", seeds=1, latent=masked, sampler=replace(SAMPLER, denoise=0.8))
    assert torch.equal(found.images, stock(demo, "a photo of <asset1>", 5, first, 0.8))
    assert found.images.shape[0] == 1
    kept = host_nodes.VAEDecode().decode(demo[2], first)[0]
    difference = (found.images - kept).abs().mean(dim=(0, 1, 3))
    assert float(difference[:40].mean()) < 0.1 * float(difference[56:].mean())


def test_the_node_gives_pictures_grid_maps_and_prompts(demo):
    """Oracle: the same request to the adapter; every widget's own default where the editor gives one."""
    inputs = GenerateFromTokens.INPUT_TYPES()
    known = {name: options[1]["default"] for name, options in inputs["required"].items() if "default" in options[1]}
    known |= {"sampler_name": "euler_ancestral", "scheduler": "normal", "steps": 2, "cfg": 3.0, "seed": 5}
    known |= {"width": 96, "height": 64, "prompt": "a photo of {tokens}"}
    models = dict(zip(("model", "clip", "vae"), demo, strict=True))
    node = GenerateFromTokens.PREPARE_CLASS_CLONE(None)
    images, grid, recording, prompts, of_maps = node.execute(**models, concepts=made_up(demo, "lora"), **known).result
    wanted = made(demo)
    assert torch.equal(images, wanted.images)
    assert torch.equal(grid, wanted.grid)
    assert prompts.splitlines() == list(wanted.prompts)
    assert torch.equal(of_maps, images[-2:])
    assert recording.images == 2
    assert {entry.branch for entry in recording.entries if entry.table} >= {"positive"}


def test_a_latent_taken_from_a_batch_has_the_stock_nodes_noise(demo):
    """Oracle: the stock nodes from the second picture of a batch of three."""
    batch = host_nodes.EmptyLatentImage().generate(96, 64, 3)[0]
    (second,) = host_nodes.LatentFromBatch().frombatch(batch, 1, 1)
    found = made(demo, prompt="a photo of <asset1>", seeds=1, latent=second)
    assert torch.equal(found.images, stock(demo, "a photo of <asset1>", 5, second))
    assert not torch.equal(found.images, stock(demo, "a photo of <asset1>", 5, empty_latent(96, 64)))


def test_maps_over_the_budget_are_refused_before_anything_is_sampled(demo, monkeypatch):
    """Oracle: by hand: room for the maps of one picture, and two seeds; no picture is decoded."""
    one = made(demo, seeds=1).recording
    size = one.bytes_held
    enough = replace(REQUEST.selection, budget=2 * size)
    assert made(demo, selection=enough).recording.images == 2
    decoded: list[Any] = []
    monkeypatch.setattr(demo[2], "decode", decoded.append)
    with pytest.raises(BudgetError, match="2 seeds together may take .*. Lower the seeds"):
        made(demo, selection=replace(enough, budget=2 * size - 1))
    assert not decoded


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": replace(SAMPLER, denoise=0.0)}, "with denoise at 0 nothing is generated"),
        ({"prompt": "a photo of { Tokens }"}, r"the prompt has { Tokens }; did you mean {tokens}"),
        ({"prompt": "a photo of {} at the beach"}, r"the prompt has {}; did you mean {tokens}"),
        ({"negative": "no {tokens}"}, "the negative prompt has {tokens}, which only the prompt can use"),
    ],
)
def test_what_asks_for_nothing_is_refused(demo, changes, words):
    """Oracle: the messages."""
    with pytest.raises(InputError, match=re.escape(words)):
        made(demo, **changes)


@pytest.mark.parametrize(
    ("prompt", "negative", "said"),
    [
        ("a <asset0> and <asset9>", "<b>", ["<asset9> is not a token of", "<b> is not a token of"]),
        ("a <asset0>", "", []),
        ("a cat", "", ["The prompt of the maps names none of <asset0>, <asset1>"]),
        ("a <Asset0>", "", ["<Asset0> is not a token of these concepts: <asset0>, <asset1>"]),
    ],
)
def test_a_token_that_is_none_is_named(demo, prompt, negative, said):
    """Oracle: by hand: what stands in angle brackets and is no handle, letter by letter."""
    found = made(demo, prompt=prompt, seeds=1, negative=negative)
    cautions = doubts_of(found, made_up(demo, "lora"), negative)
    assert len(cautions) == len(said)
    assert all(caution.startswith(words) for caution, words in zip(cautions, said, strict=True))


def test_a_cancelled_run_says_where_it_stopped(demo, monkeypatch):
    """Oracle: the last text on the node: the second of four pictures is not finished."""
    told: list[str] = []
    monkeypatch.setattr(generating, "say_on_node", lambda node, text: told.append(text))
    decode = generating._decoded

    def interrupted(vae: Any, samples: torch.Tensor) -> torch.Tensor:
        picture = decode(vae, samples)
        comfy.model_management.interrupt_current_processing()
        return picture

    monkeypatch.setattr(generating, "_decoded", interrupted)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        made(demo, which="each alone")
    assert told[-1] == "Stopped at picture 2 of 4"


def test_a_handle_that_means_something_in_a_query_is_found_as_a_word(demo):
    """Oracle: by hand: `each` alone would ask for every word."""
    learned = made_up(demo, "rows")
    learned = replace(learned, concepts=(Concept("each"), Concept("#1")))
    request = replace(REQUEST, prompt="a photo of each and #1", seeds=1, latent=empty_latent(96, 64))
    assert [(word.label, word.columns) for word in generate(demo, learned, request, None).words] == [
        ("each", (4,)),
        ("#1", (6,)),
    ]


def test_a_row_that_is_not_there_and_too_many_pictures_are_refused_before_sampling(demo):
    """Oracle: the messages."""
    for row in (0, 4, -4):
        with pytest.raises(InputError, match=f"there is no prompt {row} to take the maps of. Choose 1 to 3, or -1"):
            made(demo, row=row)
    with pytest.raises(InputError, match="3 prompts with 43 seeds make 129 pictures; at most 128"):
        made(demo, seeds=43)


def test_an_interrupt_ends_the_run_and_leaves_the_models_alone(demo):
    """Oracle: the host's own exception, and the picture of the base model before and after."""
    before = (dict(demo[0].patches), dict(demo[0].model_options))
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        made(demo)
    assert (dict(demo[0].patches), dict(demo[0].model_options)) == before
    assert made(demo, seeds=1).images.shape[0] == 3


def test_the_largest_seed_is_followed_by_zero(demo):
    """Oracle: the picture of seed 0. The host's ancestral samplers themselves refuse the largest seed."""
    plain = replace(SAMPLER, sampler_name="euler")
    last = made(demo, prompt="<asset0>", sampler=replace(plain, seed=2**64 - 1))
    first = made(demo, prompt="<asset0>", seeds=1, sampler=replace(plain, seed=0))
    assert torch.equal(last.images[1:], first.images)
