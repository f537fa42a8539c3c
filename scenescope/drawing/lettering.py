"""Letters and colour bars: everything around a map in a picture."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .colormap import ColourMap, colour

PAPER, INK, FAINT, AMBER = (23, 24, 28), (238, 238, 240), (150, 152, 160), (255, 190, 84)

FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "segoeui.ttf",
    "arial.ttf",
    "Helvetica.ttc",
    "NotoSansCJK-Regular.ttc",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Medium.ttc",
    "Arial Unicode.ttf",
)
"""Fonts of Linux, Windows and macOS: first those with many alphabets, then those with Chinese."""
_NO_LETTER = "\U0010ffff"
"""Has no picture in any font: what is drawn for it is drawn for each letter that a font lacks."""
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
"""Letters of scripts without spaces between words, for a regular expression: a line may end behind any of them."""
Face = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache
def font(size: int, text: str = "") -> Face:
    """A typeface at a size in pixels that has the letters of a text, as far as this machine has one.

    Args:
        size: of the letters in pixels.
        text: what will be written. Pillow's own typeface is taken where it has all of it, which has no accents; else
            the first of `FONTS` that lacks the fewest letters.
    """
    own = ImageFont.load_default(size)
    if not lacking(own, text):
        return own
    return min((own, *(ImageFont.truetype(file, size) for file in _installed())), key=lambda face: lacking(face, text))


def lacking(face: Face, text: str) -> int:
    """How many different letters of a text a typeface lacks.

    >>> lacking(ImageFont.load_default(13), "a cat")
    0
    """
    letters = {letter for letter in text if not letter.isspace()}
    box = _drawn(face, _NO_LETTER) if letters else b""
    return sum(_drawn(face, letter) == box for letter in letters)


def _drawn(face: Face, letter: str) -> bytes:
    mask = face.getmask(letter)
    return bytes(mask) + repr(mask.size).encode()


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """The files of those of `FONTS` that this machine has."""
    return tuple(filter(None, map(_file_of, FONTS)))


def _file_of(name: str) -> str | None:
    try:
        return str(ImageFont.truetype(name, 10).path)
    except OSError:  # Pillow looks through the system's folders for it
        return None


def number_text(value: float) -> str:
    """Write a number with two significant figures.

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
    text = " ".join(text.split())
    face = font(letters, text)
    if face.getlength(text) <= width:
        return text

    def too_wide(count: int) -> bool:
        return face.getlength(text[:count] + "...") > width

    end = 1
    while end < len(text) and not too_wide(end):
        end *= 2  # a text of 100,000 letters is not measured whole again and again
    return text[: max(0, bisect_left(range(min(end, len(text)) + 1), True, key=too_wide) - 1)] + "..."


_PIECES = re.compile(rf"[^\s{_WIDE}]+|[{_WIDE}]")


def folded(text: str, width: int, letters: int, most: int | None = None) -> list[str]:
    """Break a text into lines of some pixels, between words or Chinese letters; a word that is too wide is cut.

    Args:
        text: what is to be written.
        width: of a line in pixels.
        letters: their size in pixels.
        most: lines; the last ends with an ellipsis where there would be more. None is no limit.

    >>> folded("a photo of <asset0> and <asset1> at the beach", 120, 13, 3)
    ['a photo of', '<asset0> and', '<asset1> at the...']
    """
    text = text.strip()
    face, starts = font(letters, text), [0]
    for piece in _PIECES.finditer(text):
        start, end = starts[-1], piece.end()
        if piece.start() > start and face.getlength(" ".join(text[start:end].split())) > width:
            starts.append(piece.start())
    kept = starts[:most]
    ends = [*kept[1:], len(text)]
    return [fitting(text[start:end], width, letters) for start, end in zip(kept, ends, strict=True)]
