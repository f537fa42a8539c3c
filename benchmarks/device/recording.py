"""What recording costs on the device, for each back-end of the host's attention, and what is refused."""

from __future__ import annotations

import hashlib
import statistics
from importlib.util import find_spec
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
            if backend in NEEDED and find_spec(NEEDED[backend]) is None:
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
    runs = [lambda model=model: _sampled(bench, model, prompts, steps) for model in models]
    digests = {hashlib.sha256(run().float().cpu().numpy().tobytes()).hexdigest()[:12] for run in runs}
    spent: tuple[list[float], list[float]] = ([], [])
    peaks: dict[str, float] = {}
    for place, seconds in bench.meter.in_turn(runs, 1 if bench.rehearse else 5):
        spent[place].append(seconds)
        peaks |= {f"{name} {('plain', 'recorded')[place]}": value for name, value in bench.peaks().items()}
    ratio = statistics.median(with_it / without for without, with_it in zip(*spent, strict=True))
    plain, recorded = map(statistics.median, spent)
    same = "the same" if len(digests) == 1 else f"DIFFERENT: {', '.join(digests)}"
    return {"steps": steps, "plain s": plain, "recorded s": recorded, "ratio": ratio, "latents": same, **peaks}


def _sampled(bench: Bench, model: Any, prompts: list[Any], steps: int) -> torch.Tensor:
    from pack.host.recording.sampling import SamplerSettings, sample

    how = SamplerSettings(0, steps, 7.0, "euler", "normal")
    blank = {"samples": torch.zeros(1, 4, bench.side // 8, bench.side // 8)}
    return sample(model, prompts[0], prompts[1], blank, how)["samples"]


def compiled(bench: Bench) -> None:
    """A compiled model: it has to be refused when recording; what training does with it is noted."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
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
        scene, settings = bench.scene, lora_settings(phase1_steps=1, phase2_steps=1, prior="off")
        with training_ports(fast, clip, vae, scene, settings) as ports:
            concepts = train(scene, ports, settings)
        return {"outcome": f"trained, {len(concepts.low_rank)} layers"}

    bench.trying("recording", recorded)
    bench.trying("training", learned)
