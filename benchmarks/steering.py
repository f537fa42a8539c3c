"""What steering and regions do, on the demo model: things put into places, switched off, brought back, coloured.

    python dev.py bench steering --part two --pictures 100
    python dev.py bench steering --part three drawn regions gate bind bind3 full

Part two: two things into masks, mirrored masks and boxes, one switched off. Part three: three things into masks,
missing ones brought back. drawn: what the world's own drawings reach by the same measure. regions: live regions, and
one of two things taken away while the other is held. gate, bind, bind3: colours by regions, four seeds a prompt. full:
what a steered step of the full-size U-Net costs. Layouts are of held-out combinations, and their seeds are used for
nothing else. Every arm of a case has the same prompt and noise. Cases are kept as soon as they are done: an interrupted
run resumes, and more pictures are added to those that are there. Results of another model (`--model FILE`) are kept
apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench steering"))

from pack.benchmarks.acting.cases import Figures, Result, cases_of, shared_arguments, table  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.acting.pace import full_size  # noqa: E402
from pack.benchmarks.acting.seen import box_of, iou, overlap, phrase, present  # noqa: E402
from pack.demo.judge.checker import Found, find_things, judge  # noqa: E402
from pack.demo.layouts import random_layout  # noqa: E402
from pack.demo.studio import SIDE, Studio  # noqa: E402
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region  # noqa: E402
from pack.host.acting.steer import Odds, keeping_others, places_of, steerings_of  # noqa: E402
from pack.host.demo import load_demo_model  # noqa: E402
from pack.scenescope.attention.act.region import RegionTrack, WordRegion  # noqa: E402
from pack.scenescope.attention.act.steer import Steering  # noqa: E402
from pack.scenescope.dims import Grid  # noqa: E402
from pack.scenescope.world.scene import Layout, caption, draw, full_caption, noun_phrase  # noqa: E402

SEED = 160_000
"""Of layouts and noise: used for nothing else."""
PLACED, WHOLE = Odds(), Odds(end=1.0)
OTHER_NOISE = 1000
"""What is added to a case's noise for another seed."""
SEEDS = 4
"""Pictures of a case whose conditionings are gated: a region is one batch's, so they have one prompt."""


def layout_of(part: int, count: int, index: int) -> Layout:
    """A held-out layout: another one for each part, number of things, and case."""
    return random_layout(np.random.default_rng([SEED + part, count, index]), count=count, held_out=True)


Arm = tuple[str, tuple[Steering, ...], np.ndarray]
"""A name, what acts, and where things should be: (thing height width)."""


def placements(layout: Layout, *, all_kinds: bool) -> list[Arm]:
    """Things into their drawn masks; with `all_kinds` also mirrored, and into boxes."""
    masks, words = draw(layout, height=SIDE, width=SIDE).masks, "\n".join(map(phrase, layout.things))

    def arm(name: str, wanted: np.ndarray, odds: Odds = PLACED) -> Arm:
        return name, steerings_of(words, places_of(words, list(torch.from_numpy(wanted)), None), odds), wanted

    if not all_kinds:
        return [arm("masks", masks)]
    boxes, boxed = [box_of(mask) for mask in masks], np.zeros_like(masks)
    for area, box in zip(boxed, boxes, strict=True):
        area[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = 1
    return [
        arm("masks", masks),
        arm("mirrored masks", np.ascontiguousarray(masks[:, :, ::-1])),
        ("boxes", steerings_of(words, places_of(words, [], boxes), PLACED), boxed),
    ]


def placed(name: str, picture: np.ndarray, layout: Layout, wanted: np.ndarray) -> tuple[str, Figures]:
    """How well a picture (height width 3) shows a layout's things where they should be."""
    things, verdict = find_things(picture), judge(picture, layout)
    pairs = list(zip(layout.things, wanted, strict=True))
    ious = {
        title: float(np.mean([overlap(things, thing, mask, whole=whole) for thing, mask in pairs]))
        for title, whole in (("IoU", False), ("IoU with the outline", True))
    }
    return name, {**ious, "follows": verdict.follows, "finds": verdict.finds}


def two_things(studio: Studio, index: int) -> Result:
    """Two things: put into places, and the first switched off."""
    layout = layout_of(0, 2, index)
    prompt = full_caption(layout)
    plain, result = studio.picture(prompt, index), []
    for name, acts, wanted in placements(layout, all_kinds=True):
        result.append(placed(f"{name}, unsteered", plain, layout, wanted))
        result.append(placed(name, studio.picture(prompt, index, acts), layout, wanted))
    if shows_all(plain, layout):
        off = steerings_of(phrase(layout.things[0]), (), replace(WHOLE, strength=-12.0))
        result.append(switched_off("off at -12, all steps", layout, studio.picture(prompt, index, off)))
    return result


def shows_all(picture: np.ndarray, layout: Layout) -> bool:
    """Whether every thing came out."""
    found = find_things(picture)
    return all(present(found, thing) for thing in layout.things)


def switched_off(name: str, layout: Layout, picture: np.ndarray) -> tuple[str, Figures]:
    """Whether the first of two things is gone, and the other there."""
    after = find_things(picture)
    gone, kept = not present(after, layout.things[0]), present(after, layout.things[1])
    return name, {"gone": gone, "other kept": kept}


def drawn(_: Studio, index: int) -> Result:
    """The most that can be had: two and three things drawn by the world itself into those masks and boxes.

    The checker finds a thing without its outline, so it meets its own mask in part.
    """
    result: Result = []
    for part, count in ((0, 2), (2, 3)):
        layout = layout_of(part, count, index)
        picture = draw(layout, height=SIDE, width=SIDE).picture
        for name, _acts, wanted in placements(layout, all_kinds=count == 2):
            if name != "mirrored masks":
                result.append(placed(f"{count} things drawn into {name}", picture, layout, wanted))
    return result


def regions(studio: Studio, index: int) -> Result:
    """The live regions of two nouns, in a picture of part two; the first thing taken away, the other held in its."""
    layout = layout_of(0, 2, index)
    prompt, tracks = full_caption(layout), [RegionTrack() for _ in layout.things]
    picture, recording = studio.recorded(prompt, index, followers(layout, tracks))
    result = regions_of(layout, tracks, find_things(picture))
    if shows_all(picture, layout):
        away = keeping_others(recording, phrase(layout.things[0]), replace(WHOLE, strength=-12.0))
        held = studio.picture(prompt, index, away)
        result.append(switched_off("off at -12, the other held", layout, held))
    return result


def followers(layout: Layout, tracks: Sequence[RegionTrack]) -> list[WordRegion]:
    """The live regions of two nouns that differ."""
    names = [thing.shape for thing in layout.things]
    if len(set(names)) < len(names):
        return []
    return [
        WordRegion(name, track, rival, cut=0.6, start=0.0)
        for name, rival, track in zip(names, reversed(names), tracks, strict=True)
    ]


def regions_of(layout: Layout, tracks: Sequence[RegionTrack], things: Sequence[Found]) -> Result:
    """How well the live region of a noun fits the finished thing, at a quarter, half and the end of the run."""
    result: Result = []
    for thing, track in zip(layout.things, tracks, strict=True):
        found = [each.mask for each in things if (each.shape, each.colour) == (thing.shape, thing.colour)]
        if len(found) == 1 and track.steps:
            ious = {}
            for name, step in (("a quarter", 4), ("half", 9), ("the end", 19)):
                region = region_mask(track, Grid(SIDE, SIDE), step)[0].numpy() > 0
                ious[name] = iou(region, found[0])
            result.append(("IoU of the live region", ious))
    return result


def three_things(studio: Studio, index: int) -> Result:
    """Three things: put into their masks; what is missing lifted, given a place, or drawn again from another seed."""
    layout = layout_of(2, 3, index)
    prompt = full_caption(layout)
    plain, recording = studio.recorded(prompt, index)
    ((_, acts, wanted),) = placements(layout, all_kinds=False)
    result = [placed("masks, unsteered", plain, layout, wanted)]
    result.append(placed("masks", studio.picture(prompt, index, acts), layout, wanted))
    found = find_things(plain)
    missing = [thing for thing in layout.things if not present(found, thing)]
    if not missing or len(missing) == len(layout.things):
        return result
    words = "\n".join(map(phrase, missing))
    for name, noise, repair in (
        ("lifted by 2", index, steerings_of(words, (), WHOLE)),
        ("others kept, first half", index, keeping_others(recording, words, PLACED)),
        ("others kept, all steps", index, keeping_others(recording, words, WHOLE)),
        ("another seed", index + OTHER_NOISE, ()),
    ):
        after = find_things(studio.picture(prompt, noise, repair))
        result += [(name, {"back" if thing in missing else "kept": present(after, thing)}) for thing in layout.things]
    return result


def gating(studio: Studio, index: int) -> Result:
    """A colour for one of two things by its region; the base prompt leaves that colour out."""
    layout = layout_of(4, 2, index)
    first, second = layout.things
    if first.shape == second.shape:
        return []
    base = studio.encode(caption([without_colour(first), noun_phrase(second.words())], layout.background))
    inside = studio.encode(caption([noun_phrase(first.words())], layout.background))
    tracks = RegionTrack(), RegionTrack()
    models = [
        with_region(studio.model, GatingRegion(first.shape, track, by_attention=one_pass), None)
        for track, one_pass in zip(tracks, (False, True), strict=True)
    ]
    result: Result = []
    for name, own, prompt in (
        ("base without the colour", studio.model, base),
        ("colour by region", models[0], gated(base, inside, tracks[0], 1.0)),
        ("colour by region, one pass", models[1], gated(base, inside, tracks[1], 1.0)),
        ("colour in the prompt", studio.model, studio.encode(full_caption(layout))),
    ):
        for picture in studio.pictures(own, prompt, range(SEEDS), seed=SEED + 4000 + index):
            there, verdict = present(find_things(picture), first), judge(picture, layout)
            result.append((name, {"in its colour": there, "finds": verdict.finds, "follows": verdict.follows}))
    return result


def without_colour(thing: Any) -> str:
    """The thing's phrase, its colour left out."""
    return noun_phrase([word for word in thing.words() if word != thing.colour])


def binding(studio: Studio, index: int, *, count: int) -> Result:
    """Each thing's colour by its own region, with and without the colours in the base prompt; and by the prompt alone.

    Bound right: of the shapes that came out, those in their colour.
    """
    layout = layout_of(5, count, index)
    if len({thing.shape for thing in layout.things}) < count:
        return []
    bare = caption([without_colour(thing) for thing in layout.things], layout.background)
    result: Result = []
    for name, prompt, by_region in (
        ("colours in the prompt", full_caption(layout), False),
        ("colours in the prompt and by region", full_caption(layout), True),
        ("colours by region alone", bare, True),
        ("no colours", bare, False),
    ):
        model, positive = studio.model, studio.encode(prompt)
        for thing in layout.things if by_region else ():
            track, rivals = RegionTrack(), ", ".join(t.shape for t in layout.things if t is not thing)
            model = with_region(model, GatingRegion(thing.shape, track, rivals), None)
            alone = studio.encode(caption([noun_phrase(thing.words())], layout.background))
            positive = gated(positive, alone, track, 1.0)
        for picture in studio.pictures(model, positive, range(SEEDS), seed=SEED + 5000 + index):
            result += bound_right(f"{count} things, {name}", layout, find_things(picture))
    return result


def bound_right(name: str, layout: Layout, found: Sequence[Found]) -> Result:
    """Of each thing whether its shape came out, and if so whether in its colour."""
    result: Result = []
    for thing in layout.things:
        shaped = [each for each in found if each.shape == thing.shape]
        figures: Figures = {"shape there": bool(shaped)}
        if shaped:
            figures["bound right"] = any(each.colour == thing.colour for each in shaped)
        result.append((name, figures))
    return result


PARTS: dict[str, tuple[Callable[[Studio, int], Result], int]] = {
    "two": (two_things, 1),
    "three": (three_things, 1),
    "drawn": (drawn, 1),
    "regions": (regions, 1),
    "gate": (gating, SEEDS),
    "bind": (partial(binding, count=2), SEEDS),
    "bind3": (partial(binding, count=3), SEEDS),
    "full": (full_size, 20),
}
"""Each part, and the pictures that one case counts as."""


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench steering", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, studio = cases_of("steering", options), None
    names = {part: [f"{part} {at}" for at in range(-(-options.pictures // PARTS[part][1]))] for part in options.part}
    with torch.inference_mode():
        for name in cases.missing([] if options.report else [name for own in names.values() for name in own]):
            studio = studio or Studio(load_demo_model(options.model), SEED)
            part, index = name.split()
            cases.add(name, PARTS[part][0](studio, int(index)))
    for part, own in names.items():
        done = sum(name in cases.known for name in own)
        print(f"\n{part}, {done * PARTS[part][1]} pictures of {done} prompts\n\n{table(cases.arms(own))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
