"""Recording next to everything else that patches attention, guides, or asks the model in its own way."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_perpneg import Guider_PerpNeg
from comfy_extras.nodes_sag import SelfAttentionGuidance
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE, Selection
from pack.scenescope.errors import RecordingError
from pack.tests.support.host.runs import Run, conditioning, sample

SINGLE = Selection(precision=torch.float32)
POSITIVE_PROMPT, NEGATIVE_PROMPT = conditioning(seed=1), conditioning(seed=2)


def run(model: Any, settings: Run | None = None) -> torch.Tensor:
    """Sample with two fixed prompts."""
    return sample(model, POSITIVE_PROMPT, NEGATIVE_PROMPT, settings)


def worst_difference(one: Recording, other: Recording) -> float:
    """The largest difference between the maps of two recordings with equal addresses."""
    assert [item.address for item in one.maps] == [item.address for item in other.maps]
    return max(float((a.maps - b.maps).abs().max()) for a, b in zip(one.maps, other.maps, strict=True))


@pytest.mark.parametrize("guidance", ["sag", "pag"])
def test_guidance_that_asks_the_model_again_changes_no_map_of_the_first_step(sd15: Any, guidance: str) -> None:
    """Oracle: the run without guidance: step 0 sees the same latent; and the extra passes are counted."""
    node = {"sag": SelfAttentionGuidance, "pag": PerturbedAttentionGuidance}[guidance]
    guided = node.execute(sd15, 0.5, 2.0)[0] if guidance == "sag" else node.execute(sd15, 3.0)[0]
    settings = Run(size=(16, 24))
    plain = run(guided, settings)
    watched, book = record_attention(guided, SINGLE)
    latent = run(watched, settings)
    assert torch.equal(plain, latent)
    with_guidance = book.find(latent)[0]
    assert list(with_guidance.skipped.values()) == [2]  # one further pass in each of two steps
    assert "SAG, PAG" in next(iter(with_guidance.skipped))
    bare, bare_book = record_attention(sd15, SINGLE)
    without = bare_book.find(run(bare, settings))[0]
    first = lambda address: address.step == 0  # noqa: E731
    assert len(with_guidance.maps) == 2 * 2 * 16
    assert worst_difference(with_guidance.where(first), without.where(first)) < 1e-6


def replace_everywhere(model: Any, calls: list[str]) -> Any:
    """A node that owns attn2's replace slot on every block, as adapters do: it adds attention of its own."""
    owner = model.clone()

    def foreign(q: Any, k: Any, v: Any, extra: dict[str, Any]) -> Any:
        calls.append(str(extra["block"]))
        return optimized_attention(q, k, v, extra["n_heads"]) + 0.1 * q

    for section, number in (
        [("input", n) for n in (1, 2, 4, 5, 7, 8)] + [("middle", 0)] + [("output", n) for n in range(3, 12)]
    ):
        owner.set_model_attn2_replace(foreign, section, number)
    return owner


@pytest.mark.parametrize("order", ["foreign first", "recorder first"])
def test_a_foreign_replace_patch_goes_on_working_and_is_recorded(sd15: Any, order: str) -> None:
    """Oracle: the foreign patch's own calls and picture without the recorder."""
    alone: list[str] = []
    plain = run(replace_everywhere(sd15, alone))
    together: list[str] = []
    if order == "foreign first":
        watched, book = record_attention(replace_everywhere(sd15, together), SINGLE)
    else:
        recorder, book = record_attention(sd15, SINGLE)
        watched = replace_everywhere(recorder, together)
    latent = run(watched)
    assert torch.equal(plain, latent)
    assert together == alone
    assert len(together) == 2 * 16
    recording = book.find(latent)[0]
    assert len(recording.maps) == 2 * 2 * 16
    assert not recording.skipped


def test_an_attention_override_goes_on_working_and_is_recorded(sd15: Any) -> None:
    """Oracle: the override's own count and picture without the recorder."""

    def overridden(model: Any, calls: list[int]) -> Any:
        owner = model.clone()

        def override(function: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return function(*args, **kwargs)

        owner.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
        return owner

    alone: list[int] = []
    together: list[int] = []
    plain = run(overridden(sd15, alone))
    watched, book = record_attention(overridden(sd15, together), SINGLE)
    latent = run(watched)
    assert torch.equal(plain, latent)
    assert len(alone) == len(together) == 2 * 32
    assert len(book.find(latent)[0].maps) == 2 * 2 * 16


def test_a_patch_that_enlarges_the_batch_is_counted_with_its_reason(sd15: Any) -> None:
    """Oracle: the reason, and the picture without the recorder."""

    def enlarged(model: Any) -> Any:
        owner = model.clone()

        def double(n: Any, context: Any, value: Any, extra: dict[str, Any]) -> Any:
            return torch.cat([n, n]), torch.cat([context, context]), torch.cat([value, value])

        def halve(n: Any, extra: dict[str, Any]) -> Any:
            return n[: n.shape[0] // 2]

        owner.set_model_attn2_patch(double)
        owner.set_model_patch(halve, "attn2_output_patch")
        return owner

    plain = run(enlarged(sd15))
    watched, book = record_attention(enlarged(sd15), SINGLE)
    latent = run(watched)
    assert torch.equal(plain, latent)
    with pytest.raises(RecordingError, match=r"nothing was recorded.*another patch changed the batch"):
        book.find(latent)


def test_a_patch_with_keys_of_its_own_is_counted_with_its_reason(sd15: Any) -> None:
    """Oracle: the reason; 80 keys are no multiple of 77."""
    owner = sd15.clone()

    def longer(n: Any, context: Any, value: Any, extra: dict[str, Any]) -> Any:
        if extra["block"] != ("middle", 0):
            return n, context, value
        more = context[:, :3]
        return n, torch.cat([context, more], dim=1), torch.cat([value, more], dim=1)

    owner.set_model_attn2_patch(longer)
    watched, book = record_attention(owner, SINGLE)
    recording = book.find(run(watched))[0]
    assert list(recording.skipped.items()) == [("middle 0 cross: another patch gave 80 keys instead of 77", 2)]
    assert "middle 0" not in {item.address.block for item in recording.maps}


def test_two_recorders_on_one_model_each_keep_their_own_selection(sd15: Any) -> None:
    """Oracle: each as if it were alone."""
    first, one = record_attention(sd15, Selection(blocks="down"))
    both, two = record_attention(first, Selection(blocks="up", steps="last"))
    latent = run(both)
    assert {item.address.block[:5] for item in one.find(latent)[0].maps} == {"input"}
    assert {item.address.step for item in two.find(latent)[0].maps} == {1}


def guided_by(guider: Any, latent: torch.Tensor) -> torch.Tensor:
    """Sample with a guider of the custom sampling nodes."""
    sigmas = comfy.samplers.calculate_sigmas(guider.model_patcher.get_model_object("model_sampling"), "normal", 2)
    noise = comfy.sample.prepare_noise(latent, 0)
    return guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)


def test_a_guider_with_three_prompts_gives_each_its_own_name(sd15: Any) -> None:
    """Oracle: the host asks DualCFG's prompts in reverse; each map equals that of a run with its prompt alone."""
    prompts = {POSITIVE: conditioning(seed=1), "middle": conditioning(seed=3), NEGATIVE: conditioning(seed=2)}
    watched, book = record_attention(sd15, SINGLE)
    guider = Guider_DualCFG(watched)
    guider.set_conds(*prompts.values())
    guider.set_cfg(3.0, 2.0)
    guided_by(guider, torch.zeros(1, 4, 8, 12))
    recording = book.find(None)[0]
    assert {entry.branch for entry in recording.entries} == set(prompts)
    for branch, prompt in prompts.items():
        alone, its_book = record_attention(sd15, Selection(precision=torch.float32, steps="0"))
        sample(alone, prompt, prompt, Run(cfg=1.0))
        ours = recording.where(lambda at, branch=branch: (at.step, at.branch) == (0, branch))
        theirs = its_book.find(None)[0]
        assert len(ours.maps) == 16
        pairs = zip(ours.maps, theirs.maps, strict=True)
        assert max(float((a.maps - b.maps).abs().max()) for a, b in pairs) < 1e-5


def test_perpendicular_negative_is_recorded_with_its_empty_prompt(sd15: Any) -> None:
    """Oracle: the guider's own three names."""
    watched, book = record_attention(sd15, SINGLE)
    guider = Guider_PerpNeg(watched)
    guider.set_conds(conditioning(seed=1), conditioning(seed=2), conditioning(seed=3))
    guider.set_cfg(4.0, 1.0)
    guided_by(guider, torch.zeros(1, 4, 8, 12))
    recording = book.find(None)[0]
    assert {item.address.branch for item in recording.maps} == {POSITIVE, NEGATIVE, "empty_negative_prompt"}
    assert len(recording.maps) == 3 * 2 * 16


@pytest.mark.parametrize(("times", "grid"), [(1, (16, 24)), (2, (8, 12)), (4, (4, 6))])
def test_self_attention_is_kept_at_the_resolution_asked_for(sd15: Any, times: int, grid: tuple[int, int]) -> None:
    """Oracle: grids by hand; rows go on summing to 1."""
    selection = Selection(kinds=("self",), self_times=times, precision=torch.float32, steps="0")
    watched, book = record_attention(sd15, selection)
    recording = book.find(run(watched, Run(size=(16, 24))))[0]
    at = {item.address.block: item for item in recording.maps if item.address.branch == POSITIVE}
    assert at["input 1"].query_grid == at["input 1"].key_grid == grid
    assert at["middle 0"].query_grid == (2, 3)
    for item in recording.maps:
        assert item.maps.shape[2:] == (item.query_grid.cells, item.query_grid.cells)
        assert torch.allclose(item.maps.sum(dim=-1), torch.ones(1), atol=1e-5)


def test_a_region_keeps_where_it_looks(sd15: Any) -> None:
    """Oracle: the mean over the region's rows of the map that was kept whole."""
    region = torch.zeros(128, 192)
    region[32:64, 64:128] = 1
    whole, whole_book = record_attention(
        sd15, Selection(kinds=("self",), self_times=1, precision=torch.float32, steps="0", blocks="input 1")
    )
    part, part_book = record_attention(
        sd15,
        Selection(
            kinds=("self",), self_times=1, precision=torch.float32, steps="0", blocks="input 1", self_region=region
        ),
    )
    settings = Run(size=(16, 24))
    full = whole_book.find(run(whole, settings))[0].maps[0].maps
    looks = part_book.find(run(part, settings))[0].maps[0].maps
    rows = [row * 24 + column for row in range(4, 8) for column in range(8, 16)]
    assert looks.shape == (1, 1, 1, 16 * 24)
    assert torch.allclose(looks[0, 0, 0], full[0, 0, rows].mean(dim=0), atol=1e-6)
