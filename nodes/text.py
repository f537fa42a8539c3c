"""Let conditionings remember their words."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.editor.messages import say_on_node
from ..host.prompts.text import can_trace, trace_words
from .widgets.sockets import CATEGORY


class TraceWords(io.ComfyNode):
    """CLIP in, a CLIP whose conditionings carry their words out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Input: the CLIP."""
        return io.Schema(
            node_id="SceneScope_TraceWords",
            display_name="Trace Words",
            category=CATEGORY,
            description="Conditionings made with its CLIP remember which word each token belongs to, so Token Heatmap "
            "finds words without you typing the prompt again. The conditioning's numbers, and so the picture, stay "
            "the same.",
            search_aliases=["words", "token table", "trace", "clip", "tokenizer", "prompt words"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP to trace: SD1.5, SD2 or SDXL, before or after LoRA loaders and CLIP Set Last "
                    "Layer. It is not changed; a clone of it is traced.",
                )
            ],
            outputs=[
                io.Clip.Output(
                    display_name="CLIP", tooltip="The same CLIP, traced. Connect it to CLIP Text Encode as usual."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        """Trace a clone, and say so if it can't be traced."""
        if not can_trace(clip):
            say_on_node(
                cls.hidden.unique_id,
                "This text encoder cannot be traced (SD1.5, SD2 and SDXL can). Its conditionings carry no words.",
            )
        return io.NodeOutput(trace_words(clip))


NODES = [TraceWords]
