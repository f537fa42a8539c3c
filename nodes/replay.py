"""An earlier run's attention in a new run: swap a word, refine a prompt, keep the picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.acting.run import with_act
from ..scenescope.attention.act.replay import Playing, Replay
from ..scenescope.attention.record.selection import NEGATIVE, POSITIVE
from .widgets.declare import choice, share, text
from .widgets.sockets import CATEGORY, AttentionMaps

_BRANCHES = {"positive": (POSITIVE,), "negative": (NEGATIVE,), "both": (POSITIVE, NEGATIVE)}


class ReplayAttention(io.ComfyNode):
    """MODEL and a recording in, a MODEL out whose runs look where the recorded run looked."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs: the model, the recording, how long and how strongly it is played, and how words are matched."""
        return io.Schema(
            node_id="SceneScope_ReplayAttention",
            display_name="Replay Attention",
            category=CATEGORY,
            description="Samples a changed prompt with the attention of an earlier run, so that the picture stays and "
            "a word changes. Record the first run with keep_queries, keep its seed, and change the prompt.",
            search_aliases=["prompt to prompt", "p2p", "swap", "word swap", "prompt edit", "recolor", "refine"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL that the recorded run was sampled with, with its LoRAs."),
                AttentionMaps.Input("attention_maps", tooltip="The earlier run, recorded with keep_queries."),
                share("cross_until", 0.4)(
                    "Share of the steps in which words keep the recorded attention. 0.4 keeps the layout and "
                    "lets colours, textures and backgrounds change; 0.8 keeps more, and freezes textures and "
                    "backgrounds too. 0 replays nothing."
                ),
                share("self_until", 0.0)(
                    "The same for self-attention, which holds shapes and textures. 0 for most edits; 0.8, with "
                    "cross_until 0.8 to 1, to recolour and change nothing else. Needs a recording with "
                    "keep_self_queries."
                ),
                share("strength", 1.0)(
                    "1 uses the earlier run's attention, 0 the new run's own; values in between mix them."
                ),
                *_matching_inputs(),
                io.Mask.Input(
                    "free",
                    optional=True,
                    tooltip="White where the picture may change more, for example Token Heatmap's mask of the word "
                    "that changes: there, the replay ends at cross_until and self_until. Black is held for as long "
                    "as the recording lasts.",
                ),
                text("free_words", optional=True)(
                    "The same by words instead of a mask: `circle`. Where they were looked at in the recorded "
                    "run is free, a little wider. Record with queries_until 1, or nothing is held around them."
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The same model, replaying. Connect it to any sampler.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, attention_maps: Any, free: Any = None, **choices: Any) -> io.NodeOutput:
        """Put the replay on a clone of the model."""
        playing = Playing(
            cross=choices["cross_until"],
            self_attention=choices["self_until"],
            strength=choices["strength"],
            blocks=choices["blocks"],
            branches=_BRANCHES[choices["branch"]],
            match=choices["match"],
            swaps=choices["swaps"],
            words=choices["words"],
            free=free,
            free_words=choices.get("free_words", ""),
        )
        replay = Replay(attention_maps, playing)
        return io.NodeOutput(with_act(model, replay, cls.hidden.unique_id))


def _matching_inputs() -> list[io.Input]:
    return [
        text("swaps", multiline=True)(
            "Which new word replaces which old one: `red > blue`, one pair per line. Empty, the default, "
            "compares the prompts: words in the same place are swapped, and new words attend freely."
        ),
        text("words", advanced=True)(
            "Words of the new prompt that keep the recorded attention, separated by commas; the others "
            "attend freely. Empty means all."
        ),
        choice("match", ["words", "columns"], "words", advanced=True)(
            "words: prompts of any length, compared word by word; needs Trace Words before CLIP Text Encode. "
            "columns: token by token, for prompts whose words are not known."
        ),
        choice("branch", _BRANCHES, "positive", advanced=True)(
            "Which prompt's attention to replay. The positive prompt's is enough."
        ),
        text("blocks", "all", advanced=True)(
            "Which blocks to replay: all, down, mid, up, or names such as `output 9, output 10`. Without the "
            "finest grid, little is kept."
        ),
    ]


NODES: list[type[io.ComfyNode]] = [ReplayAttention]
