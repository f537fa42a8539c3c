"""Questions to finished runs: other words, and another run beside it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_on_node
from ..host.prompts.ask import question_of
from ..host.prompts.words import picture_size, words_asked
from ..scenescope.attention.draw.figure import draw_comparison
from ..scenescope.attention.read.ask import ask
from .widgets.sockets import CATEGORY, AttentionMaps
from .widgets.view import (
    BRANCHES,
    COLOURS,
    COLOURS_TIP,
    WORDS_TIP,
    foreign_prompt_inputs,
    layouting_of,
    more_view_inputs,
    view_inputs,
    view_of,
)


class AskAgain(io.ComfyNode):
    """Answers for words that were not in the prompt, without sampling again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the model, the maps with their queries, and the new words."""
        return io.Schema(
            node_id="SceneScope_AskAgain",
            display_name="Ask Again",
            category=CATEGORY,
            description="Maps words that weren't in the prompt, as if they had been among its tokens, without "
            "sampling again. Needs maps recorded with keep_queries.",
            search_aliases=["daam", "ovam", "open vocabulary", "attention map", "heatmap", "query", "new words"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL that was sampled, with the same LoRAs."),
                AttentionMaps.Input("attention_maps", tooltip="Recorded with keep_queries switched on."),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The new words, from the stock CLIP Text Encode after Trace Words. Learned tokens and "
                    "`embedding:name` work too.",
                ),
                io.Combo.Input(
                    "branch",
                    options=BRANCHES,
                    default="positive",
                    tooltip="Which prompt to add the words to. The positive prompt made the picture.",
                ),
                *foreign_prompt_inputs(),
            ],
            outputs=[
                AttentionMaps.Output(
                    display_name="ATTENTION_MAPS",
                    tooltip="The same run with one more token for each new word, marked as not in the prompt.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, attention_maps, conditioning, branch, clip=None, prompt="") -> io.NodeOutput:
        """Ask the model for the words' keys, and the recording for the answer."""
        question = question_of(model, attention_maps, conditioning, branch, clip=clip, prompt=prompt)
        answer = ask(attention_maps, question)
        say_on_node(cls.hidden.unique_id, f"Asked, not in the prompt: {question.text}\n{answer.describe()}")
        return io.NodeOutput(answer)


class CompareMaps(io.ComfyNode):
    """Two runs side by side: before and after a LoRA, a training, another seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: two records, the words, and which part to look at."""
        return io.Schema(
            node_id="SceneScope_CompareMaps",
            display_name="Compare Maps",
            category=CATEGORY,
            description="Puts two runs side by side for each word: before, after, the difference and the ratio, each "
            "column on one scale.",
            search_aliases=["daam", "attention map", "heatmap", "difference", "compare lora", "before after"],
            inputs=[
                AttentionMaps.Input("before", tooltip="The first run."),
                AttentionMaps.Input(
                    "after", tooltip="The second run. If its size differs, it is resampled to the first one's."
                ),
                io.String.Input(
                    "words",
                    default="",
                    multiline=True,
                    tooltip=f"{WORDS_TIP} Both prompts must have them; empty takes the words that both have.",
                ),
                *view_inputs(),
                io.Combo.Input("colours", options=COLOURS, default="inferno", tooltip=COLOURS_TIP),
                *more_view_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="A row for each word and picture."),
                io.Mask.Output(
                    display_name="MASK", tooltip=("How much each place changed, from 0 to 1 (the largest change).")
                ),
                io.String.Output(display_name="REPORT", tooltip="The numbers of both runs as JSON."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, before: Any, after: Any, words: str, **choices: Any) -> io.NodeOutput:
        """Find the words in both prompts, and draw."""
        view = view_of(choices)
        found = (words_asked(before, view, words), words_asked(after, view, words))
        plan = layouting_of({**choices, "normalisation": "runs", "layout": "sheet"}, picture_size(before, None))
        figure, _ = draw_comparison((before, after), found, view, plan)
        return io.NodeOutput(figure.images, figure.masks, figure.report, ui=ui.PreviewImage(figure.images, cls=cls))


NODES: list[Any] = [AskAgain, CompareMaps]
