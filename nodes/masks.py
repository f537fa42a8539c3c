"""From maps to masks that other nodes can use, and what belongs together in a picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_on_node
from ..host.prompts.words import picture_size
from ..scenescope.attention.draw.affinity import draw_components, draw_seen
from ..scenescope.attention.draw.render import Style
from ..scenescope.attention.read.affinity import GRID_CHOICES
from ..scenescope.attention.read.masks import CUTS, cut_masks, refine_by, self_attention
from .widgets import bounds
from .widgets.declare import choice, number, whole
from .widgets.sockets import CATEGORY, AttentionMaps
from .widgets.view import BRANCHES, COLOURS, COLOURS_TIP


class MapToMask(io.ComfyNode):
    """Cuts masks from maps, and says how well they match known ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: maps, how to cut them, what refines them, and a known mask."""
        return io.Schema(
            node_id="SceneScope_MapToMask",
            display_name="Map to Mask",
            category=CATEGORY,
            description="Cuts a mask from each map, for inpainting, training or measuring. Given a known mask, it says "
            "how well the two match (IoU).",
            search_aliases=["segmentation", "threshold", "otsu", "iou", "attention mask", "map to mask"],
            inputs=[
                io.Mask.Input(
                    "mask", tooltip="The map: Token Heatmap's MASK, values 0 to 1. One mask is cut from each."
                ),
                choice("method", CUTS, "fraction")(
                    "fraction keeps what reaches a fraction of each map's own maximum; it is the default "
                    "because you can tune it. otsu finds the threshold that best splits each map in two, with nothing "
                    "to tune."
                ),
                number("threshold", 0.5, bounds.SHARE, 0.01)(
                    "For fraction: the share of each map's maximum, 0 to 1. Half the maximum is where a "
                    "blurred edge was."
                ),
                whole("refine", 0, bounds.REFINE)(
                    "How many times self-attention spreads the map over what belongs together before it is "
                    "cut. 0, the default, is off: refining can make masks worse, as it did on the demo model, so "
                    "compare with and without. Needs attention_maps recorded with `cross and self`."
                ),
                AttentionMaps.Input("attention_maps", optional=True, tooltip="The same run's maps, only for refine."),
                io.Mask.Input(
                    "truth", optional=True, tooltip="A known mask of any size: one for all, or one for each."
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="MASK", tooltip="0 or 1, as large as the maps."),
                io.Float.Output(
                    display_name="IOU",
                    tooltip="Intersection over union with truth, 0 to 1, the mean over all masks; 0 without truth.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mask, method, threshold, refine, attention_maps=None, truth=None) -> io.NodeOutput:
        """Refine, cut, measure."""
        maps, caution = refine_by(attention_maps, mask, refine)
        found = cut_masks(maps, method, threshold, truth, caution)
        say_on_node(cls.hidden.unique_id, found.describe())
        return io.NodeOutput(found.masks, found.mean_iou, ui=ui.PreviewMask(found.masks, cls=cls))


class SelfAttentionMap(io.ComfyNode):
    """Recorded self-attention in; what a place looks at, or what belongs together, out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the maps, from where to look, and how to draw it."""
        return io.Schema(
            node_id="SceneScope_SelfAttention",
            display_name="Self-Attention Map",
            category=CATEGORY,
            description="Shows what belongs together in the picture: where a point or a mask looks when it looks at "
            "the picture itself, or the leading components of all places.",
            search_aliases=["self attention", "is_cross", "affinity", "pca", "principal components", "segmentation"],
            inputs=[
                AttentionMaps.Input("attention_maps", tooltip="A run recorded with attention `cross and self`."),
                choice("show", ("components", "point", "mask"), "components")(
                    "components: the patterns by which places differ most in what they look at; the default, because "
                    "it needs no place. point: where one place looks. mask: the mean over the places of a mask."
                ),
                number("x", 0.5, bounds.SHARE, 0.01)("For point: the share of the width, from the left."),
                number("y", 0.5, bounds.SHARE, 0.01)("For point: the share of the height, from the top."),
                whole("count", 3, bounds.COMPONENTS)(
                    "For components: how many; each says how much of the differences it explains."
                ),
                choice("grid", GRID_CHOICES, "auto")(
                    "Which of the recorded grids: auto is the one nearest to 16x16 cells. The components of a grid of "
                    "4096 cells take half a minute."
                ),
                choice("branch", BRANCHES, "positive")("Which prompt's half of the run."),
                choice("colours", COLOURS, "inferno")(COLOURS_TIP),
                io.Mask.Input(
                    "mask", optional=True, tooltip="For mask: where to look from; a map for each of a batch."
                ),
                io.Image.Input("picture", optional=True, tooltip="The decoded picture; MASK takes its size in pixels."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The maps on one sheet, a row for each picture."),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="The maps, 0 to 1: for each map, one per picture. In components, 0.5 is neither side.",
                ),
                io.String.Output(display_name="REPORT", tooltip="The numbers as JSON."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, attention_maps, show, count, grid, branch, colours, mask=None, picture=None, **at
    ) -> io.NodeOutput:
        """Average, look, draw."""
        attention = self_attention(attention_maps, branch)
        style = Style(picture_size(attention_maps, picture), colours)
        if show == "components":
            figure = draw_components(attention, count, grid, style)
        else:
            figure = draw_seen(attention, (at["x"], at["y"]) if show == "point" else mask, grid, style)
        shown = ui.PreviewImage(figure.images, cls=cls)
        return io.NodeOutput(figure.images, figure.masks, figure.report, ui=shown)


NODES: list[Any] = [MapToMask, SelfAttentionMap]
