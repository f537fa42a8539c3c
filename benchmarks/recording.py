"""What recording costs: time over sampling without it, memory held, and the peak that self-attention adds.

Time is measured on the full-size U-Net with random weights, a run without and a run with recording in turn, as CPU
seconds of the process; `dev.py bench gpu` measures it on a GPU. Memory is measured on a small U-Net with
SD1.5's heads and grids, whose maps are as large as the full-size one's.

    python dev.py bench recording
    python dev.py bench recording --pixels 256 --repeats 1      (a quick look)
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench recording"))

import comfy.ldm.modules.attention as host_attention  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.lab.markdown import table  # noqa: E402
from pack.benchmarks.lab.meter import Meter  # noqa: E402
from pack.host.recording.unet import record_attention  # noqa: E402
from pack.scenescope.attention.record.selection import Selection  # noqa: E402
from pack.tests.support.host import layouts  # noqa: E402
from pack.tests.support.host.checkpoint import full_size  # noqa: E402
from pack.tests.support.host.runs import Run, conditioning, sample  # noqa: E402

REDUCED = Selection(kinds=("self",), self_times=2)
WHOLE = Selection(kinds=("self",), self_times=1, blocks="input 1")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pixels", type=int, default=512, help="side of the picture")
    reader.add_argument("--steps", type=int, default=1, help="sampler steps of one run")
    reader.add_argument("--repeats", type=int, default=5, help="pairs of runs")
    reader.add_argument("--only", choices=("time", "memory"), help="one part alone")
    return reader.parse_args()


def sampled(model: Any, pixels: int, steps: int) -> None:
    """One run at CFG 7, a prompt of 77 tokens on either side."""
    width = model.model.model_config.unet_config["context_dim"]
    positive, negative = conditioning(seed=1, width=width), conditioning(seed=2, width=width)
    sample(model, positive, negative, Run(size=(pixels // 8, pixels // 8), steps=steps))


def overhead(options: argparse.Namespace) -> tuple[float, float, float]:
    """Compare runs with all 16 cross layers, both branches and every step recorded with runs without.

    Returns:
        seconds without, seconds with, ratio; medians over the pairs
    """
    host_attention.optimized_attention = host_attention.attention_sub_quad
    model, _, _ = full_size()
    watched, _ = record_attention(model, Selection())
    runs = [lambda own=own: sampled(own, options.pixels, options.steps) for own in (model, watched)]
    runs[0]()  # loads the weights, warms the caches
    spent: tuple[list[float], list[float]] = ([], [])
    for place, seconds in Meter(model.load_device).in_turn(runs, options.repeats):
        spent[place].append(seconds)
    ratios = [with_it / without for without, with_it in zip(*spent, strict=True)]
    return statistics.median(spent[0]), statistics.median(spent[1]), statistics.median(ratios)


def held(model: Any, steps: int) -> int:
    """Bytes of the maps of a run."""
    watched, book = record_attention(model, Selection())
    sampled(watched, 512, steps)
    return book.find(None)[0].bytes_held


def added_by(model: Any, selection: Selection) -> int:
    """Peak that a recorded run adds to the same run without, in bytes."""
    watched, _ = record_attention(model, selection)
    sampled(model, 512, 1)  # warms up
    without, recorded = (peak_during(lambda own=own: sampled(own, 512, 1)) for own in (model, watched))
    return recorded - without


def peak_during(run: Callable[[], None]) -> int:
    """The most that tensors take at one time while something runs, counted at the allocator, in bytes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    ordered = sorted(changes, key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in ordered))


def print_memory() -> None:
    """Measure a U-Net with SD1.5's 16 blocks and 8 heads, on the back-end that needs least memory of its own."""
    host_attention.optimized_attention = host_attention.attention_pytorch
    model = layouts.build(layouts.SD15)
    kept = {steps: held(model, steps) for steps in (2, 6)}
    rows = [[str(steps), f"{size / 1e6:.2f} MB", f"{size / steps / 2e6:.2f} MB"] for steps, size in kept.items()]
    print(table(["steps", "maps held", "per step and branch"], rows))
    what = {"16 layers, reduced to 32x32": REDUCED, "one layer whole, 4096x4096": WHOLE}
    rows = [[name, f"{added_by(model, selection) / 1e6:.0f} MB"] for name, selection in what.items()]
    print("\n" + table(["self-attention at 64x64, both branches", "peak above the same run without"], rows))


def main() -> None:
    """Measure and print."""
    options = arguments()
    torch.set_num_threads(1)  # threads that wait for each other burn time of their own
    with torch.inference_mode():
        if options.only != "time":
            print_memory()
        if options.only != "memory":
            without, recorded, ratio = overhead(options)
            row = ["a run", f"{without:.2f} s", f"{recorded:.2f} s", f"{ratio:.3f}"]
            print("\n" + table([f"{options.pixels}x{options.pixels}", "without", "with", "ratio"], [row]))


if __name__ == "__main__":
    main()
