"""The per-block shape log: how a picture's latent becomes feature maps, queries, keys and attention maps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.editor.shapes import shapes_ui
from ..host.shapes import shape_log
from .widgets import bounds
from .widgets.declare import whole
from .widgets.sockets import CATEGORY, AttentionMaps

ALIASES = [
    "shape log",
    "u-net shapes",
    "unet shapes",
    "tensor shapes",
    "attention shape",
    "block sizes",
    "architecture",
]


class BlockShapes(io.ComfyNode):
    """A MODEL and a size, or a recorded run, in; tables and a drawing of the U out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: one of two sources, and the size for the first."""
        return io.Schema(
            node_id="SceneScope_BlockShapes",
            display_name="Block Shapes",
            category=CATEGORY,
            description="Shows the sizes in every block of the U-Net: the feature map, the tokens, queries, keys and "
            "values, the heads, the attention maps and their bytes. Given a MODEL and a size, nothing is computed and "
            "no memory is used; given ATTENTION_MAPS, it shows what really ran, and a click on a block opens its maps.",
            search_aliases=ALIASES,
            inputs=[
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="A U-Net: SD1.5, SD2 or SDXL. Its shapes are worked out without running it. Connect "
                    "either this or the maps.",
                ),
                AttentionMaps.Input(
                    "maps",
                    optional=True,
                    tooltip="A recorded run, from Attention Maps or Sample and Record. Shows what really ran, with all "
                    "patches; the four numbers below are not used then.",
                ),
                *_size_inputs(),
            ],
            outputs=[
                io.String.Output(display_name="MARKDOWN", tooltip="The table. Preview as Text shows it."),
                io.String.Output(display_name="JSON", tooltip="The same with exact byte counts, for programs."),
                io.String.Output(display_name="CSV", tooltip="One line for each attention layer, for a spreadsheet."),
                io.Image.Output(display_name="IMAGE", tooltip="The U drawn, with all sizes on it."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any = None, maps: Any = None, **size: int) -> io.NodeOutput:
        """Find the shapes, write them down in four ways, and give the panel what it shows."""
        log = shape_log(model, maps, **size)
        return io.NodeOutput(log.markdown(), log.json(), log.csv(), log.picture(), ui=shapes_ui(log, maps))


def _size_inputs() -> list[io.Input]:
    return [
        whole("width", 512, bounds.SHAPE_SIDE, step=8)(
            "Width of the picture in pixels, a multiple of 8; 512 is what SD1.5 was trained at."
        ),
        whole("height", 512, bounds.SHAPE_SIDE, step=8)(
            "Height of the picture in pixels, a multiple of 8; 512 is what SD1.5 was trained at."
        ),
        whole("batch_size", 1, bounds.SHAPE_BATCH)(
            "Rows of one model call. 1 shows the bytes of one picture; sampling with a negative prompt runs "
            "two rows for each picture."
        ),
        whole("tokens", 77, bounds.SHAPE_TOKENS, step=77)(
            "Tokens of the prompt: 77 for each chunk, so 154 for a long prompt. A short prompt has 77 too."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [BlockShapes]
