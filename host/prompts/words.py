"""What a heatmap needs from the host: the words behind a conditioning, and the picture's size in pixels."""

from __future__ import annotations

import re
from typing import Any

import torch

from ...scenescope.attention.read.view import View, viewed_entry
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.words.find import WordMatch, find_words
from ...scenescope.attention.words.tokens import TokenTable, chained
from ...scenescope.dims import Grid, counted
from ...scenescope.errors import InputError, WordError
from ..shapes import PIXELS
from .text import table_from_prompt

_BREAK = re.compile(r"\bBREAK\b")
"""Where other packs begin a new chunk; the host itself takes it for a word."""


def words_asked(
    recording: Recording, view: View, query: str, clip: Any = None, prompt: str | None = None
) -> tuple[WordMatch, ...]:
    """Find words in the prompt of the viewed conditioning.

    Args:
        recording: what a run left.
        view: whose branch and entry are meant.
        query: words and phrases, separated by commas; empty for each.
        clip: the CLIP that made the conditioning, for one that carries no words.
        prompt: its prompt as it was typed.

    Raises:
        WordError: a word is not in the prompt, or the words are not known.
        InputError: the prompt has another number of columns than the conditioning that was sampled.
    """
    entry = viewed_entry(recording, view)
    table = entry.table
    if clip is not None and prompt:
        table = _typed(clip, prompt, entry.tokens)
    if table is None:
        raise WordError(
            f"Words: the {entry.branch} conditioning doesn't carry its words. Put Trace Words between the CLIP and "
            "CLIP Text Encode, or connect clip here and type the prompt again."
        )
    return find_words(table, query)


def _typed(clip: Any, prompt: str, columns: int) -> TokenTable:
    table = table_from_prompt(clip, prompt)
    if len(table.tokens) != columns and len(parts := _BREAK.split(prompt)) > 1:
        table = chained(table_from_prompt(clip, part) for part in parts)
    if len(table.tokens) != columns:
        raise InputError(
            f"Words: the typed prompt has {counted(len(table.tokens), 'token')}, but the one that was sampled has "
            f"{columns}. Type exactly the same prompt, and connect the CLIP that encoded it."
        )
    return table


def picture_cautions(recording: Recording, picture: torch.Tensor | None) -> list[str]:
    """A caution where a batch of pictures cannot be the recorded run's, because there are more or fewer."""
    if picture is None or len(picture) == recording.images:
        return []
    told = f"{counted(len(picture), 'picture')} can't be matched with the maps of {recording.images}, so none is shown."
    return [f"{told} Connect the pictures of this run."]


def picture_size(recording: Recording, picture: torch.Tensor | None) -> Grid:
    """The size of the pictures in pixels: that of a picture (image height width channel), or eight times the latent."""
    if picture is not None:
        return Grid(int(picture.shape[1]), int(picture.shape[2]))
    return Grid(recording.latent.height * PIXELS, recording.latent.width * PIXELS)
