"""Every sampler and every patch of the host in a table: the picture is the same, and each map is the softmax by hand.

A run without the pack keeps queries and keys by hooks of its own; a float64 softmax of them is what every recorded map
has to be, at the sigma that the model was then asked at. A new host release is checked by this file in one go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.hooks
import comfy.lora
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_attention_multiply import UNetCrossAttentionMultiply, UNetSelfAttentionMultiply
from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_eps import EpsilonScaling, TemporalScoreRescaling
from comfy_extras.nodes_freelunch import FreeU, FreeU_V2
from comfy_extras.nodes_fresca import FreSca
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_mahiro import Mahiro
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from comfy_extras.nodes_model_downscale import PatchModelAddDownscale
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_tcfg import TCFG
from comfy_extras.nodes_tomesd import TomePatchModel
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE, Selection
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import slow_softmax

# The host's own: torchsde rounds the ends of a schedule, dpm_fast, dpm_adaptive and deis copy tensors, deis by numpy.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Should have t:UserWarning:torchsde"),
    pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]
BLOCKS = "input 1, input 7, middle 0, output 3, output 8"
CLOSE = 2e-6
_PLACE = re.compile(r"(input|middle|output)_block[s]?\.(\d+)(?:\.\d+)?\.transformer_blocks\.0\.attn2$")
Prompts = tuple[Any, Any]


@dataclass
class Evaluation:
    """What the model was asked, and the queries and keys (batch row channel) of its first call for each branch."""

    sigma: float
    kept: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor, int]] = field(default_factory=dict)


@contextmanager
def kept_without_the_pack(model: Any) -> Iterator[tuple[Any, list[Evaluation]]]:
    """A clone whose runs leave, for each evaluation, the queries and keys of every cross-attention."""
    clone, evaluations, order, queries = model.clone(), [], [], {}

    def ask(executor: Any, x: Any, timestep: torch.Tensor, *rest: Any, **more: Any) -> Any:
        evaluations.append(Evaluation(float(timestep.flatten()[0])))
        return executor(x, timestep, *rest, **more)

    def call(executor: Any, *given: Any, **more: Any) -> Any:
        options = more.get("transformer_options", given[5] if len(given) > 5 else {})
        order[:] = options["cond_or_uncond"]
        return executor(*given, **more)

    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "oracle", ask)
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "oracle", call)

    def keep(block: str, heads: int) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, key: torch.Tensor) -> None:
            query, rows = queries.pop(block), len(key) // len(order)
            for place, index in enumerate(order):
                part = slice(place * rows, (place + 1) * rows)
                branch = (POSITIVE, NEGATIVE)[index]
                evaluations[-1].kept.setdefault((branch, block), (query[part].clone(), key[part].clone(), heads))

        return hook

    hooks = []
    for name, module in clone.model.diffusion_model.named_modules():
        if found := _PLACE.search(name):
            block = f"{found.group(1)} {0 if found.group(1) == 'middle' else found.group(2)}"
            note = lambda module, inputs, query, block=block: queries.__setitem__(block, query)  # noqa: E731
            hooks.append(module.to_q.register_forward_hook(note))
            hooks.append(module.to_k.register_forward_hook(keep(block, module.heads)))
    try:
        yield clone, evaluations
    finally:
        for hook in hooks:
            hook.remove()


def checked(model: Any, run: Run, prompts: Prompts | None = None, *, fewer: int = 0) -> Recording:
    """Sample without the pack and with it, and compare latents, sigmas and every map.

    Args:
        model: with its patches.
        run: the sampler.
        prompts: positive and negative.
        fewer: evaluations that a cache answers, so that nothing of them can be recorded.
    """
    prompts = prompts or (conditioning(seed=1), conditioning(seed=2))
    with kept_without_the_pack(model) as (oracle, evaluations):
        plain = sample(oracle, *prompts, run)
    selection = Selection(precision=torch.float32, evaluations="all", blocks=BLOCKS)
    watched, book = record_attention(model, selection)
    latent = sample(watched, *prompts, run)
    assert torch.equal(plain, latent)
    recording = book.find(latent)[0]
    times = sorted({(item.address.step, item.address.evaluation) for item in recording.maps})
    asked = [one for one in evaluations if one.kept]
    assert len(times) == len(asked) == len(evaluations) - fewer
    for item in recording.maps:
        truth = asked[times.index((item.address.step, item.address.evaluation))]
        query, key, heads = truth.kept[item.address.branch, item.address.block]
        assert recording.sigma_of(item.address) == pytest.approx(truth.sigma)
        assert query.shape[1] == item.query_grid.cells
        wanted = slow_softmax(query, key[:, : item.maps.shape[-1]], heads).mean(dim=1, keepdim=True)
        assert float((item.maps.double() - wanted).abs().max()) < CLOSE
    return recording


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler_of_the_host_is_recorded_exactly(sd15: Any, sampler: str) -> None:
    """Oracle: the run without the pack, evaluation by evaluation; all blocks and both branches are there."""
    gentle = {"cfg": 1.1, "denoise": 0.2} if sampler == "dpm_adaptive" else {}  # 13 steps of its own, for 50
    recording = checked(sd15, Run(size=(8, 8), steps=3, sampler=sampler, **gentle))
    times = {(item.address.step, item.address.evaluation) for item in recording.maps}
    assert len(recording.maps) == len(times) * 5 * 2 or sampler.endswith("_cfg_pp")
    assert not recording.skipped


def result(node: Any, *given: Any, **more: Any) -> Any:
    """The MODEL of a node of either kind."""
    done = node.execute(*given, **more) if hasattr(node, "execute") else node().patch(*given, **more)
    return (done if isinstance(done, tuple) else done.result)[0]


def lora(model: Any) -> dict[str, torch.Tensor]:
    """A LoRA on queries and keys."""
    keys, generator, made = comfy.lora.model_lora_keys_unet(model.model, {}), torch.Generator().manual_seed(0), {}
    weights = model.model.state_dict()
    for part in ("to_q", "to_k"):
        name = f"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_{part}"
        tall, wide = weights[keys[name]].shape
        made[f"{name}.lora_up.weight"] = 0.3 * torch.randn(tall, 2, generator=generator)
        made[f"{name}.lora_down.weight"] = 0.3 * torch.randn(2, wide, generator=generator)
    return made


PATCHES: dict[str, Callable[[Any], Any]] = {
    "none": lambda model: model,
    "LoRA": lambda model: comfy.sd.load_lora_for_models(model, None, lora(model), 1.0, 0.0)[0],
    "LoRA in bypass mode": lambda model: comfy.sd.load_bypass_lora_for_models(model, None, lora(model), 1.0, 0.0)[0],
    "ModelSamplingDiscrete v": lambda model: result(ModelSamplingDiscrete, model, "v_prediction", False),
    "ModelSamplingDiscrete zsnr": lambda model: result(ModelSamplingDiscrete, model, "eps", True),
    "ModelSamplingDiscrete lcm": lambda model: result(ModelSamplingDiscrete, model, "lcm", False),
    "RescaleCFG": lambda model: result(RescaleCFG, model, 0.7),
    "PatchModelAddDownscale": lambda model: result(
        PatchModelAddDownscale, model, 3, 2.0, 0.0, 0.35, True, "bicubic", "bicubic"
    ),
    "FreeU": lambda model: result(FreeU, model, 1.1, 1.2, 0.9, 0.2),
    "FreeU_V2": lambda model: result(FreeU_V2, model, 1.3, 1.4, 0.9, 0.2),
    "FreSca": lambda model: result(FreSca, model, 1.0, 1.25, 4),
    "HyperTile": lambda model: result(HyperTile, model, 256, 2, 0, False),
    "Token merging": lambda model: result(TomePatchModel, model, 0.5),
    "PAG": lambda model: result(PerturbedAttentionGuidance, model, 3.0),
    "SAG": lambda model: result(SelfAttentionGuidance, model, 0.5, 2.0),
    "APG": lambda model: result(APG, model, 1.0, 5.0, 0.0),
    "TCFG": lambda model: result(TCFG, model),
    "Mahiro": lambda model: result(Mahiro, model),
    "CFGZeroStar": lambda model: result(CFGZeroStar, model),
    "CFGNorm": lambda model: result(CFGNorm, model, 1.0),
    "Epsilon scaling": lambda model: result(EpsilonScaling, model, 1.005),
    "Temporal score rescaling": lambda model: result(TemporalScoreRescaling, model, 0.95, 1.0),
    "Cross-attention multiply": lambda model: result(UNetCrossAttentionMultiply, model, 1.1, 0.9, 1.0, 1.0),
    "Self-attention multiply": lambda model: result(UNetSelfAttentionMultiply, model, 1.1, 0.9, 1.0, 1.0),
}


@pytest.mark.parametrize("patch", list(PATCHES))
def test_beside_every_patch_of_the_host_each_map_is_its_layers_own(sd15: Any, patch: str) -> None:
    """Oracle: the patched run without the pack; what is not recorded is counted, never wrong."""
    recording = checked(PATCHES[patch](sd15), Run(size=(16, 16), steps=3))
    assert len(recording.maps) == 3 * 5 * 2
    assert all("cross" not in reason for reason in recording.skipped)


@pytest.mark.parametrize("cache", [EasyCacheNode, LazyCacheNode], ids=["EasyCache", "LazyCache"])
def test_answers_of_a_cache_are_counted_and_the_others_exact(sd15: Any, cache: Any) -> None:
    """Oracle: the cached run without the pack: of its evaluations only those that called the model are there."""
    model = result(cache, sd15, 3.0, 0.0, 1.0, False)
    with kept_without_the_pack(model) as (oracle, evaluations):
        sample(oracle, conditioning(seed=1), conditioning(seed=2), Run(size=(8, 8), steps=6))
    reused = sum(not one.kept for one in evaluations)
    recording = checked(model, Run(size=(8, 8), steps=6), fewer=reused)
    assert sum(recording.skipped.values()) == 6 - len({item.address.step for item in recording.maps})


PROMPTS: dict[str, Callable[[Any], Prompts]] = {
    "longer positive": lambda model: (conditioning(154, seed=1), conditioning(seed=2)),
    "longer negative": lambda model: (conditioning(seed=1), conditioning(231, seed=2)),
    "LoRA hook": lambda model: (
        conditioning(seed=1, hooks=comfy.hooks.create_hook_lora(lora(model), 1.0, 1.0)),
        conditioning(seed=2),
    ),
}


@pytest.mark.parametrize("prompts", list(PROMPTS))
@pytest.mark.parametrize("batch", [1, 2])
def test_prompts_of_every_shape_are_recorded_exactly(sd15: Any, prompts: str, batch: int) -> None:
    """Oracle: the run without the pack; keys that the host repeats are added up in the softmax by hand."""
    positive, negative = PROMPTS[prompts](sd15)
    run = Run(size=(8, 8), steps=2, batch=batch)
    with kept_without_the_pack(sd15) as (oracle, evaluations):
        plain = sample(oracle, positive, negative, run)
    watched, book = record_attention(sd15, Selection(precision=torch.float32, blocks=BLOCKS))
    latent = sample(watched, positive, negative, run)
    assert torch.equal(plain, latent)
    recording = book.find(latent)[0]
    assert len(recording.maps) == 2 * 5 * 2
    for item in recording.maps:
        query, key, heads = evaluations[item.address.step].kept[item.address.branch, item.address.block]
        full, tokens = slow_softmax(query, key, heads).mean(dim=1, keepdim=True), item.maps.shape[-1]
        wanted = full.unflatten(-1, (-1, tokens)).sum(dim=-2)
        assert float((item.maps.double() - wanted).abs().max()) < CLOSE
