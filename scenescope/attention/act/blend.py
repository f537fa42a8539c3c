"""Local blend: the region where a recorded run looked for words, which a replay leaves free."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import RecordingError, SceneScopeError, WordError
from ..read.heatmap import heatmaps
from ..read.live import CELLS
from ..read.view import View, level_name
from ..record.recording import Entry, Recording
from ..words.find import WordMatch, find_words
from ..words.tokens import TokenTable
from .align import Alignment
from .region import region_of

CUT, GROW = 0.4, 1
"""Share of a map's maximum from which on a cell is free, and by how many cells the region is widened: a changed thing
needs room around the old one."""


def region_of_words(recording: Recording, source: Entry, target: Entry, aligned: Alignment, words: str) -> Tensor:
    """Where the last recorded step looked for words.

    Source: prompt-to-prompt's local blend (Hertz et al. 2022) cuts the words' averaged maps at 0.3 of their maximum and
    blends latents; here the region leaves queries free, and the maps are those of one grid, nearest to 16x16 cells.

    Args:
        recording: of the earlier run, with its maps.
        source: its conditioning.
        target: the new run's.
        aligned: which column of the earlier prompt each column of the new one stands for.
        words: of either prompt; a word of the new one alone takes the place of the word that it stands for.

    Returns:
        (image height width) float32 0 or 1 on the latent's grid.

    Raises:
        WordError: a word is in neither prompt, or stands for no word of the earlier one.
        RecordingError: the maps of the earlier run were not kept.
    """
    cross = [layer for layer in recording.layers if layer.kind == "cross"]
    distance = {layer.level: abs(math.log2(layer.grid(recording.latent).cells / CELLS)) for layer in cross}
    level = min(distance, key=distance.__getitem__, default=0)
    places = {layer.place for layer in cross if layer.level == level}
    view = View(
        resolution=level_name(level),
        blocks="up" if "up" in places else "all",
        steps="last",
        branch=source.branch,
        entry=source.index,
    )
    try:
        maps = heatmaps(recording, _matches(source, target, aligned, words), view).on(recording.latent)
    except WordError:
        raise
    except SceneScopeError as error:
        raise RecordingError(
            f"Replay Attention: free_words needs the maps of the recorded run's last step ({error}). Record all steps "
            "with the branch that is replayed, or connect a mask to free."
        ) from error
    values = maps.values.movedim(-1, 0)  # (word image height width)
    return torch.stack([region_of(each, None, CUT, GROW) for each in values]).amax(dim=0)


def _matches(source: Entry, target: Entry, aligned: Alignment, words: str) -> list[WordMatch]:
    """The words as columns of the earlier prompt."""
    if source.table is None or target.table is None:
        raise WordError(
            "Replay Attention: free_words needs prompts that know their words. Put Trace Words between the CLIP and "
            "CLIP Text Encode, or connect a mask to free."
        )
    terms = [part.strip() for part in words.replace("\n", ",").split(",") if part.strip()]
    return [match for term in terms for match in _term(source.table, target.table, aligned, term)]


def _term(source: TokenTable, target: TokenTable, aligned: Alignment, term: str) -> tuple[WordMatch, ...]:
    try:
        return find_words(source, term)
    except WordError:
        columns = {column for match in find_words(target, term) for column in match.columns}
    old = tuple(sorted({its for column in columns if (its := aligned.sources[column]) is not None}))
    if not old:
        raise WordError(
            f"Replay Attention: `{term}` is new and stands for no word of the recorded prompt, so it had no place "
            "there. In free_words, name the word whose place it should take."
        )
    return (WordMatch(term, (old,)),)
