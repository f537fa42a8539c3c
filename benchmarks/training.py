"""What training costs: a step's time and memory beside the reference's loop.

CPU seconds of one thread (on a GPU: wall seconds between synchronised ends) and peak memory of a step, medians over
several rounds, beside a straightforward loop that materialises every attention layer, puts a class picture into every
batch, and in its second phase trains all weights with AdamW. It encodes each picture once, as ours does and the
reference does not, so it is given less to do than the reference. Each variant runs in a process of its own, in turn.

    python dev.py bench training
    python dev.py bench training --demo --pixels 128 --rounds 1      (a quick look)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.meter import Meter
from pack.benchmarks.lab.plain_loop import straightforward
from pack.devtools.as_pack import command
from pack.devtools.comfyui import need_comfyui, use_comfyui

OURS = {
    "phase 1": {"phase1_steps": 99, "phase2_steps": 0, "prior": "off"},
    "lora, no prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "off"},
    "lora, frozen prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "frozen"},
}
LOOPS = {"straightforward, phase 1": False, "straightforward, all weights": True}
GOALS = {"phase 1": 0.5, "lora, no prior": 0.55, "lora, frozen prior": 0.7}
"""Shares of the time of a step of the straightforward loop with all weights; for memory, half."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pixels", type=int, default=256, help="side of the picture (256)")
    reader.add_argument("--steps", type=int, default=3, help="measured steps of each variant and round")
    reader.add_argument("--rounds", type=int, default=2, help="times that every variant is run")
    reader.add_argument("--demo", action="store_true", help="on the demo model in place of the full size")
    reader.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    reader.add_argument("--variant", choices=(*OURS, *LOOPS), help=argparse.SUPPRESS)
    return reader.parse_args()


def steps_of(options: argparse.Namespace) -> Iterator[Callable[[], Any]]:
    """Prepare a variant, on full size with random weights or the demo model; yields its step once."""
    from pack.host.demo import load_demo_model
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run
    from pack.scenescope.training.settings import lora_settings
    from pack.tests.support.host.checkpoint import full_size
    from pack.tests.support.host.learning import small_scene

    name, pictured = options.variant, small_scene(options.pixels)
    settings = lora_settings(**OURS.get(name, OURS["phase 1"]), precision=options.precision)
    parts = load_demo_model() if options.demo else full_size()
    with training_ports(*parts, pictured, settings) as ports:
        if name in LOOPS:
            yield from straightforward(ports, everything=LOOPS[name])
        else:
            with Run(pictured, ports, settings) as run:
                yield run.advance


def measure(options: argparse.Namespace) -> None:
    """Run one variant in this process, and print its seconds per step and peak memory as JSON."""
    import comfy.model_management

    torch.set_num_threads(1)
    meter = Meter(comfy.model_management.get_torch_device())
    with torch.inference_mode():  # as the host runs nodes
        for step in steps_of(options):
            print(json.dumps({"seconds": meter.steps(step, 1, options.steps), "peak": meter.peak()}))


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
            found = alone(name)
            seconds[name] += found["seconds"]
            peaks[name] = max(peaks[name], found["peak"])
            told = f"{statistics.median(found['seconds']):.2f} s, {found['peak'] / 2**30:.2f} GiB"
            print(f"round {turn + 1} of {options.rounds}: {name}: {told}", file=sys.stderr, flush=True)
    times = {name: statistics.median(values) for name, values in seconds.items()}
    first, whole = LOOPS
    print(f"\n{options.pixels}x{options.pixels}, {'demo model' if options.demo else 'full size'}, {options.precision}")
    rows = []
    for name, spent in times.items():
        row = [name, f"{spent:.2f}", f"{spent / times[whole]:.2f}", str(GOALS.get(name, ""))]
        row += [f"{spent / times[first]:.2f}", f"{peaks[name] / 2**30:.2f}", f"{peaks[name] / peaks[whole]:.2f}"]
        rows.append(row)
    titles = ["seconds", "of all weights'", "goal", "of phase 1's", "peak GiB", "of all weights'"]
    print(table(["a step of", *titles], rows))


def main() -> None:
    """Measure one variant in this process, or all of them, each in its own."""
    options, comfyui = arguments(), need_comfyui("bench training")
    if options.variant:
        use_comfyui(comfyui, cpu=not torch.cuda.is_available())
        measure(options)
    else:
        cost(options)


if __name__ == "__main__":
    main()
