"""A pipeline's runs are seen, and left as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from diffusers.models.attention_processor import (
    AttnProcessor,
    AttnProcessor2_0,
    FusedAttnProcessor2_0,
    SlicedAttnProcessor,
)
from pack.diffusers_adapter import Scope
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import BudgetError, HostError, InputError, RecordingError, WordError
from pack.tests.support.pipelines import NOT_OURS, PROMPT, painted, scheduler_of, small_pipeline

pytestmark = NOT_OURS

BOTH = Selection(kinds=("cross", "self"), heads="each", precision=torch.float32, self_times=1)


def hooks_of(pipe: Any) -> int:
    """Hooks on all modules, and wrappers on the pipeline and its scheduler."""
    modules = [module for part in (pipe.unet, pipe.text_encoder) for module in part.modules()]
    wrapped = ("encode_prompt" in vars(pipe)) + ("step" in vars(pipe.scheduler))
    return wrapped + sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0, lambda: SlicedAttnProcessor(2)])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_recording_leaves_the_picture_unchanged(processor, guidance):
    """Oracle: the same call without recording, bit for bit; with torch's fused kernel and with others."""
    pipe = small_pipeline()
    before = pipe.unet.attn_processors
    pipe.unet.set_attn_processor(processor())
    plain = painted(pipe, guidance_scale=guidance)
    with Scope(pipe).record(BOTH) as session:
        seen = painted(pipe, guidance_scale=guidance)
    again = painted(pipe, guidance_scale=guidance)
    pipe.unet.set_attn_processor(before)
    assert torch.equal(plain, seen)
    assert torch.equal(plain, again)
    assert {item.address.branch for item in session.recording.maps} == (
        {"positive"} if guidance == 1 else {"positive", "negative"}
    )
    assert not session.recording.skipped


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_pipeline_in_half_precision_is_recorded(precision):
    """Oracle: the same call without recording, bit for bit; each row of a map sums to 1."""
    whole = small_pipeline()
    parts = ("unet", "text_encoder", "vae")
    pipe = small_pipeline(**{name: copy.deepcopy(getattr(whole, name)).to(precision) for name in parts})
    plain = painted(pipe)
    with Scope(pipe).record() as session:
        seen = painted(pipe)
    assert torch.equal(plain, seen)
    assert all(item.maps.float().sum(-1).sub(1).abs().max() < 1e-3 for item in session.recording.maps)
    assert not session.recording.skipped


def test_a_map_is_the_softmax_of_the_layers_own_queries_and_keys():
    """Oracle: a slow float64 reference of the middle block's cross-attention, from hooks of the test's own."""
    pipe, seen = small_pipeline(), {}
    layer = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    hooks = [
        getattr(layer, name).register_forward_hook(lambda module, args, output, own=name: seen.setdefault(own, output))
        for name in ("to_q", "to_k")
    ]
    with Scope(pipe).record(BOTH) as session:
        painted(pipe, guidance_scale=3.0)
    for hook in hooks:
        hook.remove()
    query, key = (
        seen[name][1].double().unflatten(-1, (layer.heads, -1)).transpose(0, 1) for name in ("to_q", "to_k")
    )  # (head place channel); row 1 is the positive prompt's
    wanted = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)
    place = (0, "middle 0", "cross", "positive")
    (found,) = (
        item.maps[0]
        for item in session.recording.maps
        if (item.address.step, item.address.block, item.address.kind, item.address.branch) == place
    )
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("scheduler", "evaluations"),
    [
        (DDIMScheduler, 3),
        (PNDMScheduler, 4),
        (EulerAncestralDiscreteScheduler, 3),
        (HeunDiscreteScheduler, 5),
        (DPMSolverMultistepScheduler, 3),
        (LCMScheduler, 3),
    ],
)
def test_each_call_of_the_u_net_is_a_step_of_its_own(scheduler, evaluations):
    """Oracle: the number of calls that each scheduler asks for three steps, by its documentation."""
    options = {"skip_prk_steps": True} if scheduler is PNDMScheduler else {}
    pipe = small_pipeline(scheduler_of(scheduler, **options))
    with Scope(pipe).record() as session:
        painted(pipe)
    recording = session.recording
    assert sorted({item.address.step for item in recording.maps}) == list(range(evaluations))
    assert {item.address.evaluation for item in recording.maps} == {0}
    assert len(recording.sigmas) == evaluations + 1
    assert recording.sigmas[-1] == 0
    assert recording.about["sampler"] == scheduler.__name__


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler])
def test_maps_of_a_changed_picture_have_the_noise_that_they_were_made_at(scheduler):
    """Oracle: the timesteps that the U-Net is called with, read by a hook of the test's own, and the model's signal."""
    pipe, called = StableDiffusionImg2ImgPipeline(**small_pipeline(scheduler_of(scheduler)).components), []
    pipe.set_progress_bar_config(disable=True)
    hook = pipe.unet.register_forward_pre_hook(lambda module, args: called.append(int(args[1])))
    with Scope(pipe).record() as session:
        painted(pipe, image=torch.rand(1, 3, 64, 64), strength=0.5, num_inference_steps=6)
    hook.remove()
    signal = pipe.scheduler.alphas_cumprod[called]
    wanted = [*((1 - signal) / signal).sqrt().tolist(), 0.0]
    assert len(called) == len(wanted) - 1 > 2
    assert session.recording.sigmas == pytest.approx(wanted, rel=0.01)
    assert sorted({item.address.step for item in session.recording.maps}) == list(range(len(called)))


def test_pictures_of_a_batch_are_told_apart():
    """Oracle: the same picture alone."""
    pipe = small_pipeline()
    latents = torch.randn((2, 4, 8, 12), generator=torch.Generator().manual_seed(2))
    with Scope(pipe).record(Selection(precision=torch.float32)) as session:
        painted(pipe, num_images_per_prompt=2, latents=latents)
        painted(pipe, latents=latents[1:])
    both, alone = session.recordings
    assert (both.images, alone.images) == (2, 1)
    for one, other in zip(both.maps, alone.maps, strict=True):
        torch.testing.assert_close(one.maps[1:], other.maps, atol=1e-5, rtol=0)


def test_each_call_in_a_session_leaves_its_own_recording():
    """Oracle: the prompts' own words."""
    scope = Scope(small_pipeline())
    with scope.record() as session:
        painted(scope.pipe, "a red star", negative_prompt="a heart")
        painted(scope.pipe, "snow")
    words = [[word.label for word in scope.words(recording)] for recording in session.recordings]
    assert words == [["a", "red", "star"], ["snow"]]
    negative = scope.words(session.recordings[0], "", View(branch="negative"))
    assert [word.label for word in negative] == ["a", "heart"]
    assert session.recording is session.recordings[-1]


def test_nothing_stays_on_the_pipeline_after_a_session_and_after_an_error():
    """Oracle: hooks and wrappers counted before and after; a callback that raises in the middle of a run."""
    pipe = small_pipeline()
    before = hooks_of(pipe)

    def fail(*args: Any) -> Any:
        raise ConnectionError("in the middle")

    session = Scope(pipe).record()
    with pytest.raises(ConnectionError), session:
        painted(pipe, callback_on_step_end=fail)
    assert hooks_of(pipe) == before
    with pytest.raises(RecordingError, match="no run was recorded. Call the pipeline inside"):
        _ = session.recording


def test_what_cannot_be_recorded_is_counted_with_its_reason():
    """Oracle: fused projections, which never call the layers that show queries and keys."""
    pipe = small_pipeline()
    pipe.unet.fuse_qkv_projections()
    pipe.unet.set_attn_processor(type("OfSomebody", (FusedAttnProcessor2_0,), {})())  # nothing tells that it is fused
    try:
        with pytest.raises(RecordingError, match="nothing was recorded"), Scope(pipe).record(Selection()):
            painted(pipe)
    finally:
        pipe.unet.unfuse_qkv_projections()


def test_different_prompts_at_once_are_refused_and_equal_ones_are_not():
    """Oracle: the message; a recording has one prompt's words."""
    scope = Scope(small_pipeline())
    with (
        pytest.raises(InputError, match="2 different prompts at once, but a recording has the words of only one"),
        scope.record(),
    ):
        painted(scope.pipe, ["a star", "a heart"])
    with scope.record() as session:
        painted(scope.pipe, ["a star", "a star"])
    assert session.recording.images == 2


def test_embeddings_in_place_of_a_prompt_are_recorded_without_words():
    """Oracle: the maps of the same prompt as text, and the message."""
    scope = Scope(small_pipeline())
    positive, negative = scope.pipe.encode_prompt(PROMPT, "cpu", 1, True)
    with scope.record() as session:
        painted(scope.pipe)
        painted(scope.pipe, None, prompt_embeds=positive, negative_prompt_embeds=negative)
    text, vectors = session.recordings
    for one, other in zip(text.maps, vectors.maps, strict=True):
        assert torch.equal(one.maps, other.maps)
    with pytest.raises(WordError, match="the positive prompt of this run is not known, because"):
        scope.words(vectors)


def test_a_selection_over_its_budget_is_refused_before_anything_is_sampled():
    """Oracle: the error comes at the first call of the U-Net."""
    pipe, calls = small_pipeline(), []
    hook = pipe.unet.conv_in.register_forward_hook(lambda *args: calls.append(1) and None)
    with pytest.raises(BudgetError), Scope(pipe).record(Selection(budget=1000)):
        painted(pipe)
    hook.remove()
    assert not calls


def test_a_compiled_u_net_is_refused():
    """Oracle: the message; torch marks what it compiles in place."""
    pipe = small_pipeline()
    pipe.unet.mid_block._compiled_call_impl = pipe.unet.mid_block._call_impl
    try:
        with pytest.raises(HostError, match="compiled with torch.compile, and compiled code does not run the hooks"):
            Scope(pipe).record()
    finally:
        pipe.unet.mid_block._compiled_call_impl = None


def test_fused_projections_are_refused():
    """Oracle: diffusers' own switch, on and off; fused layers for queries and keys are never called."""
    scope = Scope(small_pipeline())
    scope.pipe.fuse_qkv_projections()
    try:
        with pytest.raises(HostError, match=r"fused.*unfuse_qkv_projections"), scope.record():
            pass
    finally:
        scope.pipe.unfuse_qkv_projections()
    with scope.record():
        pass
