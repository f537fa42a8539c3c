"""Where each word went: maps as pictures, masks and numbers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_and_keep
from ..host.editor.viewer import viewer_ui
from ..host.prompts.words import picture_cautions, picture_size, words_asked
from ..scenescope.attention.draw.figure import LAYOUTS, draw, names_in
from ..scenescope.attention.draw.render import overlay
from ..scenescope.attention.read.normalise import NORMALISATIONS
from ..scenescope.drawing.named import named
from .widgets import bounds
from .widgets.declare import choice, share, text, whole
from .widgets.sockets import CATEGORY, AttentionMaps
from .widgets.view import (
    COLOURS,
    COLOURS_TIP,
    WORDS_TIP,
    foreign_prompt_inputs,
    layouting_of,
    more_view_inputs,
    view_inputs,
    view_of,
)

ALIASES = ["heatmap", "heat map", "attention map", "attention maps", "cross attention", "token map", "saliency"]


class TokenHeatmap(io.ComfyNode):
    """Recorded maps and words in, pictures, masks and numbers out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the maps, the words, which part to look at, and how to draw it."""
        return io.Schema(
            node_id="SceneScope_TokenHeatmap",
            display_name="Token Heatmap",
            category=CATEGORY,
            description="Shows where in the picture each word of the prompt has influence: one map for each word, "
            "with a colour bar that says what the colours mean.",
            search_aliases=ALIASES,
            inputs=[
                AttentionMaps.Input("attention_maps", tooltip="From Attention Maps, Sample and Record, or Load Maps."),
                text("words", multiline=True)(WORDS_TIP),
                *view_inputs(),
                *_drawing_inputs(),
                *more_view_inputs(),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="The decoded picture; the masks take its size in pixels. Without it they are eight times "
                    "as large as the latent.",
                ),
                *foreign_prompt_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The maps in colour, as the layout says."),
                io.Mask.Output(
                    display_name="MASK",
                    tooltip="The maps, from 0 to 1 (the top of the colour bar), at full picture size: for each word, "
                    "one mask per picture.",
                ),
                io.String.Output(display_name="REPORT", tooltip="Words, tokens, shares and cautions as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, attention_maps, words, picture=None, clip=None, prompt="", **choices: Any) -> io.NodeOutput:
        """Find the words, draw, and report cautions."""
        view = view_of(choices)
        found = words_asked(attention_maps, view, words, clip, prompt)
        plan = layouting_of(choices, picture_size(attention_maps, picture))
        figure = draw(attention_maps, found, view, plan)
        told = (*picture_cautions(attention_maps, picture), *(caution.text for caution in figure.cautions))
        cautions = "\n".join(told)
        asked = found if words.strip() else ()
        viewer = viewer_ui(attention_maps, words=asked, picture=picture, resolution=view.resolution, branch=view.branch)
        said = say_and_keep(cls.hidden.unique_id, cautions)
        shown = ui.PreviewImage(figure.images, cls=cls).as_dict() | viewer | said
        return io.NodeOutput(figure.images, figure.masks, figure.report, ui=shown)


class HeatmapOverlay(io.ComfyNode):
    """Lays maps over pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: pictures and masks."""
        return io.Schema(
            node_id="SceneScope_HeatmapOverlay",
            display_name="Overlay Heatmap",
            category=CATEGORY,
            description="Lays maps over pictures in colour. One picture is used for every map; a batch of pictures "
            "takes turns.",
            search_aliases=["overlay", "blend mask", "attention picture"],
            inputs=[
                io.Image.Input("image", tooltip="The picture, or the batch that was sampled."),
                io.Mask.Input("mask", tooltip="Maps 0 to 1 of any size, such as Token Heatmap's MASK."),
                share("opacity", 0.7)(
                    "How much the colour covers where the map is 1; half of that where it is 0. 0.7 keeps the "
                    "picture readable under the brightest spot."
                ),
                choice("colours", COLOURS, "inferno")(COLOURS_TIP),
                text("names", optional=True, force_input=True)(
                    "The REPORT of the Token Heatmap that the maps come from: each picture then has its word below it."
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="A picture for each map.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: Any, mask: Any, opacity: float, colours: Any, names: str = "") -> io.NodeOutput:
        """Draw the overlay, with names if there are any."""
        images = named(overlay(image, mask, opacity=opacity, colours=colours), names_in(names) if names else ())
        return io.NodeOutput(images, ui=ui.PreviewImage(images, cls=cls))


def _drawing_inputs() -> list[io.Input]:
    return [
        choice("normalisation", [name for name in NORMALISATIONS if name != "runs"], "words")(
            "What the top of the colour bar stands for. words: the largest share of all words, so that words "
            "can be compared (default). maximum: each map's own largest share; it shows shapes, but never compare its "
            "colours. share: 1, all the attention there is. ratio: how many times the even share."
        ),
        choice("layout", LAYOUTS, "sheet")(
            "sheet: all maps on one picture. captioned: one picture for each. plain: the same without any "
            "text. animation: a sheet for each step, on one scale, as a batch for any video node."
        ),
        choice("colours", COLOURS, "inferno")(COLOURS_TIP),
        whole("image_index", -1, bounds.IMAGE_OR_EACH)("Which picture of a batch, from 0; -1 shows each."),
    ]


NODES = [TokenHeatmap, HeatmapOverlay]
