"""What a training step costs on the device, in each precision, against float32 and against a straightforward loop."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import torch
from pack.benchmarks.device.bench import Bench
from pack.benchmarks.lab.plain_loop import straightforward

WARM, MEASURED = 3, 8


def training(bench: Bench) -> None:
    """Each mode, precision and checkpointing: seconds of a step, peaks, losses; one step's kernels."""
    models = bench.models()
    losses: dict[tuple[str, int], float] = {}
    ways = [("lora", precision, twice) for precision in ("float32", "bfloat16", "float16") for twice in (False, True)]
    ways += [("full", precision, False) for precision in ("float32", "bfloat16", "float16")]
    for mode, precision, twice in [ways[0], ways[3], ways[7]] if bench.rehearse else ways:
        name = f"{mode}, {precision}{', blocks twice' if twice else ''}"
        way = (mode, precision, twice)
        bench.trying(name, lambda way=way: _measured(bench, models, way, losses))
    bench.trying("kernels of a step, lora, bfloat16", lambda: _profiled(bench, models))
    for everything in (True,) if bench.rehearse else (False, True):
        name = f"straightforward loop, {'all weights' if everything else 'rows alone'}, float32"
        bench.trying(name, lambda everything=everything: _straightforward(bench, models, everything))


def _settings(mode: str, precision: str, steps: int) -> Any:
    from pack.scenescope.training.settings import full_settings, lora_settings

    preset = {"lora": lora_settings, "full": full_settings}[mode]
    return preset(phase1_steps=steps, phase2_steps=steps, precision=precision, prior="frozen", seed=1)


def _measured(
    bench: Bench, models: tuple[Any, ...], way: tuple[str, str, bool], losses: dict[tuple[str, int], float]
) -> dict[str, Any]:
    """Train both phases; medians of the steps after those that warm up."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run

    mode, precision, twice = way
    steps = 1 if bench.rehearse else WARM + MEASURED
    scene, settings, found = bench.scene, _settings(mode, precision, steps), {}
    with training_ports(*models, scene, settings, checkpointing=twice) as ports, Run(scene, ports, settings) as run:
        for phase in (1, 2):
            reports: list[Any] = []
            times = bench.steps(lambda: reports.append(run.advance()), WARM, MEASURED)  # noqa: B023
            loss = statistics.fmean(report.measured.masked for report in reports[-len(times) :])
            found[f"phase {phase} s a step"] = statistics.median(times)
            found |= {f"phase {phase} {name}": value for name, value in bench.peaks().items()}
            found[f"phase {phase} loss"] = loss
            if precision == "float32":
                losses.setdefault((mode, phase), loss)
            elif (mode, phase) in losses:
                found[f"phase {phase} loss over float32's"] = loss / losses[mode, phase]
    return found


def _profiled(bench: Bench, models: tuple[Any, ...]) -> dict[str, Any]:
    """The kernels that take most of one step of phase 2, in ms; in a rehearsal of phase 1."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run

    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [] if bench.rehearse else [torch.profiler.ProfilerActivity.CUDA]
    scene, settings = bench.scene, _settings("lora", "bfloat16", 2)
    if bench.rehearse:  # one step, of phase 1: taking its kernels in takes longer than the step
        settings = replace(settings, phase1_steps=1, phase2_steps=0)
    with training_ports(*models, scene, settings) as ports, Run(scene, ports, settings) as run:
        for _ in range(settings.steps - 1):
            run.advance()
        with torch.profiler.profile(activities=activities, acc_events=True) as profile:
            run.advance()
            bench.meter.module.synchronize()
    where = "cpu" if bench.rehearse else "device"
    most = sorted(profile.key_averages(), key=lambda event: -getattr(event, f"self_{where}_time_total"))[:6]
    return {event.key[:60]: round(getattr(event, f"self_{where}_time_total") / 1000, 2) for event in most}


def _straightforward(bench: Bench, models: tuple[Any, ...], everything: bool) -> dict[str, Any]:
    """Steps of the loop that does as the reference does."""
    from pack.host.training.models import training_ports

    settings = _settings("lora", "float32", 1)
    with training_ports(*models, bench.scene, settings) as ports:
        for step in straightforward(ports, everything=everything):
            return {"s a step": statistics.median(bench.steps(step, WARM, MEASURED)), **bench.peaks()}
    raise RuntimeError("the straightforward loop has no step")
