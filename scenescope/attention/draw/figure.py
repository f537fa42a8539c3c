"""A complete heatmap: from a recording and words to pictures, masks and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...cost import MASK, PICTURE, refuse_costly
from ...dims import Grid
from ...drawing.pixels import joined
from ...errors import InputError
from ..read.ask import asked_columns
from ..read.cautions import Caution, cautions_of, unevenness
from ..read.compare import Comparison, compare, difference_scaled, mean_change, shared_words
from ..read.heatmap import Heatmaps, Merge, heatmaps_of
from ..read.normalise import Normalisation, ScaledMaps, normalise
from ..read.view import View, Viewed, viewed
from ..record.recording import Recording
from ..words.find import WordMatch
from .comparison import comparison_tiles
from .render import Style, captioned, masks_of, plain, sheet, tiles_of

SheetLayout = Literal["sheet", "captioned", "plain", "animation"]
LAYOUTS: tuple[SheetLayout, ...] = get_args(SheetLayout)
JSON_FORMAT = 1


@dataclass(frozen=True)
class Layouting:
    """How a heatmap becomes a picture.

    Args:
        style: size, colours and enlarging of one map.
        how: the normalisation.
        layout: `sheet` puts all on one picture; `captioned` makes a picture of each map with its word, numbers and bar;
            `plain` makes a picture of each map and nothing else; `animation` makes a sheet of each step, on one scale.
        merge: how the tokens of one word are joined.
    """

    style: Style
    how: Normalisation = "words"
    layout: SheetLayout = "sheet"
    merge: Merge = "mean"


@dataclass(frozen=True)
class Figure:
    """What a heatmap node gives.

    Args:
        images: (batch height width 3) float32 0..1.
        masks: (batch height width) float32 0..1 of the scale, at the style's size; steps outside, then words, then
            pictures.
        report: the numbers, as JSON.
        cautions: reasons to doubt the maps.
    """

    images: Tensor
    masks: Tensor
    report: str
    cautions: tuple[Caution, ...]


def draw(recording: Recording, words: Sequence[WordMatch], view: View, plan: Layouting) -> Figure:
    """Draw the heatmaps of words.

    Args:
        recording: what a run left.
        words: as `find_words` gives them.
        view: which part of the recording, and on which grid.
        plan: how to draw.

    Raises:
        InputError: the layout is none of the four.
    """
    if plan.layout not in LAYOUTS:
        raise InputError(f"Heatmap: {plan.layout!r} is not a layout. Choose {', '.join(LAYOUTS)}.")
    seen = viewed(recording, view)
    _refuse_too_many(seen, words, plan)
    whole = heatmaps_of(seen, words, merge=plan.merge)
    cautions, style = cautions_of(whole), plan.style
    report = json.dumps(_report(seen, words, whole, plan.how, cautions), indent=2, ensure_ascii=False)
    if plan.layout == "animation":
        images, masks = _animation(seen, words, plan)
        return Figure(images, masks, report, cautions)
    (scaled,) = normalise([whole], plan.how)
    tiles, footer = tiles_of(scaled, cautions, style), footer_of(seen, whole, words)
    if plan.layout == "plain":
        images = plain(scaled, style)
    else:
        images = (sheet if plan.layout == "sheet" else captioned)(tiles, style, footer=footer)
    return Figure(images, masks_of(scaled, style.size, style.enlarging), report, cautions)


def draw_comparison(
    recordings: tuple[Recording, Recording],
    words: tuple[Sequence[WordMatch], Sequence[WordMatch]],
    view: View,
    plan: Layouting,
) -> tuple[Figure, Comparison]:
    """Draw two recordings side by side with their difference and ratio.

    Args:
        recordings: before and after.
        words: of each of them; what both have is compared, and the rest is named.
        view: which part of both, and on which grid; the second's maps are brought to the first's grid.
        plan: how to draw; the normalisation is one scale for both.
    """
    shared = shared_words(*words)
    runs = tuple(viewed(recording, view) for recording in recordings)
    _refuse_too_many(runs[0], shared.first, plan, "Compare Maps")
    first = heatmaps_of(runs[0], shared.first, merge=plan.merge)
    second = heatmaps_of(runs[1], shared.second, merge=plan.merge)
    found = compare(first, replace(second, words=first.words))
    footer = footer_of(runs[0], first, shared.first) + shared.describe()
    images = sheet(comparison_tiles(found, plan.style), plan.style, footer=footer)
    masks = masks_of(difference_scaled(found), plan.style.size, plan.style.enlarging)
    parts = [
        _report(run, match, maps, "runs", cautions_of(maps))
        for run, match, maps in zip(runs, (shared.first, shared.second), (first, second), strict=True)
    ]
    change = mean_change(found).tolist()
    report = {"what": "SceneScope comparison", "format": JSON_FORMAT, "before": parts[0], "after": parts[1]}
    report["mean absolute difference"] = {name: [row[at] for row in change] for at, name in enumerate(first.words)}
    report |= {"only before": list(shared.only_first), "only after": list(shared.only_second)}
    return Figure(images, masks, json.dumps(report, indent=2, ensure_ascii=False), ()), found


def footer_of(seen: Viewed, maps: Heatmaps, words: Sequence[WordMatch]) -> str:
    """Say in one line which part of the recording a picture shows, and which words were asked for later."""
    recording, view = seen.recording, seen.view
    late = [name for name, word in zip(maps.words, words, strict=True) if asked_columns(recording, word.columns)]
    asked = f"; not in the prompt: {', '.join(late)}" if late else ""
    first, last = maps.steps[0], maps.steps[-1]
    steps = f"step {first}" if len(maps.steps) == 1 else f"{len(maps.steps)} steps from {first} to {last}"
    blocks = maps.blocks[0] if len(maps.blocks) == 1 else f"{len(maps.blocks)} blocks"
    heads = "" if view.heads.strip().lower() in ("", "mean", "all") else f", heads {view.heads.strip()}"
    odd = ", ".join(f"{count} of {maps.maps} maps were made on {grid}" for grid, count in maps.resampled)
    made = f"; {odd}" if odd else ""
    return f"{view.branch} {view.resolution} {maps.grid}, {steps} of {recording.steps}, {blocks}{heads}{made}{asked}"


def names_in(report: str) -> tuple[str, ...]:
    """Read what the maps of a heatmap are called from its report, in the order of its masks.

    Args:
        report: the JSON of a `Figure`.

    Returns:
        The words, each as often as there are pictures.

    Raises:
        InputError: the text is not a report of a heatmap.
    """
    try:
        words = json.loads(report)["words"]
        return tuple(str(word["word"]) for word in words for _ in word["images"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            "Overlay Heatmap: names is not the report of a heatmap, so there are no names in it. Connect Token "
            "Heatmap's REPORT, or nothing."
        ) from error


def _refuse_too_many(seen: Viewed, words: Sequence[WordMatch], plan: Layouting, who: str = "Token Heatmap") -> None:
    """Refuse masks and pictures that take too much memory."""
    images = 1 if seen.view.image is not None else max((len(item.maps) for item in seen.maps), default=1)
    frames = len(seen.steps) if plan.layout == "animation" else 1
    each = MASK + (PICTURE if plan.layout == "plain" else 0)
    advice = "Name fewer words, choose fewer steps or one picture of the batch, or connect a smaller picture."
    refuse_costly(f"{who}: the maps", len(words) * images * frames, plan.style.size, each, advice)


def _animation(seen: Viewed, words: Sequence[WordMatch], plan: Layouting) -> tuple[Tensor, Tensor]:
    """A sheet for each step, and the masks; one scale over all steps."""
    frames = [heatmaps_of(step, words, merge=plan.merge) for step in seen.by_step()]
    scaled = normalise(frames, "runs" if plan.how == "words" else plan.how)
    if plan.how == "maximum":
        top = torch.stack([frame.top for frame in scaled]).amax(dim=0)
        scaled = tuple(replace(frame, top=top) for frame in scaled)
    pictures = [
        sheet(tiles_of(one, (), plan.style), plan.style, footer=footer_of(seen, frame, words))
        for one, frame in zip(scaled, frames, strict=True)
    ]
    return joined(pictures), torch.cat([_masks(one, plan.style) for one in scaled])


def _masks(scaled: ScaledMaps, style: Style) -> Tensor:
    return masks_of(scaled, style.size, style.enlarging)


def _report(
    seen: Viewed, words: Sequence[WordMatch], maps: Heatmaps, how: Normalisation, cautions: Sequence[Caution]
) -> dict[str, Any]:
    recording, table = seen.recording, seen.entry.table
    return {
        "what": "SceneScope heatmap",
        "format": JSON_FORMAT,
        "prompt": table.prompt if table else None,
        "view": asdict(seen.view),
        "grid": str(maps.grid),
        "latent": str(Grid(*maps.latent)),
        "steps": maps.steps,
        "steps of the run": recording.steps,
        "blocks": maps.blocks,
        "maps": maps.maps,
        "maps made on other grids": {str(grid): count for grid, count in maps.resampled},
        "normalisation": how,
        "words": [
            {
                "word": maps.words[index],
                "columns": word.occurrences,
                "in the prompt": not asked_columns(recording, word.columns),
                "weight": word.weight,
                "uniform share": float(maps.uniform[index]),
                "images": [_numbers(maps, image, index) for image in range(len(maps.values))],
            }
            for index, word in enumerate(words)
        ],
        "cautions": [asdict(caution) for caution in cautions],
        "not recorded": dict(recording.skipped),
        "acts": recording.about.get("acts"),
    }


def _numbers(maps: Heatmaps, image: int, word: int) -> dict[str, Any]:
    """Shares of one map: over the cells that the entry covers."""
    values = maps.values[image, ..., word]
    mean = float((values * maps.covered).sum() / maps.covered.sum())
    place = divmod(int(values.argmax()), maps.grid.width)
    return {
        "mean share": mean,
        "largest share": float(values.amax()),
        "largest at row, column": place,
        "mean times uniform": mean / float(maps.uniform[word]),
        "unevenness": float(unevenness(values, maps.covered)),
    }
