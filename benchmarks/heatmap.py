"""How long a heatmap takes: 20 steps x 16 blocks of SD1.5 at 512x512, 77 tokens, half precision.

`python dev.py bench heatmap`. The maps are random; their sizes, and so the work, are those of a real run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from pack.benchmarks.lab.markdown import table
from pack.scenescope.attention.draw.figure import Layouting, draw
from pack.scenescope.attention.draw.render import Style
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.selection import Heads, Selection
from pack.scenescope.attention.words.find import WordMatch
from pack.scenescope.dims import Grid, bytes_text
from pack.tests.support.recordings import Run, record

STEPS, TOKENS, HEADS, THREADS, REPEATS = 20, 77, 8, (1, 2), 3
LATENT = Grid(64, 64)
TARGET_SECONDS = 0.2
WORDS = (WordMatch("cat", ((2,),)), WordMatch("fluffy hat", ((5, 6, 7),)), WordMatch("sea", ((9,),)))
EVERY = tuple(WordMatch(str(column), ((column,),)) for column in range(TOKENS))


def recording_of(heads: Heads) -> Recording:
    """A recording of random queries and keys."""
    selection, entries = Selection(heads=heads), (Entry("positive", 0, TOKENS),)
    return record(Run(LATENT, STEPS, images=1, heads=HEADS, selection=selection, entries=entries))


def fastest(run: Callable[[], object], threads: int) -> float:
    """Seconds of the fastest of several runs, after one that warms up."""
    torch.set_num_threads(threads)
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def cases(recording: Recording) -> dict[str, Callable[[], object]]:
    """What is measured; the first two have a target."""
    whole, exact = View("all", "latent"), View("latent/4")
    plan = Layouting(Style(Grid(512, 512)))
    return {
        "3 words, all layers at 64x64": lambda: heatmaps(recording, WORDS, whole),
        "3 words, latent/4 exactly": lambda: heatmaps(recording, WORDS, exact),
        "77 columns, all layers at 64x64": lambda: heatmaps(recording, EVERY, whole),
        "3 words, all layers, with picture": lambda: draw(recording, WORDS, whole, plan),
    }


def main() -> None:
    """Print the table; a target that is missed is an error."""
    torch.manual_seed(0)
    print(f"{STEPS} steps x 16 blocks, {LATENT} latent, {TOKENS} tokens, half precision")
    print(f"seconds on 1 and on 2 threads, best of {REPEATS} runs; on a busy machine threads wait for each other")
    rows, slow = [], []
    for heads, count in (("mean", 4), ("each", 2)):
        recording = recording_of(heads)
        for at, (case, run) in enumerate(list(cases(recording).items())[:count]):
            seconds = [fastest(run, threads) for threads in THREADS]
            rows.append([heads, bytes_text(recording.bytes_held), case, *(f"{each:.3f}" for each in seconds)])
            if at < 2 and heads == "mean" and min(seconds) > TARGET_SECONDS:
                slow.append(case)
    print(table(["heads", "recording", "heatmap", "1 thread", "2 threads"], rows))
    if slow:
        raise SystemExit(f"Heatmaps: {', '.join(slow)} took more than {TARGET_SECONDS} s.")


if __name__ == "__main__":
    main()
