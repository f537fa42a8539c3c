"""The parts of `bench steering`: each takes the numbers of cases, and gives for each its arms with their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pack.benchmarks.acting.cases import Figures, Result
from pack.benchmarks.acting.crowd import Pose
from pack.benchmarks.acting.looks import looks_of
from pack.benchmarks.acting.pace import demo_size, full_size
from pack.benchmarks.acting.studio import Studio, box_of, iou, overlap, phrase, present
from pack.demo.judge.checker import Found, find_things, judge
from pack.demo.layouts import random_layout
from pack.demo.measure import SIDE
from pack.host.acting.region import GatingRegion, gated, region_mask, with_region
from pack.host.acting.steer import Odds, keeping_others, places_of, steerings_of
from pack.scenescope.attention.act.region import RegionTrack, WordRegion
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.dims import Grid
from pack.scenescope.world.scene import Layout, caption, draw, full_caption, noun_phrase

SEED = 160_000
"""Of layouts and noise: used for nothing else."""
PLACED, WHOLE = Odds(), Odds(end=1.0)
OTHER_NOISE = 1000
"""What is added to a case's noise for another seed."""
SEEDS = 4
"""Pictures of a case whose conditionings are gated: a region is one batch's, so they have one prompt."""
LOOKS = "looks"
"""The arm whose figures are what the Prompt Doctor sees, a value for each thing."""


def layout_of(part: int, count: int, index: int) -> Layout:
    """A held-out layout: another one for each part, number of things, and case."""
    return random_layout(np.random.default_rng([SEED + part, count, index]), count=count, held_out=True)


def lines_of(layout: Layout) -> str:
    """The things' phrases, one per line."""
    return "\n".join(phrase(thing) for thing in layout.things)


Arm = tuple[str, tuple[Steering, ...], np.ndarray]
"""A name, what acts, and where things should be: (thing height width)."""


def placements(layout: Layout, *, all_kinds: bool) -> list[Arm]:
    """Things into their drawn masks; with `all_kinds` also mirrored, into boxes, and held together."""
    masks, words = draw(layout, height=SIDE, width=SIDE).masks, lines_of(layout)

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


def unsteered(studio: Studio, layouts: Sequence[Layout], indices: Sequence[int], acts: Any = None) -> list[Any]:
    """Pictures and recordings without steering."""
    acts = acts or [()] * len(layouts)
    poses = [Pose(full_caption(layout), at, tuple(own)) for layout, at, own in zip(layouts, indices, acts, strict=True)]
    return studio.recorded(poses, SEED)


def looks(picture: np.ndarray, recording: Recording, layout: Layout) -> Result:
    """What the Prompt Doctor sees of each thing."""
    return [(LOOKS, asdict(look)) for look in looks_of(picture, recording, layout)]


def two_things(studio: Studio, indices: Sequence[int]) -> list[Result]:
    """Two things: put into places, the first switched off, and the Prompt Doctor's numbers."""
    layouts = [layout_of(0, 2, index) for index in indices]
    plain = unsteered(studio, layouts, indices)
    results: list[Result] = []
    poses: list[Pose] = []
    then: list[tuple[int, Callable[[np.ndarray], Result]]] = []
    for at, (layout, index, (picture, recording)) in enumerate(zip(layouts, indices, plain, strict=True)):
        found = find_things(picture)
        results.append(looks(picture, recording, layout))
        for name, acts, wanted in placements(layout, all_kinds=True):
            results[at].append(placed(f"{name}, unsteered", picture, layout, wanted))
            poses.append(Pose(full_caption(layout), index, acts))
            then.append((at, partial(_placed_alone, name, layout, wanted)))
        if all(present(found, thing) for thing in layout.things):
            off = steerings_of(phrase(layout.things[0]), (), replace(WHOLE, strength=-12.0))
            poses.append(Pose(full_caption(layout), index, off))
            then.append((at, partial(_switched_off, layout)))
    for (at, measure), picture in zip(then, studio.crowd(poses, SEED), strict=True):
        results[at] += measure(picture)
    return results


def _placed_alone(name: str, layout: Layout, wanted: np.ndarray, picture: np.ndarray) -> Result:
    return [placed(name, picture, layout, wanted)]


def _switched_off(layout: Layout, picture: np.ndarray, name: str = "off at -12, all steps") -> Result:
    after = find_things(picture)
    gone, kept = not present(after, layout.things[0]), present(after, layout.things[1])
    return [(name, {"gone": gone, "other kept": kept})]


def drawn(_: Studio, indices: Sequence[int]) -> list[Result]:
    """The most that can be had: two and three things drawn by the world itself into those masks and boxes.

    The checker finds a thing without its outline, so it meets its own mask in part.
    """
    results: list[Result] = []
    for index in indices:
        result: Result = []
        for part, count in ((0, 2), (2, 3)):
            layout = layout_of(part, count, index)
            picture = draw(layout, height=SIDE, width=SIDE).picture
            for name, _, wanted in placements(layout, all_kinds=count == 2):
                if name != "mirrored masks":
                    result.append(placed(f"{count} things drawn into {name}", picture, layout, wanted))
        results.append(result)
    return results


def regions(studio: Studio, indices: Sequence[int]) -> list[Result]:
    """The live regions of two nouns, in the pictures of part two; the first thing taken away, the other held in its."""
    layouts = [layout_of(0, 2, index) for index in indices]
    tracks = [[RegionTrack() for _ in layout.things] for layout in layouts]
    followed = [followers(layout, own) for layout, own in zip(layouts, tracks, strict=True)]
    plain = unsteered(studio, layouts, indices, followed)
    results: list[Result] = []
    poses: list[Pose] = []
    then: list[int] = []
    for at, (layout, (picture, recording)) in enumerate(zip(layouts, plain, strict=True)):
        found = find_things(picture)
        results.append(regions_of(layout, tracks[at], found))
        if all(present(found, thing) for thing in layout.things):
            away = keeping_others(recording, phrase(layout.things[0]), replace(WHOLE, strength=-12.0))
            poses.append(Pose(full_caption(layout), indices[at], away))
            then.append(at)
    for at, picture in zip(then, studio.crowd(poses, SEED) if poses else (), strict=True):
        results[at] += _switched_off(layouts[at], picture, "off at -12, the other held")
    return results


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


def three_things(studio: Studio, indices: Sequence[int]) -> list[Result]:
    """Three things: put into their masks; what is missing lifted, given a place, or drawn again from another seed."""
    layouts = [layout_of(2, 3, index) for index in indices]
    plain = unsteered(studio, layouts, indices)
    results: list[Result] = []
    poses: list[Pose] = []
    then: list[tuple[int, Callable[[np.ndarray], Result]]] = []
    for at, (layout, index, (picture, recording)) in enumerate(zip(layouts, indices, plain, strict=True)):
        ((_, acts, wanted),) = placements(layout, all_kinds=False)
        results.append([*looks(picture, recording, layout), placed("masks, unsteered", picture, layout, wanted)])
        poses.append(Pose(full_caption(layout), index, acts))
        then.append((at, partial(_placed_alone, "masks", layout, wanted)))
        found = find_things(picture)
        missing = [thing for thing in layout.things if not present(found, thing)]
        if missing and len(missing) < len(layout.things):
            for name, pose in repairs(layout, index, recording, "\n".join(phrase(thing) for thing in missing)):
                poses.append(pose)
                then.append((at, partial(_repaired, name, layout, missing)))
    for (at, measure), picture in zip(then, studio.crowd(poses, SEED), strict=True):
        results[at] += measure(picture)
    return results


def repairs(layout: Layout, index: int, recording: Recording, words: str) -> list[tuple[str, Pose]]:
    """The ways to bring words back."""
    prompt = full_caption(layout)
    return [
        ("lifted by 2", Pose(prompt, index, steerings_of(words, (), WHOLE))),
        ("others kept, first half", Pose(prompt, index, keeping_others(recording, words, PLACED))),
        ("others kept, all steps", Pose(prompt, index, keeping_others(recording, words, WHOLE))),
        ("another seed", Pose(prompt, index + OTHER_NOISE)),
    ]


def _repaired(name: str, layout: Layout, missing: Sequence[Any], picture: np.ndarray) -> Result:
    after = find_things(picture)
    return [(name, {"back" if thing in missing else "kept": present(after, thing)}) for thing in layout.things]


def gating(studio: Studio, indices: Sequence[int]) -> list[Result]:
    """A colour for one of two things by its region; the base prompt leaves that colour out."""
    return [_gated(studio, index) for index in indices]


def _gated(studio: Studio, index: int) -> Result:
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
        for picture in studio.sampled(own, prompt, SEED + 4000 + index, SEEDS):
            there, verdict = present(find_things(picture), first), judge(picture, layout)
            result.append((name, {"in its colour": there, "finds": verdict.finds, "follows": verdict.follows}))
    return result


def without_colour(thing: Any) -> str:
    """The thing's phrase, its colour left out."""
    return noun_phrase([word for word in thing.words() if word != thing.colour])


def binding(studio: Studio, indices: Sequence[int], *, count: int) -> list[Result]:
    """Each thing's colour by its own region, with and without the colours in the base prompt; and by the prompt alone.

    Bound right: of the shapes that came out, those in their colour.
    """
    return [_bound(studio, index, count) for index in indices]


def _bound(studio: Studio, index: int, count: int) -> Result:
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
        for picture in studio.sampled(model, positive, SEED + 5000 + index, SEEDS):
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


Part = Callable[[Studio, Sequence[int]], list[Result]]

PARTS: dict[str, tuple[Part, int, int]] = {
    "two": (two_things, 1, 8),
    "three": (three_things, 1, 8),
    "drawn": (drawn, 1, 8),
    "regions": (regions, 1, 16),
    "gate": (gating, SEEDS, 1),
    "bind": (partial(binding, count=2), SEEDS, 1),
    "bind3": (partial(binding, count=3), SEEDS, 1),
    "time": (demo_size, 20, 1),
    "full": (full_size, 20, 1),
}
"""Each part, the pictures that one case counts as, and how many cases are done together."""
