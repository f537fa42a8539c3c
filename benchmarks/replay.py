"""What a replay keeps and what it lets change, on the demo model: swaps of a colour, a shape, a texture, a background.

    python dev.py bench replay --part colour --pictures 100
    python dev.py bench replay --part shape texture background unequal sampler int8 local

Each picture shows two things, in combinations that were held back from training. It is sampled and recorded; then one
word of its prompt is changed, and it is sampled again from the same noise, plainly and with replays (`0.4 / 0`:
cross-attention in the first 0.4 of the steps, no self-attention). In place: the thing is changed as asked, and stands
where it stood. Outside: the mean change of the rest of the picture, of 1. The world's own checker reads the pictures.
Parts share the pictures that they have in common. Cases are kept as soon as they are done; an interrupted run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench replay"))

from pack.benchmarks.acting.cases import Cases, cases_of, shared_arguments, table  # noqa: E402
from pack.benchmarks.acting.seen import iou, present  # noqa: E402
from pack.demo.judge.checker import Found, find_background, find_things  # noqa: E402
from pack.demo.judge.silhouette import grow  # noqa: E402
from pack.demo.measure import layouts  # noqa: E402
from pack.demo.studio import SETTINGS, Studio  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.host.recording.sampling import SamplerSettings  # noqa: E402
from pack.scenescope.attention.act.replay import Playing, Replay  # noqa: E402
from pack.scenescope.attention.record.recording import Recording  # noqa: E402
from pack.scenescope.attention.record.selection import Selection  # noqa: E402
from pack.scenescope.world.scene import Layout, Thing, full_caption  # noqa: E402
from pack.scenescope.world.vocabulary import COLOURS, FIRST_BACKGROUNDS, FIRST_SHAPES, TEXTURES  # noqa: E402

SEED = 71
"""Of the layouts; used for nothing else."""
MARGIN = 4
"""Pixels around a thing that do not count as the rest of the picture."""
UNEVEN = 0.2
"""Spread of a thing's brightness over its mean, between plain skins and textured ones: drawings lie on either side."""
EVERYTHING = Selection(branches=("positive",), keep_queries=True, keep_self_queries=True, precision=torch.float32)

Judged = dict[str, float]
Judge = Callable[[np.ndarray, "Source"], Judged]


@dataclass(frozen=True, eq=False)
class Source:
    """A picture (height width 3) 0..1, its record, what it should show, its noise, and its first thing as found."""

    picture: np.ndarray
    recording: Recording
    layout: Layout
    noise: int
    found: Found


@dataclass(frozen=True)
class Edit:
    """A changed layout, and how the changed picture is judged."""

    layout: Layout
    judge: Judge


@dataclass(frozen=True)
class Way:
    """How the changed prompt is sampled: with which replay, None for none; which settings; which tape."""

    playing: Playing | None = None
    settings: SamplerSettings = SETTINGS
    tape: torch.dtype | None = None


FIRST = Playing(0.4)
KINDS = ("colour", "shape", "texture", "background")


def _sampled(**changes: Any) -> Way:
    return Way(FIRST, replace(SETTINGS, **changes))


PARTS: dict[str, tuple[str, dict[str, Way]]] = {
    "colour": (
        "colour",
        {"none": Way(), "0.4 / 0": Way(FIRST), "1 / 0.8": Way(Playing(1.0, 0.8))},
    ),
    "recolour": ("colour", {"0.8 / 0.8": Way(Playing(0.8, 0.8))}),
    "shape": ("shape", {"none": Way(), "0.4 / 0": Way(FIRST)}),
    "texture": ("texture", {"none": Way(), "0.4 / 0": Way(FIRST)}),
    "background": ("background", {"none": Way(), "0.4 / 0": Way(FIRST)}),
    "unequal": ("texture", {"by words": Way(FIRST), "by columns": Way(Playing(0.4, match="columns"))}),
    "sampler": (
        "colour",
        {
            "the same": Way(FIRST),
            "12 steps": _sampled(steps=12),
            "30 steps": _sampled(steps=30),
            "euler, normal": _sampled(sampler_name="euler", scheduler="normal"),
            "euler_ancestral": _sampled(sampler_name="euler_ancestral"),
            "dpm_2, 10 steps": _sampled(sampler_name="dpm_2", steps=10),
        },
    ),
    "int8": ("colour", {"single precision": Way(FIRST), "int8": Way(FIRST, tape=torch.int8)}),
    "local": (
        "colour",
        {
            "0.4 / 0": Way(FIRST),
            "0.4 / 0, held around the thing": Way(replace(FIRST, free_words="{noun}")),
        },
    ),
}
"""For each part what is changed, and how the changed prompt is sampled."""


def edit_of(kind: str, layout: Layout, rng: np.random.Generator) -> Edit:
    """Change one word about the first thing, or the background."""
    thing, *rest = layout.things

    def other(names: Any, taken: set[str]) -> str:
        return str(rng.choice([name for name in names if name not in taken]))

    def with_first(changed: Thing) -> Layout:
        return replace(layout, things=(changed, *rest))

    if kind == "colour":
        new = other(COLOURS, {each.colour for each in layout.things})
        return Edit(with_first(replace(thing, colour=new)), judge_thing(0.5, colour=new))
    if kind == "shape":
        new = other(FIRST_SHAPES, {each.shape for each in layout.things})
        return Edit(with_first(replace(thing, shape=new)), judge_thing(0.3, shape=new))  # shapes overlap less
    if kind == "texture":
        new = other(TEXTURES, {"plain"}) if thing.texture == "plain" else "plain"
        return Edit(with_first(replace(thing, texture=new)), judge_texture(new != "plain"))
    new = other(FIRST_BACKGROUNDS, {layout.background})
    return Edit(replace(layout, background=new), judge_background(new))


def outside(picture: np.ndarray, source: Source) -> float:
    """Mean absolute change off the first thing."""
    rest = ~grow(source.found.mask, MARGIN)
    return float(np.abs(picture - source.picture)[rest].mean())


def judge_thing(overlap: float, **new: str) -> Judge:
    """In place: a thing of the new colour or shape where the old one stood, by an IoU of more than this."""

    def judge(picture: np.ndarray, source: Source) -> Judged:
        changed = [f for f in find_things(picture) if all(getattr(f, name) == its for name, its in new.items())]
        there = any(iou(f.mask, source.found.mask) > overlap for f in changed)
        return {"in place": there, "outside": outside(picture, source)}

    return judge


def uneven(picture: np.ndarray, mask: np.ndarray) -> float:
    """Spread of brightness inside a mask over its mean, its edge left out."""
    inside = ~grow(~mask, 3)
    bright = picture.max(-1)[inside if inside.sum() > 20 else mask]
    return float(bright.std() / bright.mean())


def judge_texture(wanted: bool) -> Judge:
    """In place: the thing is there still, and its skin is uneven or even, as the prompt has it now."""

    def judge(picture: np.ndarray, source: Source) -> Judged:
        old = source.found
        same = [f for f in find_things(picture) if f.shape == old.shape and iou(f.mask, old.mask) > 0.5]
        changed = any((uneven(picture, f.mask) > UNEVEN) == wanted for f in same)
        return {"in place": changed, "shape kept": bool(same), "outside": outside(picture, source)}

    return judge


def judge_background(new: str) -> Judge:
    """In place: the background is the new one, and every thing that was found is there still."""

    def judge(picture: np.ndarray, source: Source) -> Judged:
        after = find_things(picture)
        kept = all(
            any((f.shape, f.colour) == (old.shape, old.colour) and iou(f.mask, old.mask) > 0.5 for f in after)
            for old in find_things(source.picture)
        )
        changed = find_background(picture) == new
        return {"in place": changed and kept, "changed": changed, "things kept": kept}

    return judge


def source_of(studio: Studio, layout: Layout, index: int) -> Source | None:
    """Sample and record a layout; None where the first thing, which is to be changed, did not come out."""
    picture, recording = studio.recorded(full_caption(layout), index, selection=EVERYTHING)
    found = [each for each in find_things(picture) if present([each], layout.things[0])]
    return Source(picture, recording, layout, index, found[0]) if found else None


def judged(studio: Studio, source: Source, kind: str, way: Way) -> Judged:
    """Sample the changed prompt one way."""
    edit = edit_of(kind, source.layout, np.random.default_rng([SEED, source.noise, KINDS.index(kind)]))
    recording, acts = source.recording, ()
    if way.tape is not None:
        eighth = {at: item.kept_as(way.tape) for at, item in recording.projections.items()}
        recording = replace(recording, projections=eighth)
    if way.playing is not None:
        words = way.playing.free_words.format(noun=source.layout.things[0].shape)
        acts = (Replay(recording, replace(way.playing, free_words=words)),)
    picture = studio.picture(full_caption(edit.layout), source.noise, acts, **asdict(way.settings) | {"seed": SEED})
    return {name: float(value) for name, value in edit.judge(picture, source).items()}


def measure(studio: Studio, cases: Cases, parts: Sequence[str], index: int, layout: Layout) -> None:
    """Measure a layout in all parts that lack it; parts that need the same picture share it."""
    source, shared = source_of(studio, layout, index), cache(partial(judged, studio))
    for part in [part for part in parts if f"{part} {index}" not in cases.known]:
        kind, ways = PARTS[part]
        cases.add(f"{part} {index}", [(name, shared(source, kind, way)) for name, way in ways.items() if source])


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench replay", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, wanted, studio = cases_of("replay", options), layouts(SEED, options.pictures, 2), None
    names = [f"{part} {index}" for index in range(options.pictures) for part in options.part]
    with torch.inference_mode():
        for name in cases.missing([] if options.report else names):
            studio, index = studio or Studio(load_demo_model(options.model), SEED), int(name.split()[1])
            if name not in cases.known:  # measured beside another part of the same layout
                measure(studio, cases, options.part, index, wanted[index])
    for part in options.part:
        names = [f"{part} {index}" for index in range(options.pictures)]
        done = sum(name in cases.known for name in names)
        print(f"\n{part}, {done} prompts\n\n{table(cases.arms(names))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
