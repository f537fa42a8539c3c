"""A run's curves as a picture: losses, IoUs, and each concept's map beside its mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...dims import Grid
from ...drawing.colormap import colour
from ...drawing.lettering import FAINT, INK, PAPER, fitting, font, number_text, ticks
from ...drawing.pixels import enlarge, to_image
from .history import LOSSES, History, recent_ious, smoothed

LINES = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
"""Colours that people with any colour vision can tell apart (Okabe and Ito 2008), lightest needs for dark paper."""

PANEL, EDGE, LETTERS, TILE = (460, 240), 56, 14, 132
GRID_INK = (58, 60, 68)


@dataclass(frozen=True)
class Line:
    """One curve: its name, colour, and (point) float32 values, not a number for none."""

    name: str
    ink: tuple[int, int, int]
    values: Tensor


def draw_curves(history: History, masks: Tensor, *, steps: int, phase1_steps: int) -> Image.Image:
    """Draw a run so far.

    Losses are on a logarithmic scale, smoothed over 25 steps; the single values are dots behind them.

    Args:
        history: of the run.
        masks: (concept height width) float 0..1, of the first picture that shows each, on any grid.
        steps: of the whole run; the axis ends there.
        phase1_steps: where the second phase begins, a line.

    Returns:
        The picture, 1072 pixels wide.
    """
    losses = [Line(name, LINES[index], history.losses[:, index]) for index, name in enumerate(LOSSES)]
    losses = [line for line in losses if bool((line.values > 0).any())]
    ious = [Line(name, LINES[i % len(LINES)], history.ious[:, i]) for i, name in enumerate(history.handles)]
    axis = (history.steps, steps, phase1_steps)
    left = _panel("losses, before they are weighted (mean of 25 steps, logarithmic)", losses, axis, logarithmic=True)
    right = _panel("IoU of map and mask (mean of 25 drawings)", ious, axis, logarithmic=False)
    tiles = _tiles(history, masks)
    width = left.width + right.width
    picture = Image.new("RGB", (width, left.height + tiles.height), PAPER)
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width, 0))
    picture.paste(tiles, (0, left.height))
    return picture


def _panel(title: str, lines: Sequence[Line], axis: tuple[Tensor, int, int], *, logarithmic: bool) -> Image.Image:
    at, steps, phase1_steps = axis
    whole = Image.new("RGB", (PANEL[0] + EDGE + 20, PANEL[1] + 3 * LETTERS + 50), PAPER)
    draw, top = ImageDraw.Draw(whole), 2 * LETTERS + 8
    draw.text((EDGE, 8), fitting(title, PANEL[0], LETTERS), fill=INK, font=font(LETTERS))
    low, high = _span(lines, logarithmic)

    def place(step: float, value: float) -> tuple[float, float]:
        value = math.log10(max(value, 10**low)) if logarithmic else value
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return EDGE + step / max(steps, 1) * PANEL[0], top + (1 - share) * PANEL[1]

    for value in _marks(low, high) if logarithmic else [0.2 * index for index in range(6)]:
        _, y = place(0, value)
        draw.line([(EDGE, y), (EDGE + PANEL[0], y)], fill=GRID_INK)
        draw.text((EDGE - 6, y), number_text(value), fill=FAINT, font=font(LETTERS - 2), anchor="rm")
    for step in filter(float.is_integer, ticks(float(steps))):
        x, _ = place(step, 1)
        draw.text((x, top + PANEL[1] + 6), f"{step:.0f}", fill=FAINT, font=font(LETTERS - 2), anchor="mt")
    if 0 < phase1_steps < steps:
        x, _ = place(phase1_steps, 1)
        draw.line([(x, top), (x, top + PANEL[1])], fill=FAINT)
        draw.text((x + 4, top + 2), "phase 2", fill=FAINT, font=font(LETTERS - 2))
    for line in lines:
        _draw_line(draw, line, at, place)
    _legend(draw, lines, top + PANEL[1] + LETTERS + 16)
    return whole


def _span(lines: Sequence[Line], logarithmic: bool) -> tuple[float, float]:
    """The ends of a scale; running means must fit, single low values may lie below it."""
    if not logarithmic:
        return 0.0, 1.0
    means = [smoothed(line.values) for line in lines]
    every = torch.cat([mean[mean > 0] for mean in means]) if means else torch.ones(1)
    low, high = (math.log10(float(value)) for value in (every.amin(), every.amax()))
    return max(low - 0.2, high - 5), high + 0.3


def _marks(low: float, high: float) -> list[float]:
    """Values to mark on a logarithmic scale, all of them on it.

    >>> _marks(-2.1, 0.3), _marks(-1.2, -0.2)
    ([0.01, 0.1, 1.0], [0.1, 0.2, 0.5])
    """
    parts = (1, 2, 5) if high - low < 2 else (1,)
    places = range(math.floor(low), math.ceil(high) + 1)
    values = [float(f"{part}e{place}") for place in places for part in parts]
    return [value for value in values if low <= math.log10(value) <= high]


def _draw_line(draw: ImageDraw.ImageDraw, line: Line, at: Tensor, place) -> None:  # type: ignore[no-untyped-def]
    faint = tuple((part + 2 * paper) // 3 for part, paper in zip(line.ink, PAPER, strict=True))
    for step, value in zip(at.tolist(), line.values.tolist(), strict=True):
        if math.isfinite(value):
            x, y = place(step, value)
            draw.rectangle([x - 1, y - 1, x, y], fill=faint)
    means = smoothed(line.values).tolist()
    points = [place(step, value) for step, value in zip(at.tolist(), means, strict=True) if math.isfinite(value)]
    if len(points) > 1:
        draw.line(points, fill=line.ink, width=2, joint="curve")
    elif points:
        (x, y) = points[0]
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=line.ink)


def _legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line], y: int) -> None:
    x = float(EDGE)
    for line in lines:
        means = smoothed(line.values)
        known = means[means.isfinite()]
        text = f"{line.name} {number_text(float(known[-1]))}" if len(known) else line.name
        text = fitting(text, PANEL[0] // 2, LETTERS)
        width = font(LETTERS, text).getlength(text) + 34
        if x + width > EDGE + PANEL[0] + 20:
            break  # the numbers of many concepts stand under their maps
        draw.line([(x, y + LETTERS // 2), (x + 14, y + LETTERS // 2)], fill=line.ink, width=3)
        draw.text((x + 20, y), text, fill=INK, font=font(LETTERS, text))
        x += width


def _tiles(history: History, masks: Tensor) -> Image.Image:
    """Mask and last map of each concept side by side, with its IoU at the beginning and now."""
    now, then = recent_ious(history), recent_ious(history, first=True)
    grid = Grid(*masks.shape[-2:])
    size = grid.scaled(TILE / max(grid), least=16)
    wide, tall = 2 * size.width + 30, size.height + 2 * LETTERS + 26
    across = max(1, (2 * (PANEL[0] + EDGE + 20) - 20) // wide)
    picture = Image.new("RGB", (2 * (PANEL[0] + EDGE + 20), 10 + tall * math.ceil(len(masks) / across)), PAPER)
    draw = ImageDraw.Draw(picture)
    for index, handle in enumerate(history.handles):
        x, y = 20 + index % across * wide, index // across * tall
        levels = history.maps[index].nan_to_num(0.0)[None]
        for side, values in enumerate((masks[index][None].float(), levels)):
            pixels = colour(enlarge(values, size, "cells").clamp(0, 1), "grey" if side == 0 else "inferno")[0]
            picture.paste(to_image(pixels), (x + side * (size.width + 6), y))
        name = fitting(handle, wide - 20, LETTERS)
        ink = LINES[index % len(LINES)]
        draw.text((x, y + size.height + 6), name, fill=ink, font=font(LETTERS, name))
        told = _fit_text(then[handle], now[handle])
        draw.text((x, y + size.height + LETTERS + 10), told, fill=FAINT, font=font(LETTERS - 2))
    return picture


def _fit_text(before: float | None, after: float | None) -> str:
    """Under a concept's tiles.

    >>> _fit_text(None, None), _fit_text(0.25, 0.25), _fit_text(0.25, 0.75)
    ('not drawn yet', 'mask, map: IoU 0.25', 'mask, map: IoU 0.25 to 0.75')
    """
    if before is None or after is None:
        return "not drawn yet"
    first = "" if before == after else f"{before:.2f} to "  # equal while the first drawings are the last too
    return f"mask, map: IoU {first}{after:.2f}"
