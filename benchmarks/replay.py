"""What a replay keeps and what it lets change, on the demo model: swaps of a colour, a shape, a texture, a background.

    python dev.py bench replay
    python dev.py bench replay --pictures 20 --only colour --ways none "0.4 / 0" --folder FOLDER

Each picture shows two things, in combinations that were held back from training. It is sampled and recorded; then one
word of its prompt is changed, and it is sampled again from the same noise, plainly and with replays. The world's own
checker reads the pictures. A run that was broken off goes on where it was, if it has the same folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

COMFYUI = find_comfyui()
if COMFYUI is None:
    raise SystemExit(f"Replay: no ComfyUI was found; the figures need one. {HOW_TO_GET_ONE}")
use_comfyui(COMFYUI)

from pack.benchmarks.lab.files import write  # noqa: E402
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
WAYS: dict[str, dict[str, Way]] = {
    "colour": {
        "none": Way(),
        "0.4 / 0": Way(FIRST),
        "0.8 / 0.8": Way(LONGER),
        "1 / 0.8": Way(Playing(1.0, 0.8)),
        "0.4 / 0, int8": Way(FIRST, tape=torch.int8),
        "0.4 / 0, 12 steps": Way(FIRST, replace(SETTINGS, steps=12)),
        "0.4 / 0, euler, normal": Way(FIRST, replace(SETTINGS, sampler_name="euler", scheduler="normal")),
        "0.4 / 0, euler_ancestral": Way(FIRST, replace(SETTINGS, sampler_name="euler_ancestral")),
    },
    "shape": {"none": Way(), "0.4 / 0": Way(FIRST)},
    "texture": {
        "none": Way(),
        "0.4 / 0": Way(FIRST),
        "0.4 / 0.4": Way(Playing(0.4, 0.4)),
        "0.4 / 0, by columns": Way(Playing(0.4, match="columns")),
    },
    "background": {"none": Way(), "0.4 / 0": Way(FIRST)},
}


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
            model = with_act(model, Replay(recording, way.playing))
        picture = self.sample(model, edit.layout, replace(way.settings, seed=source.seed))
        return {name: float(value) for name, value in edit.judge(picture, source).items()}


def measure(studio: Studio, options: argparse.Namespace, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Judge every edit in every way, picture by picture; what is known already is not made again."""
    for index, layout in enumerate(layouts(SEED, options.pictures, 2)):
        every = [(kind, name) for kind in options.only for name in WAYS[kind] if name in (options.ways or WAYS[kind])]
        missing = [(kind, name) for kind, name in every if f"{index} {kind} {name}" not in known]
        if not missing or known.get(f"{index}") == "not found":
            continue
        source = studio.source(layout, index)
        if source is None:
            known[f"{index}"] = "not found"
            yield known
            continue
        for kind, name in missing:
            edit = edit_of(kind, layout, np.random.default_rng([SEED, index, list(WAYS).index(kind)]))
            known[f"{index} {kind} {name}"] = studio.changed(source, edit, WAYS[kind][name])
        yield known


def table(known: Mapping[str, Any]) -> str:
    """Write the figures as Markdown."""
    lines = ["| change | replayed: cross / self until | in place | outside | more | pictures |", "| --- " * 6 + "|"]
    for kind, ways in WAYS.items():
        for name in ways:
            rows = [value for key, value in known.items() if key.split(" ", 1)[1:] == [f"{kind} {name}"]]
            if rows:
                means = {part: float(np.mean([row[part] for row in rows])) for part in rows[0]}
                rest = ", ".join(f"{part} {means[part]:.2f}" for part in means if part not in ("in place", "outside"))
                off = f"{means['outside']:.3f}" if "outside" in means else ""
                lines.append(f"| {kind} | {name} | {means['in place']:.2f} | {off} | {rest} | {len(rows)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    reader = argparse.ArgumentParser(prog="dev.py bench replay", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--pictures", type=int, default=100)
    reader.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS), help="which changes")
    reader.add_argument("--ways", nargs="+", help="which replays, by their names in the table; all of them")
    reader.add_argument("--folder", type=Path, help="where results are kept, to go on after a break")
    options = reader.parse_args()
    kept = options.folder / "replay.json" if options.folder else None
    known = json.loads(kept.read_text("utf-8")) if kept and kept.is_file() else {}
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    with torch.inference_mode():
        for _ in measure(Studio(Sitter(load_demo_model())), options, known):
            print(".", end="", file=sys.stderr, flush=True)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write(kept, json.dumps(known))
    print(table(known))


if __name__ == "__main__":
    main()
