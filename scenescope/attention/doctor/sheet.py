"""The diagnosis as a picture: a row for each thing, with what its noun looks at and where it beats the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...cost import PICTURE, refuse_costly
from ...dims import Grid
from ...drawing.labelled_grid import labelled_grid
from ..draw.render import overlay
from ..read.heatmap import heatmaps
from ..read.view import View
from ..record.recording import Recording
from ..words.find import WordMatch
from .diagnosis import Diagnosis
from .repair import Placed
from .report import number_and_limit

COLUMNS = ("the noun looks", "more than the others", "the adjectives look")
_OPACITY = 0.7


def draw_sheet(
    recording: Recording, diagnosis: Diagnosis, view: View, picture: Tensor | None, repair: Sequence[Placed] = ()
) -> Tensor:
    """Draw the sheet.

    Args:
        recording: what was diagnosed.
        diagnosis: of it.
        view: as it was made with.
        picture: (1 height width 3) 0..1 of the run, None for a grey one.
        repair: places, shown in a column of their own where there are any.

    Returns:
        (1 height width 3) float32, 0..1.
    """
    size = Grid(8 * recording.latent.height, 8 * recording.latent.width)
    under = picture[:1].float() if picture is not None else torch.full((1, *size, 3), 0.5)
    advice = "Connect a smaller picture, or name fewer things."
    refuse_costly("Prompt Doctor: the sheet", 4 * len(diagnosis.things), Grid(*under.shape[1:3]), PICTURE, advice)
    maps = _maps(recording, diagnosis, view)  # (thing column height width)
    tiles = []
    for row, item in enumerate(diagnosis.things):
        own = maps[row].clone()
        others = torch.cat([maps[:row, 0], maps[row + 1 :, 0]])
        wins = (own[0] > others.amax(dim=0)).float() if len(others) else torch.ones_like(own[0])
        most = own.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        columns = [own[0] / most[0], wins * own[0] / most[0], own[1] / most[1] if item.thing.adjectives else own[1] * 0]
        columns += [repair[row].mask] if repair else []
        tiles += [overlay(under, levels[None], opacity=_OPACITY) for levels in columns]
    titles = [*COLUMNS, *(["place of the repair"] if repair else [])]
    verdicts = (
        ", ".join(dict.fromkeys(finding.kind + number_and_limit(finding) for finding in item.findings))
        for item in diagnosis.things
    )
    rows = [f"{item.thing.text}: {verdict}" for item, verdict in zip(diagnosis.things, verdicts, strict=True)]
    return labelled_grid(torch.cat(tiles), rows, titles)


def _maps(recording: Recording, diagnosis: Diagnosis, view: View) -> Tensor:
    """(thing 2 height width): shares of each noun's own mass, and the same of its adjectives together."""
    words = []
    for item in diagnosis.things:
        adjectives = tuple(word.columns for word in item.thing.adjectives) or (item.thing.noun.columns,)
        words += [WordMatch(item.thing.noun.text, (item.thing.noun.columns,)), WordMatch("adjectives", adjectives)]
    values = heatmaps(recording, words, replace(view, image=view.image or 0)).values[0].movedim(-1, 0)
    mass = values / values.sum(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return mass.unflatten(0, (-1, 2))
