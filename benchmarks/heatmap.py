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
from pack.scenescope.attention.record.layers import AttentionLayer, Place
from pack.scenescope.attention.record.recording import Address, AttentionMap, Entry, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.find import WordMatch
from pack.scenescope.dims import Grid, bytes_text

STEPS, TOKENS, HEADS, THREADS, REPEATS = 20, 77, 8, (1, 2), 3
LATENT = Grid(64, 64)
TARGET_SECONDS = 0.2
LEVELS = {"input": (0, 0, 1, 1, 2, 2), "middle": (3,), "output": (2, 2, 2, 1, 1, 1, 0, 0, 0)}
NUMBERS = {"input": (1, 2, 4, 5, 7, 8), "middle": (0,), "output": tuple(range(3, 12))}
PLACES: dict[str, Place] = {"input": "down", "middle": "middle", "output": "up"}
WORDS = tuple(
    WordMatch(name, (columns,)) for name, columns in (("cat", (2,)), ("fluffy hat", (5, 6, 7)), ("sea", (9,)))
)
EVERY = tuple(WordMatch(str(column), ((column,),)) for column in range(TOKENS))


def record(heads: int) -> Recording:
    """A recording of random shares, each map a tensor of its own."""
    blocks = [
        (word, number, level) for word in LEVELS for number, level in zip(NUMBERS[word], LEVELS[word], strict=True)
    ]
    layers = [
        AttentionLayer(order, f"{word} {number}", PLACES[word], "cross", level, HEADS, 40)
        for order, (word, number, level) in enumerate(blocks)
    ]
    maps = []
    for step in range(STEPS):
        for layer in layers:
            grid = layer.grid(LATENT)
            shares = torch.rand(1, heads, grid.cells, TOKENS).div(TOKENS / 2).half()
            at = Address(step, 0, "positive", 0, layer.order, layer.block, "cross")
            maps.append(AttentionMap(at, shares, HEADS, grid))
    sigmas = tuple(float(STEPS - step) for step in range(STEPS + 1))
    entries = (Entry("positive", 0, TOKENS),)
    return Recording(tuple(maps), tuple(layers), entries, LATENT, 1, sigmas, Selection())


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
    for heads, name in ((1, "mean"), (HEADS, "each")):
        recording = record(heads)
        for at, (case, run) in enumerate(list(cases(recording).items())[: 4 if heads == 1 else 2]):
            seconds = [fastest(run, threads) for threads in THREADS]
            rows.append([name, bytes_text(recording.bytes_held), case, *(f"{each:.3f}" for each in seconds)])
            if at < 2 and heads == 1 and min(seconds) > TARGET_SECONDS:
                slow.append(case)
    print(table(["heads", "recording", "heatmap", "1 thread", "2 threads"], rows))
    if slow:
        raise SystemExit(f"Heatmaps: {', '.join(slow)} took more than {TARGET_SECONDS} s.")


if __name__ == "__main__":
    main()
