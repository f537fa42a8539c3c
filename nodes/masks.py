"""From maps to masks that other nodes can use."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_on_node
from ..scenescope.attention.read.masks import CUTS, cut_masks, refine_by
from .widgets.declare import choice, number, whole
from .widgets.sockets import CATEGORY, AttentionMaps, takes_pictures


class MapToMask(io.ComfyNode):
    """Cuts masks from maps, and says how well they match known ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: maps, how to cut them, what refines them, and a known mask."""
        return io.Schema(
            node_id="SceneScope_MapToMask",
            display_name="Map to Mask",
            category=CATEGORY,
            description="Cuts a mask from each map, for inpainting, for training or for measuring: compared with a "
            "known mask, it says how well they match (IoU).",
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
                number("threshold", 0.5, 0.0, 1.0, 0.01)(
                    "For fraction: the share of each map's maximum, 0 to 1. Half the maximum is where a "
                    "blurred edge was."
                ),
                whole("refine", 0, 0, 20)(
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
    @takes_pictures
    def execute(cls, mask, method, threshold, refine, attention_maps=None, truth=None) -> io.NodeOutput:
        """Refine, cut, measure."""
        maps, caution = refine_by(attention_maps, mask, refine)
        found = cut_masks(maps, method, threshold, truth, caution)
        say_on_node(cls.hidden.unique_id, found.describe())
        return io.NodeOutput(found.masks, found.mean_iou, ui=ui.PreviewMask(found.masks, cls=cls))


NODES: list[Any] = [MapToMask]
