"""What a steered step of the full size costs, in CPU seconds beside a plain one, sampled in turn."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import torch
from pack.benchmarks.acting.cases import Result
from pack.demo.studio import Studio
from pack.host.acting.steer import Odds, places_of, steered, steerings_of
from pack.host.prompts.text import TOKENS_KEY
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.tests.support.host.runs import Run, conditioning, sample

WORDS = "red circle\nblue square"
FULL_SIDE = 256
"""Pixels of the full-size U-Net's pictures."""


def in_halves(model: Any) -> Any:
    """Two phrases in a half of the picture each, in every step."""
    left = torch.zeros(64, 64)
    left[:, :32] = 1
    return steered(model, steerings_of(WORDS, places_of(WORDS, [left, 1 - left], None), Odds(end=1.0)))


def full_size(_: Studio, index: int) -> Result:
    """Two steps of SD1.5's full-size U-Net, of random weights, two rows at 256x256: one in which the words' shares are
    measured, as in the first and the last one of a run, and one in which they are not.
    """
    model, own, positive, negative = _full_parts()
    settings, spent = Run(size=(FULL_SIDE // 8, FULL_SIDE // 8), steps=3), {}
    for name, which in (("plain", model), ("steered", own))[:: 1 if index % 2 else -1]:
        times: list[float] = []
        sample(which, positive, negative, settings, callback=lambda *_, own=times: own.append(time.process_time()))
        spent[name] = {"a step": times[1] - times[0], "with shares": times[2] - times[1]}
    plain, steered_ = spent["plain"], spent["steered"]
    ratios = {f"{kind}, ratio": steered_[kind] / plain[kind] for kind in plain}
    return [("full size", {"a plain step, s": plain["a step"]} | ratios)]


@cache
def _full_parts() -> tuple[Any, Any, Any, Any]:
    """The model, the same steered, and two prompts; warmed up once."""
    from pack.tests.support.host.checkpoint import full_size

    model, _, _ = full_size()
    width = model.model.model_config.unet_config["context_dim"]
    words = ("red", "circle", "and", "blue", "square")
    tokens = [Token(0, 0, 0, "start", "", None)]
    tokens += [Token(at, 0, at, "text", word, at - 1) for at, word in enumerate(words, start=1)]
    tokens += [Token(at, 0, at, "padding", "", None) for at in range(len(tokens), 77)]
    positive = conditioning(seed=1, width=width, **{TOKENS_KEY: TokenTable(" ".join(words), tuple(tokens))})
    negative, own = conditioning(seed=2, width=width), in_halves(model)
    for which in (model, own):
        sample(which, positive, negative, Run(size=(8, 8), steps=1))
    return model, own, positive, negative
