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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.meter import Meter
from pack.benchmarks.lab.plain_loop import straightforward, two_things
from pack.devtools.as_pack import command
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
"""Shares of the time of a step of the straightforward loop with all weights; for memory, half."""
SIDE = 256


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
    from pack.tests.support.host.checkpoint import full_size

    return full_size()


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
    import comfy.model_management

    torch.set_num_threads(1)
    meter, spent = Meter(comfy.model_management.get_torch_device()), []
    with torch.inference_mode():  # as the host runs nodes
        for step in steps_of(options):
            meter.forget_peaks()
            spent = [meter.seconds(step) for _ in range(options.steps + 1)]
    print(json.dumps({"seconds": spent[1:], "peak": meter.peak()}))


def take_room(options: argparse.Namespace) -> None:
    """Train both phases of one mode in this process; prints seconds a step, the peak on its device, the last loss."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run
    from pack.scenescope.training.settings import full_settings, lora_settings

    preset = {"lora": lora_settings, "full": full_settings}[options.variant]
    settings = preset(phase1_steps=options.steps, phase2_steps=options.steps, prior="frozen")
    side = options.pixels or ROOM[options.variant]
    with torch.inference_mode():
        pictured, models = two_things(side), parts(options)
        with (
            training_ports(*models, pictured, settings, checkpointing=options.checkpointing) as ports,
            Run(pictured, ports, settings) as run,
        ):
            ends = [time.perf_counter()]
            for _ in range(settings.steps):
                report = run.advance()
                ends.append(time.perf_counter())
    spent = [end - begin for begin, end in pairwise(ends)]
    medians = [statistics.median(spent[: options.steps]), statistics.median(spent[options.steps :])]
    peak = Meter(models[0].load_device).peak()  # of the whole process, or of all that was on the GPU
    print(json.dumps({"seconds": medians, "peak": peak, "loss": report.measured.masked, "side": side}))


def alone(name: str) -> dict[str, Any]:
    """Run one variant in a process of its own; what it measured."""
    words = command(__file__, *sys.argv[1:], "--variant", name)
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


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
    rows = []
    for name, spent in times.items():
        row = [name, f"{spent:.2f}", f"{spent / times[whole]:.2f}", str(GOALS.get(name, ""))]
        row += [f"{spent / times[first]:.2f}", f"{peaks[name] / 2**30:.2f}", f"{peaks[name] / peaks[whole]:.2f}"]
        rows.append(row)
    titles = ["seconds", "of all weights'", "goal", "of phase 1's", "peak GiB", "of all weights'"]
    print(table(["a step of", *titles], rows))


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
        use_comfyui(comfyui, cpu=not torch.cuda.is_available())
        (take_room if options.variant in ROOM else measure)(options)
        return 0
    if options.only != "room":
        cost(options)
    return int(options.only != "cost" and not room())


if __name__ == "__main__":
    sys.exit(main())
