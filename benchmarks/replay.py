"""What a replay keeps and what it lets change, on the demo model: swaps of a colour, a shape, a texture, a background.

    python dev.py bench replay --part colour --pictures 100
    python dev.py bench replay --part shape texture background unequal sampler int8 local

Each picture shows two things, in combinations that were held back from training. It is sampled and recorded; then one
word of its prompt is changed, and it is sampled again from the same noise, plainly and with replays (`0.4 / 0`:
cross-attention in the first 0.4 of the steps, no self-attention). In place: the thing is changed as asked, and stands
where it stood. Outside: the mean change of the rest of the picture, of 1. The world's own checker reads the pictures.
Many prompts are sampled in one call, and parts share the pictures that they have in common. Cases are kept as soon as
they are done; an interrupted run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench replay"))

from pack.benchmarks.acting.cases import Cases, batches, cases_of, shared_arguments, table  # noqa: E402
from pack.benchmarks.acting.crowd import Pose  # noqa: E402
from pack.benchmarks.acting.studio import TOGETHER, Studio, iou  # noqa: E402
from pack.demo.judge.checker import Found, find_background, find_things  # noqa: E402
from pack.demo.judge.silhouette import grow  # noqa: E402
from pack.demo.measure import SETTINGS, layouts  # noqa: E402
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


@dataclass(frozen=True)
class Source:
    """A picture (height width 3) 0..1, its record, what it should show, and its first thing as it was found."""

    picture: np.ndarray
    recording: Recording
    layout: Layout
    seed: int
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


Jobs = dict[tuple[str, Way], list[Judged | None]]
"""For each kind of edit and each way: a judgement for each source, None where there was no source."""


def sources_of(studio: Studio, wanted: Sequence[Layout], indices: Sequence[int]) -> list[Source | None]:
    """Sample and record layouts; None where the first thing, which is to be changed, did not come out."""
    poses = [Pose(full_caption(layout), index) for layout, index in zip(wanted, indices, strict=True)]
    sources: list[Source | None] = []
    for layout, index, (picture, recording) in zip(
        wanted, indices, studio.recorded(poses, SEED, EVERYTHING), strict=True
    ):
        thing = layout.things[0]
        found = [f for f in find_things(picture) if (f.shape, f.colour) == (thing.shape, thing.colour)]
        sources.append(Source(picture, recording, layout, index, found[0]) if found else None)
    return sources


def pose_of(source: Source, edit: Edit, way: Way) -> Pose:
    """The changed prompt, sampled one way."""
    recording = source.recording
    if way.playing is None:
        return Pose(full_caption(edit.layout), source.seed)
    if way.tape is not None:
        eighth = {at: item.kept_as(way.tape) for at, item in recording.projections.items()}
        recording = replace(recording, projections=eighth)
    words = way.playing.free_words.format(noun=source.layout.things[0].shape)
    return Pose(full_caption(edit.layout), source.seed, (Replay(recording, replace(way.playing, free_words=words)),))


def judged(studio: Studio, sources: Sequence[Source | None], wanted: Sequence[tuple[str, Way]]) -> Jobs:
    """Sample every edit of every source in every way; what has the same settings goes together."""
    jobs: Jobs = {job: [None] * len(sources) for job in wanted}
    for settings in dict.fromkeys(way.settings for _, way in wanted):
        poses, then = [], []
        for kind, way in (job for job in wanted if job[1].settings == settings):
            for at, source in enumerate(sources):
                if source is not None:
                    chance = np.random.default_rng([SEED, source.seed, KINDS.index(kind)])
                    edit = edit_of(kind, source.layout, chance)
                    poses.append(pose_of(source, edit, way))
                    then.append(((kind, way), at, source, edit))
        if poses:
            for (job, at, source, edit), picture in zip(then, studio.crowd(poses, SEED, settings), strict=True):
                jobs[job][at] = {name: float(value) for name, value in edit.judge(picture, source).items()}
    return jobs


def measure(studio: Studio, cases: Cases, parts: Sequence[str], indices: Sequence[int], wanted: list[Layout]) -> None:
    """Measure some layouts in all parts that lack one of them; parts that need the same picture share it."""
    lacking = [part for part in parts if any(f"{part} {index}" not in cases for index in indices)]
    ways = dict.fromkeys((PARTS[part][0], way) for part in lacking for way in PARTS[part][1].values())
    sources = sources_of(studio, [wanted[index] for index in indices], indices)
    jobs = judged(studio, sources, list(ways))
    for part in lacking:
        kind, named = PARTS[part]
        for at, index in enumerate(indices):
            found = ((name, jobs[kind, way][at]) for name, way in named.items())
            cases.add(f"{part} {index}", [(name, result) for name, result in found if result is not None])


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench replay", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, wanted = cases_of("replay", options), layouts(SEED, options.pictures, 2)
    studio = None
    every = range(0 if options.report else options.pictures)
    lacking = [at for at in every if any(f"{part} {at}" not in cases for part in options.part)]
    with torch.inference_mode():
        for indices in batches(lacking, TOGETHER // 2):
            studio = studio or Studio(options.model)
            measure(studio, cases, options.part, indices, wanted)
    for part in options.part:
        names = [f"{part} {index}" for index in range(options.pictures)]
        done = sum(name in cases for name in names)
        print(f"\n{part}, {done} prompts\n\n{table(cases.arms(names))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
