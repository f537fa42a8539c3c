"""Act on what was seen: lift, lower or place words while a picture is sampled."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.acting.steer import Odds, keeping_others, places_of, steered, steerings_of, with_paint
from ..host.editor.messages import say_on_node, tell_front_end
from ..host.scene import painted_strokes, strokes_version
from .widgets import bounds
from .widgets.declare import TakesTooltip, choice, number, share, text, whole
from .widgets.painter import PICTURE_EVENT, copied_painting, painting
from .widgets.sockets import CATEGORY, AttentionMaps, Steering

ALIASES = [
    "attention",
    "regional prompt",
    "paint with words",
    "densediffusion",
    "ediff-i",
    "place",
    "layout",
    "emphasis",
    "prompt weight",
]
MOST_PLACES = 10


class SteerWords(io.ComfyNode):
    """MODEL in, a MODEL whose sampling runs steer words out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the model, the words, their places, and by how much."""
        return io.Schema(
            node_id="SceneScope_SteerWords",
            display_name="Steer Words",
            category=CATEGORY,
            description="Lifts, lowers or places words of the prompt by adding log-odds to their attention. With a "
            "mask or a box for a line of words, that thing is put there. Works with any sampler, LoRA and attention "
            "patch; several nodes in a row add up.",
            search_aliases=ALIASES,
            inputs=[*_word_inputs(), *_odds_inputs(), *_place_inputs(), *_painter_inputs()],
            outputs=[
                io.Model.Output(
                    display_name="MODEL",
                    tooltip="The same model, steered. Connect it to any sampler, or to Record Attention to see the "
                    "steered maps.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, mask: str | None = "", file: str | None = "", **_others: Any) -> str:
        """A painting that was changed under its old name counts as new."""
        return strokes_version(mask or "", file or "")

    @classmethod
    def execute(
        cls,
        model: Any,
        words: str,
        masks=None,
        boxes=None,
        keep_others=None,
        steering=None,
        coloured=None,
        mask="",
        file="",
        picture=None,
        **numbers: Any,
    ) -> io.NodeOutput:
        """Read the lines and their places, and put them on a clone."""
        odds = Odds(**numbers)
        if picture is not None:
            under = ui.PreviewImage(picture[:1, ..., :3], cls=cls).as_dict()["images"][0]
            tell_front_end(PICTURE_EVENT, cls.hidden.unique_id, {"picture": under})
        given = [mask for mask in (masks or {}).values() if mask is not None]
        if keep_others is not None:
            acts = keeping_others(keep_others, words, odds)
        else:
            paint = painted_strokes(mask, file, who="Steer Words")
            acts = steerings_of(words, with_paint(words, places_of(words, given, boxes, coloured), paint), odds)
        acts = (*acts, *(steering or ()))
        if not acts:
            say_on_node(cls.hidden.unique_id, "No words were given, and no repair: nothing is steered.")
        return io.NodeOutput(steered(model, acts, cls.hidden.unique_id))


def _word_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The MODEL to steer: SD1.5, SD2 or SDXL, with any LoRA or patch."),
        text("words", multiline=True, placeholder="red circle\nblue square")(
            "Words of the prompt, one thing per line: `red circle`, `cat#2`, a learned token, "
            "`embedding:name`. Whole phrases work far better than nouns alone. The first line belongs to the first "
            "mask or box, the second to the second; lines without one are steered everywhere."
        ),
    ]


def _log_odds(name: str, default: float, **more: Any) -> TakesTooltip:
    return number(name, default, bounds.ODDS, 0.25, **more)


def _odds_inputs() -> list[io.Input]:
    return [
        _log_odds("strength", 2.0)(
            "For lines without a place, in log-odds: +2 makes the odds of looking at the words 7.4 times as high, -12 "
            "switches them off, 0 does nothing at all. Above 2, other things get lost: give the words a place instead. "
            "Below 0 with keep_others: the words go, the other things stay."
        ),
        _log_odds("inside", 6.0)(
            "For lines with a place: log-odds added inside it. 6, which multiplies the odds by 403, placed things "
            "best in our measurements."
        ),
        _log_odds("outside", -6.0)(
            "For lines with a place: log-odds added outside it. Keep it below 0: inside alone places things much less "
            "well."
        ),
        share("start", 0.0)("The share of the steps at which to begin. The first steps decide the layout, so keep 0."),
        share("end", 0.5)(
            "The share of the steps at which to stop. The first half decides where things are, and later steps draw "
            "freely; use 1 to switch a word off or to hold places to the end."
        ),
        choice("branch", ["positive", "negative", "both"], "positive")(
            "Which prompt's words: the positive one's, the negative one's, or both (and those of a guider with more)."
        ),
        text("blocks", "all", advanced=True)(
            "Which blocks: all, down, mid, up, or names such as `input 7, output 3`. All works best."
        ),
        text("heads", "all", advanced=True)("Which attention heads: all, or numbers and ranges from 0: `0, 3-5`."),
        whole("entry", -1, bounds.ENTRY_OR_EACH, advanced=True)(
            "Which conditioning of the branch, from 0, where there are several (Combine, areas); -1 steers "
            "each that has the words."
        ),
    ]


def _place_inputs() -> list[io.Input]:
    return [
        io.Autogrow.Input(
            "masks",
            template=io.Autogrow.TemplatePrefix(
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the words of one line should be, of any size; soft edges count partially. A batch "
                    "is one mask for each line or, with a single line, one for each picture.",
                ),
                prefix="mask",
                min=0,
                max=MOST_PLACES,
            ),
            optional=True,
            tooltip="A mask for each line of words; a new input appears when the last is connected. Make it about as "
            "large as the thing: half a picture may fill with several.",
        ),
        io.Custom("BOUNDING_BOX").Input(
            "boxes",
            optional=True,
            extra_dict={"forceInput": True},
            tooltip="ComfyUI's bounding boxes, in pixels: one for each line, after the masks.",
        ),
        AttentionMaps.Input(
            "keep_others",
            optional=True,
            tooltip="To bring back missing things: the maps of the run that missed them, with the same prompt, seed "
            "and size. The words get the largest free place, and the prompt's other things are held where they were. "
            "To remove a thing, use a strength below 0 and the maps of the run that had it: its words are lowered "
            "everywhere, and the others are held. Masks and boxes are not used then.",
        ),
        Steering.Input("steering", optional=True, tooltip="From Prompt Doctor: its repair, applied as well."),
        _log_odds("together", 0.0, optional=True, advanced=True)(
            "For lines with a place, in self-attention: the log-odds by which parts of the picture on the same side "
            "of the place's edge look at each other more, and parts on different sides less. 1 makes things fit their "
            "masks more closely; more may lose other things. 0, the default, leaves self-attention alone."
        ),
        io.Image.Input(
            "coloured",
            optional=True,
            tooltip="A painted picture, for example ComfyUI's Painter: each colour is the place of one line, black is "
            "nothing. Row by row from the top, each new colour is the place of the next line, after those with masks.",
        ),
    ]


def _painter_inputs() -> list[io.Input]:
    return [
        painting(
            "painted places",
            "Paint where things should be, a colour for each line of words: each line shows its own. Lines "
            "without paint are steered everywhere. Not used with keep_others.",
            advanced=True,
        ),
        copied_painting(),
        io.Image.Input(
            "picture",
            optional=True,
            tooltip="A picture to paint on, such as the unsteered one; it gives the painter its size, and nothing "
            "else. Without it, you paint on an empty square that is stretched over the picture.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [SteerWords]
