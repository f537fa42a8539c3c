"""What all trials say: means over scenes with their intervals, as Markdown, JSON and a plot's points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.scatter import Spot
from pack.benchmarks.lab.variants import title_of
from scipy import stats

LEVEL = 0.05
"""One minus the coverage of intervals; and how often chance may put any star into a table."""
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A mean over scenes, its 95 % interval by Student's t, the number of scenes, and the odds of chance.

    chance: two-sided p of Student's t for a mean of 0; 1 for a single scene.
    """

    mean: float
    low: float
    high: float
    scenes: int
    chance: float = 1.0

    @property
    def half(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    def text(self, digits: int = 2) -> str:
        """Write it as a table holds it.

        >>> Figure(0.5, 0.44, 0.58, 8).text()
        '0.50 ± 0.07'
        """
        return f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


Tell = Callable[[Mapping[str, Any]], float | None]


def _told(name: str, fewest: int = 1, most: int = 3) -> Tell:
    """A picture's own number, where the prompt asks for so many things."""
    return lambda picture: picture[name] if fewest <= len(picture["asked"]) <= most else None


MEASURES: dict[str, tuple[str, Tell]] = {
    "retrieved": ("found among 16, one token", _told("retrieved", most=1)),
    "prompt": ("prompt similarity", _told("prompt")),
    "identity": ("identity similarity", _told("identity")),
    "several": ("identity, two tokens or more", _told("identity", fewest=2)),
    "leakage": ("leakage", _told("leakage")),
    "identity alone": ("identity, one token", _told("identity", most=1)),
    "leakage alone": ("leakage, one token", _told("leakage", most=1)),
} | {name: (name, _told(name)) for name in ("background", "count", "recognised", "shape", "colour", "texture")}
"""Measure -> its title, and how a picture tells it; None where a picture cannot."""
FIRST = ("retrieved", "prompt", "identity", "several", "leakage")
ALONE = ("identity alone", "leakage alone")
"""What prompts for one thing give: among the numbers, in no table."""


def figure_of(values: Sequence[float]) -> Figure:
    """Average over scenes, with Student's interval; of a single scene nothing is known but its own value.

    >>> figure_of([0.5, 0.5]).low
    0.5
    """
    array = np.array(values, dtype=float)
    mean, count = float(array.mean()), len(array)
    if count == 1:
        return Figure(mean, mean, mean, 1)
    error = float(array.std(ddof=1)) / count**0.5
    half = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * error
    chance = float(2 * stats.t.sf(abs(mean) / error, count - 1)) if error else float(mean == 0)
    return Figure(mean, mean - half, mean + half, count, chance)


def holm(chances: Mapping[tuple[str, str], float]) -> set[tuple[str, str]]:
    """Choose which of a table's comparisons hold together.

    Source: Holm 1979: in rising order the k-th of m stays below LEVEL / (m - k + 1), or the rest falls.

    >>> sorted(holm({("a", "x"): 0.01, ("b", "x"): 0.02, ("c", "x"): 0.2}))
    [('a', 'x'), ('b', 'x')]
    """
    kept: set[tuple[str, str]] = set()
    for place, (name, chance) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        if chance >= LEVEL / (len(chances) - place):
            break
        kept.add(name)
    return kept


def by_scene(results: Sequence[Result], tell: Callable[[Result], list[float]]) -> dict[tuple[int, int], float]:
    """Average what trials tell over seeds and pictures: (things, scene) -> mean."""
    told: dict[tuple[int, int], list[float]] = {}
    for result in results:
        told.setdefault((result["things"], result["scene"]), []).extend(tell(result))
    return {scene: float(np.mean(values)) for scene, values in told.items() if values}


def of_pictures(name: str) -> Callable[[Result], list[float]]:
    """How a trial tells a measure: one value for each picture that can."""
    tell = MEASURES[name][1]
    return lambda result: [value for value in map(tell, result["pictures"]) if value is not None]


def of_looks(name: str, moment: int) -> Callable[[Result], list[float]]:
    """How a trial tells what a look found, before (0) or after (1) training."""
    return lambda result: [result[name][moment]] if name in result else []


def summary(results: Sequence[Result], variants: Sequence[str]) -> dict[str, dict[str, Figure]]:
    """All figures: variant -> measure -> figure; what was not measured is left out."""
    tellers = {name: of_pictures(name) for name in MEASURES}
    for name in ("fit", "masked"):
        tellers |= {f"{name} before": of_looks(name, 0), f"{name} after": of_looks(name, 1)}
    tellers["seconds"] = lambda result: [sum(result["seconds"][part] for part in ("train", "draw"))]
    found: dict[str, dict[str, Figure]] = {}
    for variant in variants:
        own = [result for result in results if result["variant"] == variant]
        scenes = {name: by_scene(own, tell) for name, tell in tellers.items()}
        found[variant] = {name: figure_of(list(values.values())) for name, values in scenes.items() if values}
    return {variant: figures for variant, figures in found.items() if figures}


def differences(results: Sequence[Result], variants: Sequence[str], base: str) -> dict[str, dict[str, Figure]]:
    """Each variant minus another, scene by scene: what the scenes have in common drops out."""
    found: dict[str, dict[str, Figure]] = {}
    tellers = {name: of_pictures(name) for name in (*FIRST, *ALONE)} | {"fit after": of_looks("fit", 1)}
    for variant in variants:
        for name, tell in tellers.items():
            sides = [
                by_scene([item for item in results if item["variant"] == which], tell) for which in (variant, base)
            ]
            common = [sides[0][scene] - sides[1][scene] for scene in sides[0] if scene in sides[1]]
            if variant != base and common:
                found.setdefault(variant, {})[name] = figure_of(common)
    return found


def markdown(results: Sequence[Result], variants: Sequence[str]) -> str:
    """Write the tables: the ablation, what makes it up, and what was learned."""
    figures = summary(results, variants)
    apart = differences(results, variants, "full")
    compared = {(variant, name): apart[variant][name].chance for variant in apart for name in apart[variant]}
    stars = holm({pair: chance for pair, chance in compared.items() if pair[1] in (*FIRST, "fit after")})
    titles = ["", *(MEASURES[name][0] for name in FIRST), "map-against-mask IoU", "scenes"]
    rows = [
        [title_of(variant)]
        + [_cell(own, name) + (" *" if (variant, name) in stars else "") for name in (*FIRST, "fit after")]
        + [str(own["prompt"].scenes)]
        for variant, own in figures.items()
    ]
    lines = [table(titles, rows), ""]
    lines += ["Mean over scenes ± half of Student's 95 % interval over scenes; * differs from full, scene by scene"]
    lines += ["(Student's t, all of the table's comparisons together at 5 % after Holm). Leakage: less is better.", ""]
    parts = [name for name in MEASURES if name not in (*FIRST, *ALONE)]
    rows = [
        [title_of(variant), *(_cell(own, name) for name in parts), f"{own['seconds'].mean:.0f}"]
        for variant, own in figures.items()
    ]
    lines += [table(["", *parts, "seconds"], rows), ""]
    looks = ("fit before", "fit after", "masked before", "masked after")
    rows = [
        [title_of(variant), *(_cell(own, name, 3) for name in looks)]
        for variant, own in figures.items()
        if "fit after" in own
    ]
    lines += [table(["", "IoU before", "IoU after", "masked loss before", "masked loss after"], rows)]
    return "\n".join(lines) + "\n"


def spots(results: Sequence[Result], variants: Sequence[str]) -> list[Spot]:
    """Each way to train as a point: leakage across, map-against-mask IoU up."""
    return [
        Spot(title_of(variant), *((own[name].low, own[name].mean, own[name].high) for name in ("leakage", "fit after")))
        for variant, own in summary(results, variants).items()
        if "fit after" in own
    ]


def _cell(own: Mapping[str, Figure], name: str, digits: int = 2) -> str:
    return own[name].text(digits) if name in own else "-"
