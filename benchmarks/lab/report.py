"""The report about a photo and a checkpoint: one line for each way to train, as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pack.benchmarks.lab.files import write
from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.variants import title_of

Pair = tuple[float, float]
PLACES = ("at the beach", "in the snow", "on a wooden floor")
"""Where the things are drawn again."""
SCENE = "scene.png"
"""The picture of the masks on the photo."""
EXPLAINED = (
    "across all subsets of the tokens. Colours: histogram intersection of what each token looks at in them with what "
    "its mask holds."
)


@dataclass(frozen=True)
class Line:
    """What the report says about one way to train; looks before and after, None where nothing is trained.

    Args:
        key: of all that it depends on.
        variant: the way.
        fit: map-against-mask IoU.
        masked: the loss inside the masks.
        colours: that came back, 0 to 1.
        picture: the sheet's file name.
    """

    key: str
    variant: str
    fit: Pair | None
    masked: Pair | None
    colours: float
    picture: str


@dataclass(frozen=True)
class Report:
    """All that is said.

    Args:
        title: of scene and model.
        protocol: what was done, a sentence.
        lines: the ways that were measured.
        failed: the other ways, and why.
    """

    title: str
    protocol: str
    lines: Sequence[Line]
    failed: Mapping[str, str]


def earlier(folder: Path) -> dict[str, Line]:
    """The lines that a run before this one finished, by their keys; not those whose picture is gone."""
    file = folder / "report.json"
    if not file.is_file():
        return {}
    lines = [Line(**line) for line in json.loads(file.read_text("utf-8")) if "key" in line]
    return {line.key: line for line in lines if (folder / line.picture).is_file()}


def save(report: Report, others: Mapping[str, Line], folder: Path) -> None:
    """Write `report.md` and `report.json`; the second keeps the lines of other runs too."""
    write(folder / "report.md", markdown(report))
    own = {line.key for line in report.lines}
    kept = [*report.lines, *(line for line in others.values() if line.key not in own)]
    write(folder / "report.json", json.dumps([asdict(line) for line in kept], indent=1))


def markdown(report: Report) -> str:
    """Write the report.

    >>> text = markdown(Report("cup with sd15", "1 + 1 steps", [], {"full": "did not fit in memory"}))
    >>> print(text.splitlines()[-3], text.splitlines()[-1], sep="\\n")
    | full | - | - | - | - | - |
    full did not fit in memory
    """
    rows = []
    for line in report.lines:
        numbers = (*(line.fit or (None, None)), *(line.masked or (None, None)), line.colours)
        rows.append([title_of(line.variant), *("-" if value is None else f"{value:.3f}" for value in numbers)])
    rows += [[title_of(variant), *["-"] * 5] for variant in report.failed]
    titles = ["", "IoU before", "IoU after", "masked loss before", "masked loss after", "colours"]
    text = [f"# {report.title}", "", report.protocol, EXPLAINED, "", table(titles, rows)]
    for variant, why in report.failed.items():
        text += ["", f"{title_of(variant)} {why}"]
    if report.lines:
        text += ["", "## The scene", "", f"![the masks on the photo]({SCENE})"]
    for line in report.lines:
        text += ["", f"## {title_of(line.variant)}", "", f"![{title_of(line.variant)}]({line.picture})"]
    return "\n".join(text) + "\n"
