"""What a replay keeps and what it lets change, on the demo model: swaps of a colour, a shape, a texture, a background.

    python dev.py bench replay --part colour --pictures 100
    python dev.py bench replay --part shape texture background unequal sampler int8 local

Each picture shows two things, in combinations that were held back from training. It is sampled and recorded; then one
word of its prompt is changed, and it is sampled again from the same noise, plainly and with replays (`0.4 / 0`:
cross-attention in the first 0.4 of the steps, no self-attention). In place: the thing is changed as asked, and stands
where it stood. Outside: the mean change of the rest of the picture, of 1. The world's own checker reads the pictures.
Each case is kept as soon as it is done; a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench replay"))

from pack.benchmarks.acting.cases import Result, cases_of, shared_arguments, table  # noqa: E402
from pack.demo.judge.checker import Found, find_background, find_things  # noqa: E402
from pack.demo.judge.silhouette import grow  # noqa: E402
from pack.demo.measure import SETTINGS, SIDE, Sitter, layouts  # noqa: E402
from pack.host.acting.run import with_act  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.host.recording.sampling import SamplerSettings, sample  # noqa: E402
from pack.host.recording.unet import record_attention  # noqa: E402
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
    """A picture (height width 3) 0..1, its record, what it shall show, and its first thing as it was found."""

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


FIRST, LONGER = Playing(0.4), Playing(0.8, 0.8)
KINDS = ("colour", "shape", "texture", "background")


def _sampled(**changes: Any) -> Way:
    return Way(FIRST, replace(SETTINGS, **changes))


PARTS: dict[str, tuple[str, dict[str, Way]]] = {
    "colour": (
        "colour",
        {"none": Way(), "0.4 / 0": Way(FIRST), "0.8 / 0.8": Way(LONGER), "1 / 0.8": Way(Playing(1.0, 0.8))},
    ),
    "shape": ("shape", {"none": Way(), "0.4 / 0": Way(FIRST)}),
    "texture": ("texture", {"none": Way(), "0.4 / 0": Way(FIRST), "0.4 / 0.4": Way(Playing(0.4, 0.4))}),
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
        return Edit(with_first(replace(thing, colour=new)), judge_colour(new))
    if kind == "shape":
        new = other(FIRST_SHAPES, {each.shape for each in layout.things})
        return Edit(with_first(replace(thing, shape=new)), judge_shape(new))
    if kind == "texture":
        new = other(TEXTURES, {"plain"}) if thing.texture == "plain" else "plain"
        return Edit(with_first(replace(thing, texture=new)), judge_texture(new != "plain"))
    new = other(FIRST_BACKGROUNDS, {layout.background})
    return Edit(replace(layout, background=new), judge_background(new))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of (height width) bool masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def outside(picture: np.ndarray, source: Source) -> float:
    """Mean absolute change off the first thing."""
    rest = ~grow(source.found.mask, MARGIN)
    return float(np.abs(picture - source.picture)[rest].mean())


def judge_colour(new: str) -> Judge:
    """In place: a thing of the new colour where the old one stood."""

    def judge(picture: np.ndarray, source: Source) -> Judged:
        there = any(f.colour == new and iou(f.mask, source.found.mask) > 0.5 for f in find_things(picture))
        return {"in place": there, "outside": outside(picture, source)}

    return judge


def judge_shape(new: str) -> Judge:
    """In place: a thing of the new shape where the old one stood; shapes overlap less."""

    def judge(picture: np.ndarray, source: Source) -> Judged:
        there = any(f.shape == new and iou(f.mask, source.found.mask) > 0.3 for f in find_things(picture))
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


class Studio:
    """Samples pictures with the demo model."""

    def __init__(self, sitter: Sitter) -> None:
        self.sitter = sitter

    def sample(self, model: Any, layout: Layout, settings: SamplerSettings) -> np.ndarray:
        """The picture (height width 3) of a layout's caption."""
        blank = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}
        prompt = self.sitter.encode(full_caption(layout))
        latent = sample(model, prompt, self.sitter.negative, blank, settings)["samples"]
        return self.sitter.vae.decode(latent)[0].numpy()

    def source(self, layout: Layout, seed: int) -> Source | None:
        """Sample and record a layout; None where its first thing did not come out."""
        watched, runs = record_attention(self.sitter.model, EVERYTHING)
        picture = self.sample(watched, layout, replace(SETTINGS, seed=seed))
        thing = layout.things[0]
        found = [f for f in find_things(picture) if (f.shape, f.colour) == (thing.shape, thing.colour)]
        return Source(picture, runs.find(None)[0], layout, seed, found[0]) if found else None

    def changed(self, source: Source, edit: Edit, way: Way) -> Judged:
        """Sample the changed prompt one way, and judge it."""
        model, recording = self.sitter.model, source.recording
        if way.tape is not None:
            eighth = {at: item.kept_as(way.tape) for at, item in recording.projections.items()}
            recording = replace(recording, projections=eighth)
        if way.playing is not None:
            words = way.playing.free_words.format(noun=source.layout.things[0].shape)
            model = with_act(model, Replay(recording, replace(way.playing, free_words=words)))
        picture = self.sample(model, edit.layout, replace(way.settings, seed=source.seed))
        return {name: float(value) for name, value in edit.judge(picture, source).items()}


def case(studio: Studio, kind: str, ways: Mapping[str, Way], index: int, layout: Layout) -> Result:
    """Judge one edit in every way; nothing where the thing that is to be changed did not come out."""
    source = studio.source(layout, index)
    if source is None:
        return []
    edit = edit_of(kind, layout, np.random.default_rng([SEED, index, KINDS.index(kind)]))
    return [(name, studio.changed(source, edit, way)) for name, way in ways.items()]


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench replay", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, wanted = cases_of("replay", options), layouts(SEED, options.pictures, 2)
    names = {part: [f"{part} {index}" for index in range(options.pictures)] for part in options.part}
    studio = None
    with torch.inference_mode():
        for part, own in names.items():
            for name in cases.missing(own):
                studio, index = studio or Studio(Sitter(load_demo_model(options.model))), int(name.split()[1])
                cases.add(name, case(studio, *PARTS[part], index, wanted[index]))
    for part, own in names.items():
        print(f"\n{part}, {options.pictures} prompts\n\n{table(cases.arms(own))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
