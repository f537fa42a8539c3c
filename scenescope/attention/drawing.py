"""Letters and colour bars: what stands around a map in a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .colormap import ColourMap, colour

PAPER, INK, FAINT, AMBER = (23, 24, 28), (238, 238, 240), (150, 152, 160), (255, 190, 84)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface at a size in pixels."""
    return ImageFont.load_default(size)


def number_text(value: float) -> str:
    """Write a number with two figures that matter.

    >>> [number_text(value) for value in (0, 0.0123, 0.5, 3.14159, 12.3, 0.00004, -0.025)]
    ['0', '0.012', '0.5', '3.1', '12', '4e-05', '-0.025']
    """
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def ticks(top: float) -> tuple[float, ...]:
    """Round numbers along a scale from 0 to `top`, and the top itself.

    >>> ticks(0.11)
    (0.0, 0.02, 0.04, 0.06, 0.08, 0.11)
    """
    rough = top / 5.5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * (1 - 1e-9))
    inner = [round(index * step, 12) for index in range(math.floor(top / step) + 1)]
    return (*(value for value in inner if value <= top - 0.6 * step), top)


@dataclass(frozen=True)
class Bar:
    """A colour bar's scale.

    Args:
        marks: (position from the bottom 0..1, label) of each number.
        unit: what the numbers are.
        colours: the colour map.
    """

    marks: tuple[tuple[float, str], ...]
    unit: str
    colours: ColourMap


def bar_of(top: float, unit: str, colours: ColourMap) -> Bar:
    """A bar from 0 to `top`."""
    return Bar(tuple((value / top, number_text(value)) for value in ticks(top)), unit, colours)


def draw_bar(bar: Bar, height: int, letters: int) -> Image.Image:
    """Draw a colour bar with its numbers, and its unit along it.

    Args:
        bar: the scale.
        height: pixels.
        letters: size of the letters in pixels.
    """
    thick, gap, face = max(8, letters), max(4, letters // 3), font(letters)
    labels = max(math.ceil(face.getlength(label)) for _, label in bar.marks)
    picture = Image.new("RGB", (thick + 2 * gap + labels + gap + round(letters * 1.4), height), PAPER)
    strip = colour(torch.linspace(1, 0, height)[:, None].expand(height, thick), bar.colours)
    picture.paste(Image.fromarray((strip.numpy() * 255).round().astype(np.uint8)), (0, 0))
    draw = ImageDraw.Draw(picture)
    for position, label in bar.marks:
        row = round((1 - position) * (height - 1))
        draw.line([(thick, row), (thick + gap - 1, row)], fill=FAINT)
        middle = min(max(row, letters // 2), height - letters // 2 - 1)
        draw.text((thick + gap + gap // 2, middle), label, fill=INK, font=face, anchor="lm")
    unit = fitting(bar.unit, height, letters)
    side = Image.new("RGB", (height, round(letters * 1.4)), PAPER)
    ImageDraw.Draw(side).text((height // 2, round(letters * 0.7)), unit, fill=FAINT, font=face, anchor="mm")
    picture.paste(side.rotate(90, expand=True), (picture.width - side.height, 0))
    return picture


def fitting(text: str, width: int, letters: int) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    face = font(letters)
    text = " ".join(text.split())
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
