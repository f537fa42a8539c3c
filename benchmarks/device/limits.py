"""Training where memory is scarce, and where it is cancelled; and a real server with the memory modes of the host."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pack.benchmarks.device.bench import GIB, Bench, error_text
from pack.devtools.comfyui import ROOT, need_comfyui
from pack.devtools.server import Place, Server

CAPS = (("lora", 6), ("lora", 8), ("full", 12))
MODES = {
    "dynamic VRAM": (),
    "--disable-dynamic-vram": ("--disable-dynamic-vram",),
    "--gpu-only": ("--gpu-only",),
    "--lowvram": ("--lowvram",),
    "--fast": ("--fast",),
}
EXAMPLE = "learn_one_concept"
STEPS = {"preset.phase1_steps": 8, "preset.phase2_steps": 12}
"""Of the example's training, in place of its own: what is asked is whether it goes."""
FEWEST = {**dict.fromkeys(STEPS, 1), "seeds": 1, "steps": 1, "sample_steps": 1}
"""In a rehearsal, all that takes time."""
LONGEST = 60.0  # seconds


class Cancelled(Exception):
    """Raised inside a step, as the host does."""


def memory(bench: Bench) -> None:
    """A run in capped memory ends well or with advice; one that is cancelled inside a step keeps its state."""
    models = bench.models()
    for mode, gib in CAPS[::2] if bench.rehearse else CAPS:
        bench.trying(f"{mode} in {gib} GiB", lambda mode=mode, gib=gib: _capped(bench, models, mode, gib))
    at = 2 if bench.rehearse else 3
    bench.trying(f"cancelled inside step {at}", lambda: _run(bench, models, "lora", cancel_at=at))


def _capped(bench: Bench, models: tuple[Any, ...], mode: str, gib: int) -> dict[str, Any]:
    module = bench.meter.module
    module.set_per_process_memory_fraction(min(1.0, gib * GIB / module.get_device_properties(0).total_memory))
    try:
        return _run(bench, models, mode)
    finally:
        module.set_per_process_memory_fraction(1.0)


def _run(bench: Bench, models: tuple[Any, ...], mode: str, cancel_at: int | None = None) -> dict[str, Any]:
    """Train two steps a phase, and tell how it ended, what was kept, and what is allocated afterwards."""
    from pack.host.training.memory import memory_errors
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.state import load_state
    from pack.scenescope.training.run.trainer import StateStore, train
    from pack.scenescope.training.settings import full_settings, lora_settings

    preset = {"lora": lora_settings, "full": full_settings}[mode]
    steps = 1 if bench.rehearse else 2
    scene, settings = bench.scene, preset(phase1_steps=steps, phase2_steps=steps, prior="frozen")
    bench.meter.forget_peaks()
    with tempfile.TemporaryDirectory() as place:
        store = StateStore(Path(place) / "state.safetensors", 99)
        try:
            with (
                memory_errors(models[0], models[1], scene, settings, checkpointing=False),
                training_ports(*models, scene, settings) as ports,
            ):
                _cancel_inside(ports.denoiser.unet, cancel_at)
                train(scene, ports, settings, keeping=store)
            ended = "trained"
        except Exception as error:  # noqa: BLE001  how it ends is what is asked
            ended = error_text(error)
        kept = f"step {load_state(store.path).step}" if store.path.exists() else "none"
    afterwards = round(bench.meter.module.memory_allocated() / GIB, 2)
    return {"ended": ended, "state": kept, **bench.peaks(), "allocated afterwards GiB": afterwards}


def _cancel_inside(unet: torch.nn.Module, step: int | None) -> None:
    """Break off in the middle of the U-Net's pass of a step, counted by passes without the prior's."""
    passes = 0

    def hook(*_: Any) -> None:
        nonlocal passes
        passes += torch.is_grad_enabled()
        if passes == step:
            raise Cancelled("cancelled inside a step")

    unet.middle_block[0].register_forward_pre_hook(hook)  # the host calls the layers of a block one by one


def server(bench: Bench) -> None:
    """An example that loads, records, trains, applies and samples, in a real server in each memory mode."""
    prompt, within = shortened(FEWEST if bench.rehearse else STEPS), LONGEST * (10 if bench.rehearse else 1)
    for mode, words in {"--cpu": ("--cpu",)}.items() if bench.rehearse else MODES.items():
        bench.trying(f"server, {mode}", lambda words=words: _served(words, prompt, within))


def shortened(counts: dict[str, int]) -> dict[str, Any]:
    """The example as a prompt for the server, with these numbers in place of its own."""
    prompt = json.loads((ROOT / "example_workflows" / "api" / f"{EXAMPLE}.json").read_text("utf-8"))
    given = [node["inputs"] for node in prompt.values()]
    if missing := counts.keys() - {name for inputs in given for name in inputs}:
        raise RuntimeError(f"{EXAMPLE}: no node has {', '.join(sorted(missing))}; expected inputs with these names")
    for inputs in given:
        inputs.update({name: count for name, count in counts.items() if name in inputs})
    return prompt


def _served(words: tuple[str, ...], prompt: dict[str, Any], within: float) -> dict[str, Any]:
    """Seconds that the server takes to begin, and the example in it."""
    comfyui, begun = need_comfyui("bench gpu"), time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="scenescope-") as base,
        Server(Place(comfyui, Path(sys.executable), Path(base), words)) as running,
    ):
        up = time.perf_counter()
        running.run(prompt, within=within)
        return {"up after s": up - begun, f"{EXAMPLE} s": time.perf_counter() - up}
