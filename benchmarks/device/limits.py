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
from pack.benchmarks.lab.plain_loop import two_things

CAPS = (("lora", 6), ("lora", 8), ("full", 12))
MODES = {
    "dynamic VRAM": (),
    "--disable-dynamic-vram": ("--disable-dynamic-vram",),
    "--gpu-only": ("--gpu-only",),
    "--lowvram": ("--lowvram",),
    "--fast": ("--fast",),
}
EXAMPLES = ("first_heatmap", "learn_one_concept")
LONGEST = 240.0  # seconds for one example


class Cancelled(Exception):
    """Raised inside a step, as the host does."""


def memory(bench: Bench) -> None:
    """A run in capped memory ends well or with advice; one that is cancelled inside a step keeps its state."""
    models = bench.models()
    for mode, gib in CAPS:
        bench.trying(f"{mode} in {gib} GiB", lambda mode=mode, gib=gib: _capped(bench, models, mode, gib))
    bench.trying("cancelled inside step 3", lambda: _run(bench, models, "lora", cancel_at=3))


def _capped(bench: Bench, models: tuple[Any, ...], mode: str, gib: int) -> dict[str, Any]:
    if bench.rehearse:
        return _run(bench, models, mode)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / total))
    try:
        return _run(bench, models, mode)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _run(bench: Bench, models: tuple[Any, ...], mode: str, cancel_at: int | None = None) -> dict[str, Any]:
    """Train two steps a phase, and tell how it ended, what was kept, and what is allocated afterwards."""
    from pack.host.training.memory import memory_errors
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.state import load_state
    from pack.scenescope.training.run.trainer import StateStore, train
    from pack.scenescope.training.settings import full_settings, lora_settings

    preset = {"lora": lora_settings, "full": full_settings}[mode]
    scene, settings = two_things(bench.side), preset(phase1_steps=2, phase2_steps=2, prior="frozen")
    bench.forget_peaks()
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
    return {"ended": ended, "state": kept, **bench.peaks(), **_allocated(bench)}


def _cancel_inside(unet: torch.nn.Module, step: int | None) -> None:
    """Break off in the middle of the U-Net's pass of a step, counted by passes without the prior's."""
    passes = 0

    def hook(*_: Any) -> None:
        nonlocal passes
        passes += torch.is_grad_enabled()
        if passes == step:
            raise Cancelled("cancelled inside a step")

    unet.middle_block[0].register_forward_pre_hook(hook)  # the host calls the layers of a block one by one


def _allocated(bench: Bench) -> dict[str, float]:
    return {} if bench.rehearse else {"allocated afterwards GiB": round(torch.cuda.memory_allocated() / GIB, 2)}


def server(bench: Bench) -> None:
    """Examples that load, record, train, apply and sample, in a real server in each of the host's memory modes."""
    for mode, words in {"--cpu": ("--cpu",)}.items() if bench.rehearse else MODES.items():
        bench.trying(f"server, {mode}", lambda words=words: _served(words, EXAMPLES[: 1 if bench.rehearse else 2]))


def _served(words: tuple[str, ...], examples: tuple[str, ...]) -> dict[str, Any]:
    """Seconds that each example takes."""
    from pack.devtools.comfyui import ROOT, find_comfyui
    from pack.devtools.server import Place, Server

    comfyui, found = find_comfyui(), {}
    assert comfyui is not None, "bench gpu looks for it first"
    with (
        tempfile.TemporaryDirectory(prefix="scenescope-") as base,
        Server(Place(comfyui, Path(sys.executable), Path(base), words)) as running,
    ):
        for name in examples:
            begun = time.perf_counter()
            running.run(json.loads((ROOT / "example_workflows" / "api" / f"{name}.json").read_text()), within=LONGEST)
            found[f"{name} s"] = time.perf_counter() - begun
    return found
