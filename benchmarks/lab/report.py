"""The report about a photo and a checkpoint: one line for each way to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pack.benchmarks.lab.markdown import table
from pack.benchmarks.lab.variants import title_of

Pair = tuple[float, float]
PLACES = ("at the beach", "in the snow", "on a wooden floor")
"""Where the things are drawn again."""
SCENE = "scene.png"
"""The picture of the masks on the photo."""
EXPLAINED = (
    f"Pictures: down {', '.join(PLACES)}; across all subsets of the tokens. Colours: histogram intersection of what "
    "each token looks at in them with what its mask holds."
)
TITLES = ("", "IoU before", "IoU after", "masked loss before", "masked loss after", "colours")


@dataclass(frozen=True)
class Line:
    """What the report says about one way to train; looks before and after, None where nothing is trained.

    Args:
        variant: the way.
        fit: map-against-mask IoU.
        masked: the loss inside the masks.
        colours: that came back, 0 to 1.
        picture: the sheet's file name.
    """

    variant: str
    fit: Pair | None
    masked: Pair | None
    colours: float
    picture: str


def markdown(title: str, steps: str, lines: Sequence[Line], failed: Mapping[str, str]) -> str:
    """Write the report.

    Args:
        title: of scene and model.
        steps: how long was trained, a sentence.
        lines: the ways that were measured.
        failed: the other ways, and why.

    >>> text = markdown("cup with sd15", "1 + 1 steps.", [], {"full": "did not fit in memory"})
    >>> print(text.splitlines()[-3], text.splitlines()[-1], sep="\\n")
    | full | - | - | - | - | - |
    full did not fit in memory
    """
    rows = []
    for line in lines:
        numbers = (*(line.fit or (None, None)), *(line.masked or (None, None)), line.colours)
        rows.append([title_of(line.variant), *("-" if value is None else f"{value:.3f}" for value in numbers)])
    rows += [[title_of(variant), *["-"] * 5] for variant in failed]
    text = [f"# {title}", "", steps, EXPLAINED, "", table(TITLES, rows)]
    for variant, why in failed.items():
        text += ["", f"{title_of(variant)} {why}"]
    if lines:
        text += ["", "## The scene", "", f"![the masks on the photo]({SCENE})"]
    for line in lines:
        text += ["", f"## {title_of(line.variant)}", "", f"![{title_of(line.variant)}]({line.picture})"]
    return "\n".join(text) + "\n"
