"""What steering does, on the demo model: things put into masks and boxes, switched off, and brought back.

`python dev.py bench steering` or `... steering --pictures 100 --only place,off`. Layouts are of held-out combinations,
and their seeds are used for nothing else. Every arm has the same prompts and noise; the first one is unsteered.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

COMFYUI = find_comfyui()
if COMFYUI is None:
    raise SystemExit(f"Steering: no ComfyUI was found; the figures need one. {HOW_TO_GET_ONE}")
use_comfyui(COMFYUI)

from pack.demo.judge.checker import Found, find_things, judge  # noqa: E402
from pack.demo.measure import SETTINGS, SIDE  # noqa: E402 - ComfyUI has to be found first
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region  # noqa: E402
from pack.host.acting.steer import Odds, keeping_others, places_of, steered, steerings_of  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.host.prompts.text import trace_words  # noqa: E402
from pack.host.recording.sampling import sample  # noqa: E402
from pack.host.recording.unet import record_attention  # noqa: E402
from pack.scenescope.attention.act.region import RegionTrack  # noqa: E402
from pack.scenescope.attention.act.steer import Steering  # noqa: E402
from pack.scenescope.attention.record.recording import Recording  # noqa: E402
from pack.scenescope.attention.record.selection import Selection  # noqa: E402
from pack.scenescope.dims import Grid  # noqa: E402
from pack.scenescope.world.scene import (  # noqa: E402
    Thing,
    caption,
    draw,
    full_caption,
    noun_phrase,
    random_layout,
)

SEED = 160_000  # of layouts and noise: used for nothing else
PLACED, WHOLE = Odds(), Odds(end=1.0)


@dataclass
class Bench:
    """The demo model, and what was measured: name of an arm -> name of a figure -> one value for each case."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model, clip, self.vae = load_demo_model()
        self.model, self.clip = model, trace_words(clip)
        self.negative = self.encode("")

    def encode(self, prompt: str) -> Any:
        """A conditioning that knows its words."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def picture(self, model: Any, prompt: str, seed: int) -> np.ndarray:
        """(height width 3) float32."""
        return self.sampled(model, self.encode(prompt), seed)

    def sampled(self, model: Any, positive: Any, seed: int) -> np.ndarray:
        """(height width 3) float32."""
        blank = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}
        latent = sample(model, positive, self.negative, blank, replace(SETTINGS, seed=seed))
        return self.vae.decode(latent["samples"])[0].numpy()

    def recorded(self, prompt: str, seed: int) -> tuple[np.ndarray, Recording]:
        """An unsteered picture and its maps."""
        watched, runs = record_attention(self.model, Selection(branches=("positive",)))
        picture = self.picture(watched, prompt, seed)
        return picture, runs.find(None)[0]

    def note(self, arm: str, **figures: float) -> None:
        """Add values to an arm."""
        for name, value in figures.items():
            self.values.setdefault(arm, {}).setdefault(name, []).append(float(value))

    def table(self) -> str:
        """All arms as Markdown."""
        lines = ["| arm | figures: mean (cases) |", "| --- | --- |"]
        for arm, figures in self.values.items():
            told = ", ".join(f"{name} {np.mean(values):.3f} ({len(values)})" for name, values in figures.items())
            lines.append(f"| {arm} | {told} |")
        return "\n".join(lines)


def phrase(thing: Thing) -> str:
    """The thing's words, as the prompt has them."""
    return noun_phrase(thing.words()).split(" ", 1)[1]


def present(things: list[Found], thing: Thing) -> bool:
    """Whether a thing of this shape and colour was found."""
    return any((found.shape, found.colour) == (thing.shape, thing.colour) for found in things)


def overlap(things: list[Found], thing: Thing, mask: np.ndarray) -> float:
    """IoU of what was found in the thing's colour with the mask; 0 where nothing was."""
    own = [found.mask for found in things if found.colour == thing.colour]
    there = mask > 0.5
    return max((float((each & there).sum() / (each | there).sum()) for each in own), default=0.0)


def box_of(mask: np.ndarray) -> dict[str, int]:
    """Core's bounding box around a mask."""
    rows, columns = np.nonzero(mask.max(axis=1) > 0.5)[0], np.nonzero(mask.max(axis=0) > 0.5)[0]
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return {"x": int(columns[0]), "y": int(rows[0]), "width": int(width), "height": int(height)}


def placing(bench: Bench, index: int, count: int = 2) -> None:
    """Things into their drawn masks, into boxes around them, and into mirrored masks."""
    layout = random_layout(np.random.default_rng([SEED, count, index]), count=count, held_out=True)
    prompt, seed, masks = full_caption(layout), SEED + index, draw(layout, height=SIDE, width=SIDE).masks
    words = "\n".join(phrase(thing) for thing in layout.things)

    def arm(name: str, steerings: tuple[Steering, ...], wanted: np.ndarray) -> None:
        picture = bench.picture(steered(bench.model, steerings), prompt, seed)
        things, verdict = find_things(picture), judge(picture, layout)
        ious = [overlap(things, thing, mask) for thing, mask in zip(layout.things, wanted, strict=True)]
        bench.note(f"{count} things, {name}", iou=np.mean(ious), follows=verdict.follows, finds=verdict.finds)

    arm("unsteered", (), masks)
    by_mask = places_of(words, list(torch.from_numpy(masks)), None)
    arm("masks", steerings_of(words, by_mask, PLACED), masks)
    if count == 2:
        mirrored = np.ascontiguousarray(masks[:, :, ::-1])
        arm(
            "mirrored masks",
            steerings_of(words, places_of(words, list(torch.from_numpy(mirrored)), None), PLACED),
            mirrored,
        )
        boxes = [box_of(mask) for mask in masks]
        filled = np.zeros_like(masks)
        for area, box in zip(filled, boxes, strict=True):
            area[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = 1
        arm("boxes (IoU with the box)", steerings_of(words, places_of(words, [], boxes), PLACED), filled)


def switching_off(bench: Bench, index: int) -> None:
    """The first of two things that are there switched off."""
    layout = random_layout(np.random.default_rng([SEED + 1, 2, index]), count=2, held_out=True)
    prompt, seed = full_caption(layout), SEED + 1000 + index
    before = find_things(bench.picture(bench.model, prompt, seed))
    if not all(present(before, thing) for thing in layout.things):
        return
    for name, odds in (("first half", PLACED), ("all steps", WHOLE)):
        act = steerings_of(phrase(layout.things[0]), (), replace(odds, strength=-12.0))
        after = find_things(bench.picture(steered(bench.model, act), prompt, seed))
        gone = not present(after, layout.things[0])
        bench.note(f"off at -12, {name}", gone=gone, other_kept=present(after, layout.things[1]))


def bringing_back(bench: Bench, index: int) -> None:
    """What is missing lifted, lifted with the others held, or drawn again from another seed."""
    layout = random_layout(np.random.default_rng([SEED + 2, 3, index]), count=3, held_out=True)
    prompt, seed = full_caption(layout), SEED + 2000 + index
    picture, recording = bench.recorded(prompt, seed)
    before = find_things(picture)
    missing = [thing for thing in layout.things if not present(before, thing)]
    if not missing or len(missing) == len(layout.things):
        return
    words = "\n".join(phrase(thing) for thing in missing)
    arms: dict[str, Callable[[], tuple[Any, int]]] = {
        "lifted by 2": lambda: (steered(bench.model, steerings_of(words, (), WHOLE)), seed),
        "others kept, first half": lambda: (steered(bench.model, keeping_others(recording, words, PLACED)), seed),
        "others kept, all steps": lambda: (steered(bench.model, keeping_others(recording, words, WHOLE)), seed),
        "another seed": lambda: (bench.model, seed + 500_000),
    }
    for name, make in arms.items():
        model, own_seed = make()
        after = find_things(bench.picture(model, prompt, own_seed))
        for thing in layout.things:
            bench.note(name, **{"back" if thing in missing else "kept": present(after, thing)})


def following(bench: Bench, index: int) -> None:
    """How well the live region of a noun fits the finished thing, at a quarter, half and the end of the run."""
    layout = random_layout(np.random.default_rng([SEED + 3, 2, index]), count=2, held_out=True)
    names = [thing.shape for thing in layout.things]
    if len(set(names)) < len(names):
        return
    model, tracks = bench.model, [RegionTrack() for _ in names]
    for name, rival, track in zip(names, reversed(names), tracks, strict=True):
        model = with_region(model, GatingRegion(name, track, rival, cut=0.6, start=0.0), None)
    things = find_things(bench.picture(model, full_caption(layout), SEED + 3000 + index))
    for thing, track in zip(layout.things, tracks, strict=True):
        found = [each.mask for each in things if (each.shape, each.colour) == (thing.shape, thing.colour)]
        if len(found) == 1:
            for name, step in (("step_5", 4), ("step_10", 9), ("step_20", 19)):
                region = region_mask(track, Grid(SIDE, SIDE), step)[0].numpy() > 0.5
                union = (region | found[0]).sum()
                bench.note("live region, IoU with the finished thing", **{name: (region & found[0]).sum() / union})


def gating(bench: Bench, index: int) -> None:
    """A colour for one of two things by its region; the base prompt leaves that colour out."""
    layout = random_layout(np.random.default_rng([SEED + 4, 2, index]), count=2, held_out=True)
    first, second = layout.things
    if first.shape == second.shape:
        return
    colourless = noun_phrase([word for word in first.words() if word != first.colour])
    base = bench.encode(caption([colourless, noun_phrase(second.words())], layout.background))
    inside = bench.encode(caption([noun_phrase(first.words())], layout.background))
    track = RegionTrack()
    model = with_region(bench.model, GatingRegion(first.shape, track), None)
    for name, own, prompt in (
        ("base without the colour", bench.model, base),
        ("colour by region", model, gated(base, inside, track, 1.0)),
        ("colour in the prompt", bench.model, bench.encode(full_caption(layout))),
    ):
        picture = bench.sampled(own, prompt, SEED + 4000 + index)
        there, verdict = present(find_things(picture), first), judge(picture, layout)
        bench.note(name, thing_in_its_colour=there, finds=verdict.finds, follows=verdict.follows)


PARTS: dict[str, Callable[[Bench, int], None]] = {
    "place": placing,
    "three": lambda bench, index: placing(bench, index, 3),
    "off": switching_off,
    "back": bringing_back,
    "region": following,
    "gate": gating,
}


def indices(pictures: int) -> Iterator[int]:
    """The cases, told on the screen."""
    start = time.monotonic()
    for index in range(pictures):
        yield index
        print(f"{index + 1} of {pictures}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="dev.py bench steering")
    parser.add_argument("--pictures", type=int, default=100, help="prompts for each part")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, by commas: {', '.join(PARTS)}")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    bench = Bench()
    with torch.inference_mode():
        for index in indices(options.pictures):
            for part in options.only.split(","):
                PARTS[part](bench, index)
            if index % 5 == 4 or index == options.pictures - 1:
                print(f"\n{bench.table()}\n", flush=True)


main()
