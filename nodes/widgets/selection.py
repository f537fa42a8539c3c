"""The widgets that say what to record, shared by the nodes that record."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ...scenescope.attention.record.layers import Kind
from ...scenescope.attention.record.selection import NEGATIVE, POSITIVE, QueryPrecision, Selection
from . import bounds
from .declare import choice, share, switch, text, whole

_KINDS: dict[str, tuple[Kind, ...]] = {"cross": ("cross",), "self": ("self",), "cross and self": ("cross", "self")}
_BRANCHES = {"both": (POSITIVE, NEGATIVE), "positive": (POSITIVE,), "negative": (NEGATIVE,)}
_PRECISIONS = {"half": torch.float16, "single": torch.float32}
_QUERIES: dict[str, QueryPrecision] = {"as maps": "maps", "half": "half", "single": "single", "int8": "int8"}
_SELF_GRIDS = {"latent": 1, "latent / 2": 2, "latent / 4": 4, "latent / 8": 8}


def selection_inputs() -> list[io.Input]:
    """Widgets for everything that a run can keep."""
    return [
        choice("attention", _KINDS, "cross")(
            "cross: where each word of the prompt has influence. self: how the parts of the picture relate to "
            "each other; it costs time and memory, and is needed to refine masks."
        ),
        text("blocks", "all")(
            "Blocks of the U-Net: all, down, mid, up, or names such as `input 4, middle 0, output 3`. Block "
            "Shapes lists them."
        ),
        choice("heads", ["mean", "each"], "mean")(
            "mean keeps one map per layer, 4.1 MB a step and branch at 512x512. each keeps all heads: eight times that."
        ),
        text("record_steps", "all")(
            "Sampler steps to keep, counted from 0: all, first, last, 0-4, `2, 5, -1`, or every 4."
        ),
        choice("branch", _BRANCHES, "both")("Which prompt to record: the positive one, the negative one, or both."),
        whole("budget", 2000, bounds.BUDGET)(
            "Megabytes of main memory that one run may take. The need is worked out before the run starts; if "
            "it is more, the error says what would fit."
        ),
        *_advanced_inputs(),
    ]


def _advanced_inputs() -> list[io.Input]:
    return [
        choice("evaluations", ["first", "all"], "first", advanced=True)(
            "Second-order samplers evaluate the model several times per step: keep the first evaluation or all of them."
        ),
        choice("precision", _PRECISIONS, "half", advanced=True)(
            "How maps are kept: half is exact to 0.05 % of a share, single doubles the memory. They are always "
            "computed in single precision."
        ),
        choice("self_resolution", _SELF_GRIDS, "latent / 2", advanced=True)(
            "Self-attention is reduced to this grid while it is computed; at the latent's own grid one 512x512 "
            "map takes 34 MB a layer, step and branch."
        ),
        switch("keep_queries", advanced=True)(
            "Keep queries and keys too, 25 MB a step and branch at 512x512, so that Ask Again can answer for "
            "words that were not in the prompt, and Replay Attention can play the run again."
        ),
        io.Mask.Input(
            "self_region",
            optional=True,
            tooltip="A region of the picture, of any size: self-attention then keeps only what this region attends to.",
        ),
        text("live_words", optional=True)(
            "Words whose maps grow on this node while it samples, separated by commas, eight at most. Empty, "
            "the default, shows six: the nouns, then those with the largest shares, without small ones such as `of`. "
            "Needs cross-attention."
        ),
        *_tape_inputs(),
    ]


def _tape_inputs() -> list[io.Input]:
    return [
        switch("keep_self_queries", optional=True, advanced=True)(
            "Keep queries and keys of self-attention too, 46 MB a step and branch at 512x512: only for Replay "
            "Attention with `self_until` above 0."
        ),
        choice("queries_as", _QUERIES, "as maps", optional=True, advanced=True)(
            "How queries and keys are kept. int8, with a scale for each row, takes half the memory of half "
            "and replays just as well; for a replay that is exact to the last bit, keep the precision that the model "
            "runs in."
        ),
        share("queries_until", 1.0, optional=True, advanced=True)(
            "Keep queries and keys only for this share of the steps. By default, Replay Attention plays the "
            "first 0.4: with 0.4 here, int8 and the positive branch, 20 steps at 512x512 take 101 MB."
        ),
        choice("steered", ["as used", "before"], "as used", optional=True, advanced=True)(
            "Where Steer Words acts in the same run: keep the maps as they are used, or as they would be "
            "before steering. Two recorders in a row keep both, for Compare Maps."
        ),
    ]


def selection_of(choices: dict[str, Any]) -> Selection:
    """Read the widgets."""
    region = choices.get("self_region")
    return Selection(
        kinds=_KINDS[choices["attention"]],
        blocks=choices["blocks"],
        heads=choices["heads"],
        steps=choices["record_steps"],
        branches=_BRANCHES[choices["branch"]],
        evaluations=choices["evaluations"],
        precision=_PRECISIONS[choices["precision"]],
        self_times=_SELF_GRIDS[choices["self_resolution"]],
        self_region=None if region is None else region[0] if region.ndim == 3 else region,
        keep_queries=choices["keep_queries"],
        keep_self_queries=choices.get("keep_self_queries", False),
        query_precision=_QUERIES[choices.get("queries_as", "as maps")],
        queries_until=choices.get("queries_until", 1.0),
        steered=choices.get("steered", "as used") == "as used",
        budget=choices["budget"] * 10**6,
    )
