"""What recording costs: time over sampling without it, memory held, and the peak that self-attention adds.

Time is measured on the full-size U-Net with random weights, a run without and a run with recording in turn, as CPU
seconds of the process; `dev.py bench gpu` measures it on a GPU. Memory is measured on a small U-Net with
SD1.5's heads and grids, whose maps are as large as the full-size one's.

    python dev.py bench recording
    python devtools/as_pack.py benchmarks/recording.py --pixels 256 --repeats 1      (a quick look)
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
from itertools import accumulate
from typing import Any

import torch
from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.meter import Meter
from pack.devtools.as_pack import command
from pack.devtools.comfyui import need_comfyui, use_comfyui


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pixels", type=int, default=512, help="side of the picture")
    reader.add_argument("--steps", type=int, default=1, help="sampler steps of one run")
    reader.add_argument("--repeats", type=int, default=5, help="pairs of runs")
    reader.add_argument("--only", choices=("time", "memory"), help="one part alone")
    reader.add_argument("--added-by", choices=("reduced", "whole"), help=argparse.SUPPRESS)
    return reader.parse_args()


def overhead(options: argparse.Namespace) -> tuple[float, float, float]:
    """Compare runs with all 16 cross layers, both branches and every step recorded with runs without.

    Returns:
        seconds without, seconds with, ratio; medians over the pairs
    """
    import comfy.ldm.modules.attention as host_attention
    from pack.host.recording.unet import record_attention
    from pack.scenescope.attention.record.selection import Selection
    from pack.tests.support.host.checkpoint import full_size

    host_attention.optimized_attention = host_attention.attention_sub_quad
    model, _, _ = full_size()
    watched, _ = record_attention(model, Selection())
    sample_once(model, options)  # loads the weights, warms the caches
    pairs, meter = [], Meter(model.load_device)
    for turn in range(options.repeats):
        order = (model, watched) if turn % 2 == 0 else (watched, model)  # what drifts falls on both alike
        spent = {id(m): meter.seconds(lambda m=m: sample_once(m, options)) for m in order}
        pairs.append((spent[id(model)], spent[id(watched)], spent[id(watched)] / spent[id(model)]))
    without, recorded, ratio = (statistics.median(column) for column in zip(*pairs, strict=True))
    return without, recorded, ratio


def sample_once(model: Any, options: argparse.Namespace) -> None:
    """One run at the chosen size, CFG 7, a prompt of 77 tokens on either side."""
    from pack.tests.support.host.runs import Run, conditioning, sample

    side = options.pixels // 8
    width = model.model.model_config.unet_config["context_dim"]
    positive, negative = conditioning(seed=1, width=width), conditioning(seed=2, width=width)
    sample(model, positive, negative, Run(size=(side, side), steps=options.steps))


def held() -> list[tuple[int, int, int]]:
    """Record runs of different length.

    Returns:
        rows: steps, bytes of the maps, growth of the process's resident memory in bytes
    """
    from pack.host.recording.unet import record_attention
    from pack.scenescope.attention.record.selection import Selection

    model, rows = small_model(), []
    for steps in (2, 2, 6):  # the first one warms up
        watched, book = record_attention(model, Selection())
        before = resident()
        sample_small(watched, steps)
        rows.append((steps, book.find(None)[0].bytes_held, resident() - before))
    return rows[1:]


def small_model() -> Any:
    """A small U-Net with SD1.5's 16 blocks and 8 heads, on the back-end that needs least memory of its own."""
    import comfy.ldm.modules.attention as host_attention
    from pack.tests.support.host import layouts

    host_attention.optimized_attention = host_attention.attention_pytorch

    return layouts.build(layouts.SD15)


def sample_small(model: Any, steps: int) -> None:
    """One run on 64x64 latents."""
    from pack.tests.support.host.runs import Run, conditioning, sample

    sample(model, conditioning(seed=1), conditioning(seed=2), Run(size=(64, 64), steps=steps))


def resident() -> int:
    """Resident memory of this process now, in bytes."""
    import psutil

    return psutil.Process().memory_info().rss


def added_by(kind: str) -> int:
    """Peak that a recorded run adds to the same run without, in bytes; measured in a fresh process."""
    done = subprocess.run(command(__file__, "--added-by", kind), check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


def print_added(kind: str) -> None:
    """Sample without and with recording, and print the difference of the peaks."""
    from pack.host.recording.unet import record_attention
    from pack.scenescope.attention.record.selection import Selection

    model = small_model()
    blocks, times = ("input 1", 1) if kind == "whole" else ("all", 2)
    watched, _ = record_attention(model, Selection(kinds=("self",), self_times=times, blocks=blocks))
    sample_small(model, 1)  # warms up
    without = peak_during(lambda: sample_small(model, 1))
    print(peak_during(lambda: sample_small(watched, 1)) - without)


def peak_during(run: Any) -> int:
    """The most that tensors take at one time while something runs, counted at the allocator, in bytes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    ordered = sorted(changes, key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in ordered))


def main() -> None:
    """Measure and print."""
    options = arguments()
    use_comfyui(need_comfyui("bench recording"))
    torch.set_num_threads(1)  # threads that wait for each other burn time of their own
    with torch.inference_mode():
        if options.added_by:
            print_added(options.added_by)
            return
        if options.only != "time":
            counts = [(steps, (kept, kept / steps / 2, grown)) for steps, kept, grown in held()]
            rows = [[str(steps), *(f"{count / 1e6:.2f} MB" for count in sizes)] for steps, sizes in counts]
            print(table(["steps", "maps held", "per step and branch", "process grew by"], rows))
            what = {"reduced": "16 layers, reduced to 32x32", "whole": "one layer whole, 4096x4096"}
            rows = [[name, f"{added_by(kind) / 1e6:.0f} MB"] for kind, name in what.items()]
            print("\n" + table(["self-attention at 64x64, both branches", "peak above the same run without"], rows))
        if options.only != "memory":
            without, recorded, ratio = overhead(options)
            row = ["a run", f"{without:.2f} s", f"{recorded:.2f} s", f"{ratio:.3f}"]
            print("\n" + table([f"{options.pixels}x{options.pixels}", "without", "with", "ratio"], [row]))


if __name__ == "__main__":
    main()
