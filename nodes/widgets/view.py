"""The widgets that say which part of a recording to look at, and how to draw it; shared by the nodes that show maps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...scenescope.attention.draw.figure import Layouting
from ...scenescope.attention.draw.render import Style
from ...scenescope.attention.read.heatmap import MERGES
from ...scenescope.attention.read.view import View
from ...scenescope.attention.record.choices import RESOLUTIONS
from ...scenescope.dims import Grid
from ...scenescope.drawing.colormap import COLOUR_MAPS
from ...scenescope.drawing.pixels import ENLARGING
from . import bounds
from .declare import choice, text, whole

BRANCHES = ["positive", "negative", "middle", "empty_negative_prompt"]  # the latter two of DualCFG and PerpNeg
COLOURS = [name for name in COLOUR_MAPS if name != "difference"]
COLOURS_TIP = (
    "inferno and viridis grow lighter evenly, so that equal steps look equal; grey is for further processing. inferno "
    "is the default because low values stay dark."
)
WORDS_TIP = (
    "Words or phrases of the prompt, separated by commas: `cat, red hat`. Empty shows each word. `cat#2` is the second "
    "cat of the prompt; `<start>`, `<end>` and `<padding>` are the tokens without words."
)


def view_inputs() -> list[io.Input]:
    """Widgets for grid, blocks, steps and branch."""
    return [
        choice("resolution", RESOLUTIONS, "auto")(
            "auto reads the layers whose grid is nearest to 16x16 cells: the default because words are "
            "clearest there at any picture size. latent/4 and its like read the layers of exactly that grid, with "
            "nothing resampled; latent/4 is 16x16 for 512x512, which Break-a-Scene trains on. all reads every layer "
            "and resamples it to `size`."
        ),
        text("blocks", "all")(
            "Which blocks: all, down, mid, up, or names such as `input 7, output 3`. Block Shapes lists them."
        ),
        text("steps", "all")(
            "Sampler steps to average, counted from 0: all, first, last, 0-4, `2, 5, -1`, or every 4. All by "
            "default, because early steps show the layout and late ones the detail."
        ),
        choice("branch", BRANCHES, "positive")("Which prompt the words belong to."),
    ]


def more_view_inputs() -> list[io.Input]:
    """Widgets that are seldom needed."""
    return [
        text("size", "latent", advanced=True)(
            "For resolution all: the grid to resample to, in cells: latent, latent/2, or `height x width` "
            "such as 32x48. Coarser grids take means by area, finer ones interpolate. The default is the latent's own "
            "grid, so that no layer loses detail."
        ),
        text("heads", "mean", advanced=True)(
            "mean, or numbers and ranges from 0: `0, 3-5`. For single heads, set heads to `each` in Record Attention."
        ),
        whole("entry", 0, bounds.ENTRY, advanced=True)(
            "Which conditioning of the branch, from 0: several come from Conditioning (Combine), areas and masks."
        ),
        whole("evaluation", -1, bounds.ENTRY_OR_EACH, advanced=True)(
            "Which model evaluation inside a step, from 0; -1 averages all that were recorded."
        ),
        choice("merge", MERGES, "mean", advanced=True)(
            "For a word of several tokens: the mean of their shares (default, comparable with other words), "
            "the sum, or the first token alone. If a word occurs several times, the mean is taken."
        ),
        choice("enlarging", ENLARGING, "smooth", advanced=True)(
            "smooth interpolates between the cells; cells shows each cell as a square."
        ),
    ]


def foreign_prompt_inputs() -> list[io.Input]:
    """Sockets for conditionings that were encoded without Trace Words."""
    return [
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="Only for conditionings encoded without Trace Words: the CLIP that encoded them.",
        ),
        text("prompt", optional=True, advanced=True)(
            "Only with clip connected: the prompt, exactly as it was encoded."
        ),
    ]


def view_of(choices: dict[str, Any]) -> View:
    """Read the widgets of the view."""
    names = ("resolution", "size", "blocks", "heads", "steps", "branch", "entry")
    evaluation, image = choices["evaluation"], choices.get("image_index", -1)
    return View(
        **{name: choices[name] for name in names},
        evaluation=None if evaluation < 0 else evaluation,
        image=None if image < 0 else image,
    )


def layouting_of(choices: dict[str, Any], size: Grid) -> Layouting:
    """Read the widgets of the picture."""
    style = Style(size, choices["colours"], choices["enlarging"])
    return Layouting(style, choices["normalisation"], choices["layout"], choices["merge"])
