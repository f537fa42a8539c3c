"""Questions to finished runs: other words, a second run for comparison, and why a word was ignored."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.editor.messages import say_and_keep, say_on_node
from ..host.prompts.words import picture_size, words_asked
from ..host.recording.ask import question_of
from ..scenescope.attention.doctor.examine import REPAIRS, examine
from ..scenescope.attention.draw.figure import draw_comparison
from ..scenescope.attention.read.ask import ask
from .widgets import bounds
from .widgets.declare import choice, share, text, whole
from .widgets.sockets import CATEGORY, AttentionMaps, Steering
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
            search_aliases=["ovam", "open vocabulary", "attention map", "query", "new words"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL that was sampled, with the same LoRAs."),
                AttentionMaps.Input("attention_maps", tooltip="Recorded with keep_queries switched on."),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The new words, from the stock CLIP Text Encode after Trace Words. Learned tokens and "
                    "`embedding:name` work too.",
                ),
                choice("branch", BRANCHES, "positive")(
                    "Which prompt to add the words to. The positive prompt made the picture."
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
        """Inputs: two recordings, the words, and which part to look at."""
        return io.Schema(
            node_id="SceneScope_CompareMaps",
            display_name="Compare Maps",
            category=CATEGORY,
            description="Puts two runs side by side for each word: before, after, the difference and the ratio, each "
            "column on one scale.",
            search_aliases=["attention map", "difference", "compare lora", "before after"],
            inputs=[
                AttentionMaps.Input("before", tooltip="The first run."),
                AttentionMaps.Input(
                    "after", tooltip="The second run. If its size differs, it is resampled to the first one's."
                ),
                text("words", multiline=True)(
                    f"{WORDS_TIP} Both prompts must have them; empty takes the words that both have."
                ),
                *view_inputs(),
                choice("colours", COLOURS, "inferno")(COLOURS_TIP),
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


class PromptDoctor(io.ComfyNode):
    """Recorded maps in; verdicts, a sheet and a repair out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the maps, the things, and how they are to be repaired."""
        return io.Schema(
            node_id="SceneScope_PromptDoctor",
            display_name="Prompt Doctor",
            category=CATEGORY,
            description="Says whether each thing in the prompt has a place of its own, lost it to another word, or "
            "leaks onto one, with the numbers behind it. Also gives a repair for Steer Words, which puts what is "
            "missing into free space and holds the rest.",
            search_aliases=["missing object", "neglect", "attribute leakage", "why", "attend and excite", "diagnose"],
            inputs=[
                AttentionMaps.Input("attention_maps", tooltip="The run, from Attention Maps or Sample and Record."),
                text("words", multiline=True, placeholder="red circle\ngreen star")(
                    "The things, one per line, the noun last: `red circle`. Empty, the default, finds them in an "
                    "English prompt: words between commas, `and`, `with`, `wearing`; whatever follows `in`, `on` or "
                    "`at` is left out, and so are words about quality and style."
                ),
                *_doctor_inputs(),
                io.Image.Input("picture", optional=True, tooltip="The decoded picture, to lie under the maps."),
                *_proof_inputs(),
            ],
            outputs=[
                io.String.Output(display_name="REPORT", tooltip="The verdicts as Markdown, with numbers and limits."),
                io.String.Output(display_name="JSON", tooltip="The same, for programs."),
                io.Image.Output(
                    display_name="IMAGE", tooltip="A row for each thing: its map, and where it beats the others."
                ),
                Steering.Output(
                    display_name="STEERING",
                    tooltip="The repair; connect it to Steer Words, and sample again with the same seed. Does nothing "
                    "if nothing is missing.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, attention_maps: Any, words: str, picture: Any = None, **choices: Any) -> io.NodeOutput:
        """Examine, draw, and say it on the node."""
        found = examine(attention_maps, words, picture=picture, **choices)
        said = say_and_keep(cls.hidden.unique_id, found.summary)
        shown = ui.PreviewImage(found.sheet, cls=cls).as_dict() | said
        return io.NodeOutput(found.report, found.data, found.sheet, found.repair, ui=shown)


def _doctor_inputs() -> list[io.Input]:
    return [
        choice("repair", REPAIRS, "place")(
            "place: what is missing goes into the largest free square, what was found is held where it is "
            "(default). lift: the missing words get 7.4 times their odds everywhere, which loses other things. none: "
            "no repair."
        ),
        share("early", 0.25, advanced=True)(
            "Also give the verdicts after this share of the steps, which shows how early you could stop a "
            "run. 0 leaves it out."
        ),
        whole("image_index", 0, bounds.IMAGE, advanced=True)("Which picture of a batch is examined, from 0."),
    ]


def _proof_inputs() -> list[io.Input]:
    return [
        io.Image.Input(
            "without",
            optional=True,
            tooltip="For a proof: a picture with the same prompt and seed, but with one thing switched off by Steer "
            "Words (its words, strength -12, end 1). If the picture changes where the thing's word looked, the map is "
            "right. Needs `picture` too.",
        ),
        text("dropped", optional=True)(
            "Which thing was switched off in `without`, as it is called in the report: `red circle`. Empty, the "
            "default, is the first one."
        ),
    ]


NODES: list[Any] = [AskAgain, CompareMaps, PromptDoctor]
