"""Model calls that are not the plain ones: each is counted with its reason, none is recorded as what it is not."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.context_windows import ContextFuseMethods, ContextSchedules
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_tomesd import TomePatchModel
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import RecordingError
from pack.tests.support.host.runs import Run, conditioning, sample

SINGLE = Selection(precision=torch.float32)


def recorded(model: Any, selection: Selection = SINGLE, steps: int = 2) -> Recording:
    """Sample a watched clone."""
    watched, book = record_attention(model, selection)
    latent = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(steps=steps))
    return book.find(latent)[0]


def test_context_windows_are_named_and_not_called_tiles(sd15: Any) -> None:
    """Oracle: the host's own node on a batch of three pictures: two windows of two in each of two steps."""
    (windowed,) = ContextWindowsManualNode.execute(
        sd15, 2, 1, ContextSchedules.STATIC_STANDARD, 1, False, ContextFuseMethods.FLAT, 0, False
    ).result
    watched, book = record_attention(windowed, SINGLE)
    sample(watched, conditioning(seed=1), conditioning(seed=2), Run(batch=3))
    with pytest.raises(RecordingError, match=r"a context window, which sees a part.*Context Windows.* \(4 times\)"):
        book.find(None)
    short, short_book = record_attention(windowed, SINGLE)
    sample(short, conditioning(seed=1), conditioning(seed=2), Run(batch=2))
    assert len(short_book.find(None)[0].maps) == 2 * 2 * 16


def test_latents_that_a_sampler_enlarges_are_named_and_not_called_tiles(sd15: Any) -> None:
    """Oracle: the host's own sampler, which doubles 8x12 latents in two of three steps."""
    (sampler,) = SamplerLCMUpscale.execute(2.0, -1, "bilinear").result
    watched, book = record_attention(sd15, SINGLE)
    guider = comfy.samplers.CFGGuider(watched)
    guider.set_conds(conditioning(seed=1), conditioning(seed=2))
    sigmas = comfy.samplers.calculate_sigmas(sd15.get_model_object("model_sampling"), "normal", 3)
    guider.sample(torch.randn(1, 4, 8, 12), torch.zeros(1, 4, 8, 12), sampler, sigmas, disable_pbar=True, seed=0)
    recording = book.find(None)[0]
    assert {item.address.step for item in recording.maps} == {0}
    assert set(recording.skipped) == {
        f"a call for larger latents, {size} where the run began with 8x12 (a sampler that upscales)"
        for size in ("12x18", "16x24")
    }


def test_twice_as_many_keys_are_not_taken_for_a_repeated_prompt(sd15: Any) -> None:
    """Oracle: the reason; 154 keys are a multiple of 77, and yet half of them are another patch's."""
    owner = sd15.clone()

    def doubled(n: Any, context: Any, value: Any, extra: dict[str, Any]) -> Any:
        if extra["block"] != ("middle", 0):
            return n, context, value
        return n, torch.cat([context, 0.5 * context], dim=1), torch.cat([value, value], dim=1)

    owner.set_model_attn2_patch(doubled)
    recording = recorded(owner)
    assert dict(recording.skipped) == {"middle 0 cross: another patch gave 154 keys instead of 77": 2}
    assert len(recording.maps) == 2 * 2 * 15


def test_merged_tokens_have_no_place_on_the_grid_and_are_counted(sd15: Any) -> None:
    """Oracle: the host's own token merging; it merges the queries of self-attention at the latent's own grid."""
    merged = TomePatchModel.execute(sd15, 0.5).result[0]
    recording = recorded(merged, Selection(kinds=("cross", "self")))
    assert set(recording.skipped) == {
        f"{block} self: another patch gave 48 queries for a grid of 8x12"
        for block in ("input 1", "input 2", "output 9", "output 10", "output 11")
    }
    assert set(recording.skipped.values()) == {2}
    assert len(recording.maps) == 2 * 2 * (16 + 11)


def test_tiles_are_counted_and_not_taken_for_the_picture(sd15: Any) -> None:
    """Oracle: the reason; the left and the right half of an 8x12 latent are asked for one after the other."""
    tiled = sd15.clone()

    def halves(apply: Any, call: dict[str, Any]) -> torch.Tensor:
        parts = call["input"].chunk(2, dim=-1)
        return torch.cat([apply(part, call["timestep"], **call["c"]) for part in parts], dim=-1)

    tiled.set_model_unet_function_wrapper(halves)
    watched, book = record_attention(tiled, SINGLE)
    sample(watched, conditioning(seed=1), conditioning(seed=2))
    with pytest.raises(RecordingError, match=r"a call for a part of the picture, 8x6 of 8x12 .* \(4 times\)"):
        book.find(None)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WrappersMP.APPLY_MODEL, "a cached result instead of a model call (EasyCache or similar)"),
        (WrappersMP.CALC_COND_BATCH, "a cached result instead of a model call (EasyCache or similar)"),
        (WrappersMP.PREDICT_NOISE, "a step without a model call (LazyCache or similar)"),
    ],
)
def test_a_step_whose_answer_was_reused_is_counted(sd15: Any, kind: str, reason: str) -> None:
    """Oracle: by hand: of three steps the second is answered with the first one's result, on three floors."""
    cached = sd15.clone()
    kept: list[Any] = []

    def reuse(executor: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(kept[0] if len(kept) == 1 else executor(*args, **kwargs))
        return kept[-1]

    cached.add_wrapper_with_key(kind, "cache", reuse)
    recording = recorded(cached, steps=3)
    assert {item.address.step for item in recording.maps} == {0, 2}
    assert dict(recording.skipped) == {reason: 1}


def test_further_passes_are_counted_only_in_the_steps_asked_for(sd15: Any) -> None:
    """Oracle: by hand: a guidance pass in each of three steps, of which one was chosen."""
    import comfy.samplers

    guided = sd15.clone()

    def further(args: dict[str, Any]) -> Any:
        comfy.samplers.calc_cond_batch(
            args["model"], [args["cond"]], args["input"], args["sigma"], args["model_options"]
        )
        return args["denoised"]

    guided.set_model_sampler_post_cfg_function(further)
    recording = recorded(guided, Selection(steps="1"), steps=3)
    assert list(recording.skipped.values()) == [1]
    assert "a further pass of the same evaluation" in next(iter(recording.skipped))
