"""Prompts of learned tokens: a template, and which subsets of the tokens stand in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Literal, get_args

from ...cost import MOST_PICTURES
from ...dims import counted
from ...errors import InputError
from ..step.prompts import sentence

TOKENS = "{tokens}"
_MEANT = re.compile(r"\{\s*(?:tokens?)?\s*\}", re.IGNORECASE)  # `{}` is how Train Concepts' sample prompt writes it

Which = Literal["all", "each alone", "all together"]
WHICH: tuple[Which, ...] = get_args(Which)


def subsets(handles: Sequence[str], which: Which = "all") -> tuple[tuple[str, ...], ...]:
    """Choose subsets of some tokens, small ones first, in the tokens' order.

    Source: Break-a-Scene, section 4.1, generates with all of a scene's tokens' subsets; the empty one names nothing.

    >>> subsets(["<a>", "<b>"])
    (('<a>',), ('<b>',), ('<a>', '<b>'))
    >>> subsets(["<a>", "<b>"], "each alone"), subsets(["<a>", "<b>"], "all together")
    ((('<a>',), ('<b>',)), (('<a>', '<b>'),))
    """
    least = len(handles) if which == "all together" else 1
    most = 1 if which == "each alone" else len(handles)
    return tuple(chain.from_iterable(combinations(handles, size) for size in range(least, most + 1)))


def prompts_of(template: str, handles: Sequence[str], which: Which, seeds: int) -> tuple[str, ...]:
    """Make the prompts of a template, one for each subset; what is no template is the only prompt.

    Args:
        template: a prompt; `{tokens}` stands for a subset's tokens, joined by `and`.
        handles: of the learned tokens.
        which: subsets.
        seeds: pictures of each prompt, for the limit.

    Returns:
        The prompts.

    Raises:
        InputError: prompts times seeds are more than 128 pictures, or `{tokens}` is misspelt, or written `{}`.

    >>> prompts_of("a photo of {tokens} at the beach", ["<a>", "<b>"], "all", 1)[1:]
    ('a photo of <b> at the beach', 'a photo of <a> and <b> at the beach')
    >>> prompts_of("a photo of <a>", ["<a>", "<b>"], "all", 1)
    ('a photo of <a>',)
    """
    right = (TOKENS, "{}") if TOKENS in template else (TOKENS,)
    if misspelt := [found for found in _MEANT.findall(template) if found not in right]:
        raise InputError(f"Generate from Tokens: the prompt has {misspelt[0]}; did you mean {TOKENS}?")
    one = TOKENS not in template
    counts = {"all": 2 ** len(handles) - 1, "each alone": len(handles), "all together": 1}
    rows = 1 if one else counts[which]
    if rows * seeds > MOST_PICTURES:
        ways = [f"at most {MOST_PICTURES // rows} seeds"] if rows <= MOST_PICTURES else []
        ways += [f"the tokens {name}" for name, count in counts.items() if not one and count * seeds <= MOST_PICTURES]
        raise InputError(
            f"Generate from Tokens: {counted(rows, 'prompt')} with {counted(seeds, 'seed')} make {rows * seeds} "
            f"pictures; at most {MOST_PICTURES} are made in one run. Choose {', or '.join(ways)}."
        )
    if one:
        return (template,)
    return tuple(template.replace(TOKENS, sentence("{}", subset)) for subset in subsets(handles, which))


def refuse_template(negative: str) -> None:
    """Refuse a template where nothing fills it.

    Raises:
        InputError: the negative prompt is one.
    """
    if found := _MEANT.search(negative):
        raise InputError(
            f"Generate from Tokens: the negative prompt has {found[0]}, which only the prompt can use. Write the "
            "handles themselves."
        )
