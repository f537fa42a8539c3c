"""Whether a word's map shows what the word does: proof by taking the word away, on any checkpoint, without a judge.

    python dev.py bench causal --pictures 10
    python dev.py bench causal --checkpoint FILE --prompts FILE --width 512 --height 512

A prompt is sampled and recorded; then its first thing is switched off, everywhere or in a part of the picture, by
log-odds on its columns, from the same noise. The change is the mean absolute difference of the latents' channels. For
the noun's map of each block, and of all together:

- pointing: whether the map's maximum lies in the fifth of the picture that changes most when the words are off;
- covers: the area under the curve of how much of that change lies in the cells that the map puts first; 0.5 is chance;
- deletion: the words are off in the fifth of the cells where the map is highest: how much of the change that makes;
- insertion: the words are on only there: how much of the change is undone.

The control is the map of another noun of the same prompt. Deletion and insertion sample two pictures for each row, and
are left out with `--quick`. Each prompt is kept as soon as it is done; an interrupted run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench causal"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments, table  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.lab.files import load_model  # noqa: E402
from pack.demo.measure import layouts  # noqa: E402
from pack.demo.studio import POSITIVE_MAPS, Studio  # noqa: E402
from pack.host.recording.sampling import SamplerSettings  # noqa: E402
from pack.host.recording.unet import record_attention  # noqa: E402
from pack.scenescope.attention.act.place import Place  # noqa: E402
from pack.scenescope.attention.act.steer import Steering  # noqa: E402
from pack.scenescope.attention.doctor.proof import covered  # noqa: E402
from pack.scenescope.attention.doctor.things import Thing, things_of  # noqa: E402
from pack.scenescope.attention.read.heatmap import heatmaps  # noqa: E402
from pack.scenescope.attention.read.view import View  # noqa: E402
from pack.scenescope.attention.record.recording import Recording  # noqa: E402
from pack.scenescope.attention.words.find import WordMatch  # noqa: E402
from pack.scenescope.dims import Grid  # noqa: E402
from pack.scenescope.world.scene import full_caption  # noqa: E402

SEED, OFF, PART = 81, -12.0, 0.2
"""Seed of the demo's prompts; log-odds at which a word is off; the part of the picture that counts as a map's top."""
TOGETHER = 6
"""Pictures in one sampling call."""
ALL, CONTROL = "all blocks", "control: another noun"
Row = dict[str, float]


def change_of(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(height width) mean absolute difference over channels."""
    return (one - other).abs().mean(dim=0)


def maps_of(recording: Recording, things: tuple[Thing, ...], thing: Thing) -> dict[str, torch.Tensor]:
    """The noun's map (height width) by block, by all of them, and another noun's by all."""

    def map_of(noun: Thing, blocks: str) -> torch.Tensor:
        view = View(resolution="all", blocks=blocks)
        return heatmaps(recording, [WordMatch(noun.noun.text, (noun.noun.columns,))], view).values[0, ..., 0]

    blocks = {layer.block: map_of(thing, layer.block) for layer in recording.layers if layer.kind == "cross"}
    other = next(each for each in things if each is not thing)
    return blocks | {ALL: map_of(thing, "all"), CONTROL: map_of(other, "all")}


def measure(studio: Studio, prompt: str, seed: int, quick: bool) -> Iterator[tuple[str, Row]]:
    """The rows of one prompt's first noun."""
    positive = studio.encode(prompt)

    def latents(act: Steering, pictures: int = 1) -> torch.Tensor:
        return studio.latents(studio.acting([act]), positive, [0] * pictures, seed=seed)

    watched, runs = record_attention(studio.model, POSITIVE_MAPS)
    picture, recording = studio.latents(watched, positive, [0], seed=seed)[0], runs.find(None)[0]
    (entry,) = (entry for entry in recording.entries if entry.branch == "positive")
    assert entry.table is not None
    things = things_of(entry.table)
    if len(things) < 2:
        return
    thing = things[0]
    change = change_of(picture, latents(Steering(thing.text, OFF))[0])
    flat = change.flatten()
    part = max(1, round(PART * flat.numel()))
    most = set(flat.topk(part).indices.tolist())
    maps = maps_of(recording, things, thing)
    orders = {name: values.flatten().argsort(descending=True) for name, values in maps.items()}
    rows: dict[str, Row] = {
        name: {"pointing": float(int(order[0]) in most), "covers": covered(flat, order)}
        for name, order in orders.items()
    }
    if not quick:
        tops = torch.zeros(len(orders), flat.numel())
        for top, order in zip(tops, orders.values(), strict=True):
            top[order[:part]] = 1
        places = tops.unflatten(1, tuple(change.shape)).split(TOGETHER)

        def with_odds(inside: float, outside: float) -> torch.Tensor:
            acts = ((Steering(thing.text, inside, outside, Place(place)), len(place)) for place in places)
            return torch.cat([latents(act, pictures) for act, pictures in acts])

        deleted, inserted = with_odds(OFF, 0.0), with_odds(0.0, OFF)
        for row, without, only in zip(rows.values(), deleted, inserted, strict=True):
            row["deletion"] = float(change_of(picture, without).mean() / change.mean())
            row["insertion"] = 1 - float(change_of(picture, only).mean() / change.mean())
    yield from rows.items()


def prompts_of(options: argparse.Namespace) -> list[str]:
    """The prompts: lines of a file, or captions of the demo world in combinations held back from training."""
    if options.prompts:
        return [line.strip() for line in options.prompts.read_text("utf-8").splitlines() if line.strip()]
    return [full_caption(layout) for layout in layouts(SEED, options.pictures, 2)]


def arguments() -> argparse.Namespace:
    """Read the command line; the defaults suit the demo model."""
    reader = argparse.ArgumentParser(prog="dev.py bench causal", description=__doc__)
    shared_arguments(reader, 10)
    reader.add_argument("--checkpoint", type=Path, dest="model", help="an SD1.5 checkpoint, in place of the demo model")
    reader.add_argument("--prompts", type=Path, help="a file with a prompt on each line, each of two things or more")
    reader.add_argument("--quick", action="store_true", help="without deletion and insertion")
    for name, default in (("width", 128), ("height", 128), ("steps", 20)):
        reader.add_argument(f"--{name}", type=int, default=default)
    reader.add_argument("--cfg", type=float, default=2.0)
    reader.add_argument("--sampler", default="dpmpp_2m")
    reader.add_argument("--scheduler", default="karras")
    return reader.parse_args()


def main() -> None:
    """Measure what is missing, and print the table."""
    options = arguments()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    known, prompts = cases_of("causal-quick" if options.quick else "causal", options), prompts_of(options)
    how = (options.width, options.height, options.steps, options.cfg, options.sampler, options.scheduler)
    names = [f"{seed} {prompt} {' '.join(map(str, how))}" for seed, prompt in enumerate(prompts)]
    studio, settings = None, SamplerSettings(0, *how[2:])
    with torch.inference_mode():
        for name in known.missing([] if options.report else names):
            size = Grid(options.height // 8, options.width // 8)
            studio, seed = studio or Studio(load_model(options.model), 0, settings, size), names.index(name)
            known.add(name, list(measure(studio, prompts[seed], seed, options.quick)))
    arms = known.arms(names)
    if not arms:
        raise SystemExit("bench causal: no prompt names two things. Write prompts such as `a red circle and a star`.")
    print(f"{table(arms)}\n\nKept in {known.file}")


if __name__ == "__main__":
    main()
