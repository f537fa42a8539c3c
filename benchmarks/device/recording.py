"""What recording costs on the device, for each back-end of the host's attention, and what is refused."""

from __future__ import annotations

import hashlib
import statistics
from typing import Any

import torch
from pack.benchmarks.device.bench import Bench

BACKENDS = ("pytorch", "sub_quad", "split", "xformers", "sage", "flash")
WAYS, FEW = {"pytorch": (5, 20)}, (2, 10)
"""How many of the ways to record, and steps of a run: all of them for the usual back-end alone, for want of time."""
NEEDED = {"xformers": "xformers", "sage": "sageattention", "flash": "flash_attn"}


def recording(bench: Bench) -> None:
    """Pairs of runs without and with recording, in turn: ratio of the times, the pictures' hashes, peaks."""
    import comfy.ldm.modules.attention as host_attention
    from pack.host.recording.unet import record_attention
    from pack.scenescope.attention.record.selection import Selection

    wanted = {
        "cross, mean": Selection(),
        "self /2": Selection(kinds=("self",), self_times=2),
        "each head": Selection(heads="each"),
        "queries": Selection(keep_queries=True),
        "self /4": Selection(kinds=("self",), self_times=4),
    }
    model, clip, _ = bench.models()
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a photo of a circle", "")]
    usual = host_attention.optimized_attention
    try:
        for backend in BACKENDS[:2] if bench.rehearse else BACKENDS:
            if backend in NEEDED and not _is_there(NEEDED[backend]):
                bench.note(backend, left_out=f"{NEEDED[backend]} is not installed")
                continue
            host_attention.optimized_attention = getattr(host_attention, f"attention_{backend}")
            every, steps = WAYS.get(backend, FEW)
            for name in list(wanted)[:every]:
                models = model, record_attention(model, wanted[name])[0]
                work = lambda models=models, steps=steps: _pairs(bench, models, prompts, steps)  # noqa: E731
                bench.trying(f"{backend}, {name}", work)
    finally:
        host_attention.optimized_attention = usual


def _pairs(bench: Bench, models: tuple[Any, Any], prompts: list[Any], steps: int) -> dict[str, Any]:
    """Alternating pairs of a plain and a recorded run, after one of each that warms up."""
    steps = 1 if bench.rehearse else steps
    digests = [_digest(_sampled(bench, model, prompts, steps)) for model in models]
    spent: list[list[float]] = [[], []]
    peaks: list[dict[str, float]] = [{}, {}]
    for turn in range(1 if bench.rehearse else 5):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            bench.meter.forget_peaks()
            spent[place].append(bench.meter.seconds(lambda: _sampled(bench, models[place], prompts, steps)))  # noqa: B023
            peaks[place] = bench.peaks()
    plain, recorded = map(statistics.median, spent)
    ratios = [with_it / without for without, with_it in zip(*spent, strict=True)]
    named = {f"{name} {when}": value for when, peak in zip(("plain", "recorded"), peaks, strict=True)
             for name, value in peak.items()}  # fmt: skip
    same = "the same" if digests[0] == digests[1] else f"DIFFERENT: {digests[0]}, {digests[1]}"
    return {"steps": steps, "plain s": plain, "recorded s": recorded, "ratio": statistics.median(ratios),
            "latents": same, **named}  # fmt: skip


def _sampled(bench: Bench, model: Any, prompts: list[Any], steps: int) -> torch.Tensor:
    from pack.host.recording.sampling import SamplerSettings, sample

    how = SamplerSettings(0, steps, 7.0, "euler", "normal")
    blank = {"samples": torch.zeros(1, 4, bench.side // 8, bench.side // 8)}
    return sample(model, prompts[0], prompts[1], blank, how)["samples"]


def _digest(latents: torch.Tensor) -> str:
    return hashlib.sha256(latents.float().cpu().numpy().tobytes()).hexdigest()[:12]


def _is_there(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def compiled(bench: Bench) -> None:
    """A compiled model: it has to be refused when recording; what training does with it is noted."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from pack.benchmarks.lab.plain_loop import two_things
    from pack.host.recording.unet import record_attention
    from pack.host.training.models import training_ports
    from pack.scenescope.attention.record.selection import Selection
    from pack.scenescope.errors import HostError
    from pack.scenescope.training.run.trainer import train
    from pack.scenescope.training.settings import lora_settings

    model, clip, vae = bench.models()
    fast = model.clone()
    set_torch_compile_wrapper(model=fast, backend="eager" if bench.rehearse else "inductor")
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a circle", "")]

    def recorded() -> dict[str, Any]:
        try:
            _sampled(bench, record_attention(fast, Selection())[0], prompts, 1)
        except HostError as error:
            return {"outcome": f"refused: {str(error)[:120]}"}
        return {"error": "it was recorded; expected a refusal"}

    def learned() -> dict[str, Any]:
        scene, settings = two_things(bench.side), lora_settings(phase1_steps=1, phase2_steps=1, prior="off")
        with training_ports(fast, clip, vae, scene, settings) as ports:
            concepts = train(scene, ports, settings)
        return {"outcome": f"trained, {len(concepts.low_rank)} layers"}

    bench.trying("recording", recorded)
    bench.trying("training", learned)
