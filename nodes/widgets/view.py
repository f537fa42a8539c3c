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

BRANCHES = ["positive", "negative", "middle", "empty_negative_prompt"]  # the latter two of DualCFG and PerpNeg
COLOURS = [name for name in COLOUR_MAPS if name != "difference"]
COLOURS_TIP = (
    "inferno and viridis grow lighter evenly, so that equal steps look equal; grey is for further processing. inferno "
    "is the default because low values stay dark."
)
WORDS_TIP = (
    "Words or phrases of the prompt, separated by commas: `cat, red hat`. Empty shows each word. `cat#2` is its second "
    "place, `<start>`, `<end>`, `<padding>` are the columns without words."
)


def view_inputs() -> list[io.Input]:
    """Widgets for grid, blocks, steps and branch."""
    return [
        io.Combo.Input(
            "resolution",
            options=list(RESOLUTIONS),
            default="auto",
            tooltip="auto reads the layers whose grid is nearest to 16x16 cells: the default because words are "
            "clearest there at any picture size. latent/4 and its like read the layers of exactly that grid, with "
            "nothing resampled; latent/4 is 16x16 for 512x512, which Break-a-Scene trains on. all reads every layer "
            "and resamples it to `size`.",
        ),
        io.String.Input(
            "blocks",
            default="all",
            tooltip="Which blocks: all, down, mid, up, or names such as `input 7, output 3`. Block Shapes lists them.",
        ),
        io.String.Input(
            "steps",
            default="all",
            tooltip="Sampler steps to average, counted from 0: all, first, last, 0-4, `2, 5, -1`, or every 4. All by "
            "default, because early steps show the layout and late ones the detail.",
        ),
        io.Combo.Input("branch", options=BRANCHES, default="positive", tooltip="Which prompt the words belong to."),
    ]


def more_view_inputs() -> list[io.Input]:
    """Widgets that are seldom needed."""
    return [
        io.String.Input(
            "size",
            default="latent",
            advanced=True,
            tooltip="For resolution all: the grid to resample to, in cells: latent, latent/2, or `height x width` "
            "such as 32x48. Coarser grids take means by area, finer ones interpolate. The default is the latent's own "
            "grid, so that no layer loses detail.",
        ),
        io.String.Input(
            "heads",
            default="mean",
            advanced=True,
            tooltip="mean, or numbers and ranges from 0: `0, 3-5`. For single heads, set heads to `each` in Record "
            "Attention.",
        ),
        io.Int.Input(
            "entry",
            default=0,
            min=0,
            max=99,
            advanced=True,
            tooltip="Which conditioning of the branch, from 0: several come from Conditioning (Combine), areas and "
            "masks.",
        ),
        io.Int.Input(
            "evaluation",
            default=-1,
            min=-1,
            max=99,
            advanced=True,
            tooltip="Which model evaluation inside a step, from 0; -1 averages all that were recorded.",
        ),
        io.Combo.Input(
            "merge",
            options=list(MERGES),
            default="mean",
            advanced=True,
            tooltip="For a word of several tokens: the mean of their shares (default, comparable with other words), "
            "the sum, or the first token alone. If a word occurs several times, the mean is taken.",
        ),
        io.Combo.Input(
            "enlarging",
            options=list(ENLARGING),
            default="smooth",
            advanced=True,
            tooltip="smooth interpolates between the cells; cells shows each cell as a square.",
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
        io.String.Input(
            "prompt",
            default="",
            optional=True,
            advanced=True,
            tooltip="Only with clip connected: the prompt, exactly as it was encoded.",
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
