"""What training costs: a step's time and memory beside the reference's loop, and the room that full-size SD1.5 takes.

Part `cost`: CPU seconds of one thread (on a GPU: wall seconds between synchronised ends) and peak memory of a step,
medians over several rounds, beside a straightforward loop that materialises every attention layer, puts a class picture
into every batch, and in its second phase trains all weights with AdamW. It encodes each picture once, as ours does and
the reference does not, so it is given less to do than the reference.

Part `room`: whether full-size SD1.5 trains on a small machine: `lora` at 512x512 and `full` at 256x256, in single
precision; the whole process is counted, the user's MODEL, CLIP and VAE among it. Wanted: 20 GiB at most.

Each variant runs in a process of its own, in turn.

    python dev.py bench training
    python dev.py bench training --only cost --demo --pixels 128 --rounds 1      (a quick look)
    python dev.py bench training --only room --checkpointing
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pack.benchmarks.lab.plain_loop import straightforward, two_things
from pack.devtools.comfyui import need_comfyui, use_comfyui

OURS = {
    "phase 1": {"phase1_steps": 99, "phase2_steps": 0, "prior": "off"},
    "lora, no prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "off"},
    "lora, frozen prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "frozen"},
}
LOOPS = {"straightforward, phase 1": False, "straightforward, all weights": True}
ROOM = {"lora": 512, "full": 256}
"""Sides of the pictures of part `room`, by mode."""
LIMIT = 20 * 2**30
GOALS = {"phase 1": 0.5, "lora, no prior": 0.55, "lora, frozen prior": 0.7}
"""Of the time of a step of the straightforward loop with all weights; memory: half."""
SIDE = 256
STATUS = Path("/proc/self/status")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--only", choices=("cost", "room"), help="one part")
    reader.add_argument("--pixels", type=int, help="side of the picture (256; part room: 512 for lora, 256 for full)")
    reader.add_argument("--steps", type=int, default=3, help="measured steps of each variant and round")
    reader.add_argument("--rounds", type=int, default=2, help="times that every variant is run")
    reader.add_argument("--demo", action="store_true", help="on the demo model in place of the full size")
    reader.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    reader.add_argument("--checkpointing", action="store_true", help="part room: blocks are computed twice")
    reader.add_argument("--variant", choices=(*OURS, *LOOPS, *ROOM), help=argparse.SUPPRESS)
    return reader.parse_args()


def parts(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE, full size with random weights or the demo model's."""
    if options.demo:
        from pack.host.demo import load_demo_model

        return load_demo_model()
    import comfy.sd
    from pack.tests.support.host.checkpoint import checkpoint

    loaded = comfy.sd.load_checkpoint_guess_config(str(checkpoint()), output_clip=True, output_vae=True)
    return loaded[0], loaded[1], loaded[2]


def steps_of(options: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """Prepare a variant; yields its step once."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run
    from pack.scenescope.training.settings import lora_settings

    name, pictured = options.variant, two_things(options.pixels or SIDE)
    settings = lora_settings(**OURS.get(name, OURS["phase 1"]), precision=options.precision)
    with training_ports(*parts(options), pictured, settings) as ports:
        if name in LOOPS:
            yield from straightforward(ports, everything=LOOPS[name])
        else:
            with Run(pictured, ports, settings) as run:
                yield lambda: run.advance() and None


def measure(options: argparse.Namespace) -> None:
    """Run one variant in this process, and print its seconds per step and peak memory as JSON."""
    on_gpu = torch.cuda.is_available()
    torch.set_num_threads(1)
    spent = []
    with torch.inference_mode():  # as the host runs nodes
        for step in steps_of(options):
            forget_peak()
            for _ in range(options.steps + 1):
                if on_gpu:
                    torch.cuda.synchronize()
                began = time.perf_counter() if on_gpu else time.process_time()
                step()
                if on_gpu:
                    torch.cuda.synchronize()
                spent.append((time.perf_counter() if on_gpu else time.process_time()) - began)
    print(json.dumps({"seconds": spent[1:], "peak": torch.cuda.max_memory_allocated() if on_gpu else peak()}))


def forget_peak() -> None:
    """Have the kernel count the peak anew, where it can: loading a model takes more than some of the training."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak() -> int:
    """Largest resident memory of this process in bytes: since `forget_peak` on Linux, else since its start."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def take_room(options: argparse.Namespace) -> None:
    """Train both phases of one mode in this process; prints seconds a step, the process's peak and the last loss."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import train
    from pack.scenescope.training.settings import full_settings, lora_settings

    side, seconds, losses = options.pixels or ROOM[options.variant], {1: [], 2: []}, []
    preset = {"lora": lora_settings, "full": full_settings}[options.variant]
    settings = preset(phase1_steps=options.steps, phase2_steps=options.steps, prior="frozen")
    began = time.perf_counter()

    def on_step(report: Any) -> None:
        nonlocal began
        seconds[report.phase].append(time.perf_counter() - began)
        began = time.perf_counter()
        losses.append(report.measured.masked)

    with torch.inference_mode():
        pictured, models = two_things(side), parts(options)
        with training_ports(*models, pictured, settings, checkpointing=options.checkpointing) as ports:
            began = time.perf_counter()
            train(pictured, ports, settings, on_step=on_step)
    medians = [statistics.median(values) for values in seconds.values()]
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": medians, "peak": largest, "loss": losses[-1], "side": side}))


def alone(name: str) -> dict[str, Any]:
    """Run one variant in a process of its own; what it measured."""
    script = Path(__file__).resolve()
    loader = script.parent.parent / "devtools" / "as_pack.py"
    command = [sys.executable, str(loader), str(script), *sys.argv[1:], "--variant", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cost(options: argparse.Namespace) -> None:
    """Measure a step of every variant in turn, and print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in (*LOOPS, *OURS)}
    peaks: dict[str, int] = dict.fromkeys(seconds, 0)
    for turn in range(options.rounds):
        for name in seconds:
            print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            found = alone(name)
            seconds[name] += found["seconds"]
            peaks[name] = max(peaks[name], found["peak"])
            print(f"    {statistics.median(found['seconds']):.2f} s, {found['peak'] / 2**30:.2f} GiB", file=sys.stderr)
    times = {name: statistics.median(values) for name, values in seconds.items()}
    (first, whole), side = LOOPS, options.pixels or SIDE
    print(f"\n{side}x{side}, {'demo model' if options.demo else 'full size'}, {options.precision}")
    print("| a step of | seconds | of all weights' | goal | of phase 1's | peak GiB | of all weights' |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, time_spent in times.items():
        row = [name, f"{time_spent:.2f}", f"{time_spent / times[whole]:.2f}", str(GOALS.get(name, ""))]
        row += [f"{time_spent / times[first]:.2f}", f"{peaks[name] / 2**30:.2f}", f"{peaks[name] / peaks[whole]:.2f}"]
        print(f"| {' | '.join(row)} |")


def room() -> bool:
    """Train each mode, print what it took, and say whether all fit."""
    fits = True
    for mode in ROOM:
        found = alone(mode)
        fits = fits and found["peak"] <= LIMIT
        (first, second), side = found["seconds"], found["side"]
        print(
            f"{mode} at {side}x{side}: {first:.1f} s a step in phase 1, {second:.1f} s in phase 2, peak "
            f"{found['peak'] / 2**30:.1f} GiB (wanted: {LIMIT / 2**30:.0f} at most), masked loss {found['loss']:.3f}"
        )
    return fits


def main() -> int:
    """Measure one variant in this process, or all of them, each in its own."""
    options = arguments()
    comfyui = need_comfyui("bench training")
    if options.variant:
        use_comfyui(comfyui)
        (take_room if options.variant in ROOM else measure)(options)
        return 0
    if options.only != "room":
        cost(options)
    return int(options.only != "cost" and not room())


if __name__ == "__main__":
    sys.exit(main())
