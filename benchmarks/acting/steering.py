"""The parts of `bench steering`: each takes the number of a case, and gives its arms with their figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pack.benchmarks.acting.cases import Figures, Result
from pack.benchmarks.acting.studio import Studio, box_of, overlap, phrase, present
from pack.demo.judge.checker import find_things, judge
from pack.demo.layouts import random_layout
from pack.demo.measure import SIDE
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region
from pack.host.acting.steer import Odds, keeping_others, places_of, steered, steerings_of
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.dims import Grid
from pack.scenescope.world.scene import Layout, caption, draw, full_caption, noun_phrase

SEED = 160_000
"""Of layouts and noise: used for nothing else."""
PLACED, WHOLE = Odds(), Odds(end=1.0)


def layout_of(part: int, count: int, index: int) -> Layout:
    """A held-out layout: another one for each part, number of things, and case."""
    return random_layout(np.random.default_rng([SEED + part, count, index]), count=count, held_out=True)


def placing(studio: Studio, index: int, *, count: int, where: str) -> Result:
    """Things into their drawn masks, into boxes around them, or into mirrored masks."""
    layout = layout_of(0, count, index)
    prompt, seed, masks = full_caption(layout), SEED + index, draw(layout, height=SIDE, width=SIDE).masks
    words = "\n".join(phrase(thing) for thing in layout.things)
    wanted = np.ascontiguousarray(masks[:, :, ::-1]) if where == "mirrored masks" else masks
    places = places_of(words, list(torch.from_numpy(wanted)), None)
    if where == "boxes":
        boxes = [box_of(mask) for mask in masks]
        wanted, places = np.zeros_like(masks), places_of(words, [], boxes)
        for area, box in zip(wanted, boxes, strict=True):
            area[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = 1

    def arm(steerings: tuple[Steering, ...]) -> Figures:
        picture = studio.picture(steered(studio.model, steerings), prompt, seed)
        things, verdict = find_things(picture), judge(picture, layout)
        ious = [overlap(things, thing, mask) for thing, mask in zip(layout.things, wanted, strict=True)]
        return {"IoU": float(np.mean(ious)), "follows": verdict.follows, "finds": verdict.finds}

    name = f"{count} things, {where}"
    arms = {"unsteered": (), "steered": steerings_of(words, places, PLACED)}
    if where == "masks":
        arms["steered and held together by 1"] = steerings_of(words, places, replace(PLACED, together=1.0))
    return [(f"{name}: {told}", arm(steerings)) for told, steerings in arms.items()]


def switching_off(studio: Studio, index: int) -> Result:
    """The first of two things that are there switched off."""
    layout = layout_of(1, 2, index)
    prompt, seed = full_caption(layout), SEED + 1000 + index
    before = find_things(studio.picture(studio.model, prompt, seed))
    if not all(present(before, thing) for thing in layout.things):
        return []
    result: Result = []
    for name, odds in (("first half", PLACED), ("all steps", WHOLE)):
        act = steerings_of(phrase(layout.things[0]), (), replace(odds, strength=-12.0))
        after = find_things(studio.picture(steered(studio.model, act), prompt, seed))
        gone, kept = not present(after, layout.things[0]), present(after, layout.things[1])
        result.append((f"off at -12, {name}", {"gone": gone, "other kept": kept}))
    return result


def bringing_back(studio: Studio, index: int) -> Result:
    """What is missing lifted, lifted with the others held, or drawn again from another seed."""
    layout = layout_of(2, 3, index)
    prompt, seed = full_caption(layout), SEED + 2000 + index
    picture, recording = studio.recorded(prompt, seed)
    before = find_things(picture)
    missing = [thing for thing in layout.things if not present(before, thing)]
    if not missing or len(missing) == len(layout.things):
        return []
    words = "\n".join(phrase(thing) for thing in missing)
    arms: dict[str, Callable[[], tuple[Any, int]]] = {
        "lifted by 2": lambda: (steered(studio.model, steerings_of(words, (), WHOLE)), seed),
        "others kept, first half": lambda: (steered(studio.model, keeping_others(recording, words, PLACED)), seed),
        "others kept, all steps": lambda: (steered(studio.model, keeping_others(recording, words, WHOLE)), seed),
        "another seed": lambda: (studio.model, seed + 500_000),
    }
    result: Result = []
    for name, make in arms.items():
        model, own_seed = make()
        after = find_things(studio.picture(model, prompt, own_seed))
        result += [(name, {"back" if t in missing else "kept": present(after, t)}) for t in layout.things]
    return result


def following(studio: Studio, index: int) -> Result:
    """How well the live region of a noun fits the finished thing, at a quarter, half and the end of the run."""
    layout = layout_of(3, 2, index)
    names = [thing.shape for thing in layout.things]
    if len(set(names)) < len(names):
        return []
    model, tracks = studio.model, [RegionTrack() for _ in names]
    for name, rival, track in zip(names, reversed(names), tracks, strict=True):
        model = with_region(model, GatingRegion(name, track, rival, cut=0.6, start=0.0), None)
    things = find_things(studio.picture(model, full_caption(layout), SEED + 3000 + index))
    result: Result = []
    for thing, track in zip(layout.things, tracks, strict=True):
        found = [each.mask for each in things if (each.shape, each.colour) == (thing.shape, thing.colour)]
        if len(found) == 1:
            ious = {}
            for name, step in (("a quarter", 4), ("half", 9), ("the end", 19)):
                region = region_mask(track, Grid(SIDE, SIDE), step)[0].numpy() > 0.5
                ious[name] = float((region & found[0]).sum() / (region | found[0]).sum())
            result.append(("IoU of the live region", ious))
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
        picture = studio.sampled(own, prompt, SEED + 4000 + index)
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
        found = find_things(studio.sampled(model, positive, SEED + 5000 + index))
        for thing in layout.things:
            shaped = [each for each in found if each.shape == thing.shape]
            figures: Figures = {"shape there": bool(shaped)}
            if shaped:
                figures["bound right"] = any(each.colour == thing.colour for each in shaped)
            result.append((f"{count} things, {name}", figures))
    return result


def timing(studio: Studio, index: int) -> Result:
    """CPU seconds of a picture, steered to the end and plain, in turn."""
    layout = layout_of(6, 2, index)
    prompt, words = full_caption(layout), "\n".join(phrase(thing) for thing in layout.things)
    masks = draw(layout, height=SIDE, width=SIDE).masks
    act = steerings_of(words, places_of(words, list(torch.from_numpy(masks)), None), WHOLE)
    models = (studio.model, steered(studio.model, act))
    positive = studio.encode(prompt)
    spent: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(4):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.process_time()
            studio.latent(models[which], positive, SEED)
            spent[which].append(time.process_time() - start)
    plain, own = (statistics.median(spent[which]) for which in (0, 1))
    return [("demo model, steered in all steps", {"plain, s": plain, "steered, s": own, "ratio": own / plain})]


PARTS: dict[str, Callable[[Studio, int], Result]] = {
    "masks": partial(placing, count=2, where="masks"),
    "boxes": partial(placing, count=2, where="boxes"),
    "mirror": partial(placing, count=2, where="mirrored masks"),
    "three": partial(placing, count=3, where="masks"),
    "off": switching_off,
    "back": bringing_back,
    "region": following,
    "gate": gating,
    "bind": partial(binding, count=2),
    "bind3": partial(binding, count=3),
    "time": timing,
}
