"""The U drawn: every block with its feature map to scale, its queries, keys and heads, and the skips between arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ...dims import Grid, bytes_text
from ...errors import InputError
from ..record.block_shapes import BlockShape

Point = tuple[float, float]

_WIDTH, _MARGIN, _HEAD, _FOOT = 1400, 44, 122, 74
_CARD_WIDTH, _CARD_HEIGHT, _PITCH = 362, 66, 75
_PILL_WIDTH, _PILL_HEIGHT = 190, 32
_INDENT, _LEVEL_GAP = 52, 18
_SLAB, _PLANE = 50.0, 3  # the latent's longer side as drawn, and the step from plane to plane
_SHARPER = 2  # drawn larger and reduced, because Pillow's lines are not smoothed

_PAPER, _INK, _SOFT, _LINE, _CARD = "#f8f7f3", "#1f2d3a", "#5b6873", "#aab4bd", "#ffffff"
_LOSS, _LOSS_CARD = "#c97a00", "#fff1d2"
_LEVELS = ("#2f6f9f", "#2a8c82", "#64852f", "#7a569f")


class Box(NamedTuple):
    """A rectangle in the picture's pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Card:
    """One box: the blocks that share a spatial transformer (several in SDXL), or none: what only starts a skip."""

    level: int
    left: float
    top: float
    blocks: tuple[BlockShape, ...] = ()

    @property
    def middle(self) -> Point:
        """Its centre."""
        return self.left + _CARD_WIDTH / 2, self.top + _CARD_HEIGHT / 2

    @property
    def half(self) -> Point:
        """Half its width and height."""
        width, height = (_CARD_WIDTH, _CARD_HEIGHT) if self.blocks else (_PILL_WIDTH, _PILL_HEIGHT)
        return width / 2, height / 2


@dataclass(frozen=True)
class DiagramLayout:
    """Where everything stands: both arms from top to bottom, the middle, and the picture's height."""

    down: tuple[Card, ...]
    up: tuple[Card, ...]
    middle: Card | None
    height: int

    @property
    def cards(self) -> tuple[Card, ...]:
        """All boxes."""
        return *self.down, *self.up, *((self.middle,) if self.middle else ())


def draw_unet(rows: Sequence[BlockShape], latent: Grid, *, title: str = "") -> Image.Image:
    """Draw the shape log as a U: down the left arm, through the middle, up the right arm.

    A square is a feature map to scale, its planes are its channels; thin lines are the skips. Boxes that the
    Break-a-Scene attention loss reads are highlighted.

    Args:
        rows: the blocks, in forward order.
        latent: the latent's grid.
        title: the headline; made from the latent's grid where it is empty.

    Returns:
        An RGB picture, 1400 pixels wide, as high as the levels need: near 1000 for SD1.5.

    Raises:
        InputError: there are no blocks.
    """
    if not rows:
        raise InputError("Block Shapes: the shape log is empty. Connect a MODEL, or record a run.")
    layout = lay_out(rows)
    sheet = Pen(_WIDTH, layout.height)
    _draw_head(sheet, rows, title or f"The U-Net at a latent of {latent}")
    _draw_skips(sheet, layout)
    _draw_flow(sheet, layout, latent)
    _draw_levels(sheet, layout, latent)
    scale, planes = _SLAB / max(latent), min(row.features_in[1] for row in rows)
    for card in layout.cards:
        if card.blocks:
            _draw_card(sheet, card, scale, planes)
        else:
            _draw_pill(sheet, card, latent)
    _draw_legend(sheet, layout.height, planes)
    return sheet.picture()


def lay_out(rows: Sequence[BlockShape]) -> DiagramLayout:
    """Give every block its place: a level below a level, both arms aligned where a skip joins them."""
    groups = [tuple(group) for _, group in groupby(rows, key=lambda row: row.block.partition(".")[0])]
    arms = {place: [group for group in groups if group[0].place == place] for place in ("down", "middle", "up")}
    top, down, up = float(_HEAD), list[Card](), list[Card]()
    for level in range(max((group[0].level for group in arms["down"] + arms["up"]), default=0) + 1):
        left = _MARGIN + _INDENT * level
        right = _WIDTH - left - _CARD_WIDTH
        falling = [(), *(group for group in arms["down"] if group[0].level == level)]
        rising = [group for group in reversed(arms["up"]) if group[0].level == level]
        bottom = top + max(len(falling), len(rising)) * _PITCH
        # Aligned at the bottom: a level's last input block feeds its first output block, and so on upwards.
        down += [Card(level, left, bottom - (len(falling) - i) * _PITCH, group) for i, group in enumerate(falling)]
        up += [Card(level, right, bottom - (len(rising) - i) * _PITCH, group) for i, group in enumerate(rising)]
        top = bottom + _LEVEL_GAP
    middle = None
    for group in arms["middle"][:1]:
        middle = Card(group[0].level, (_WIDTH - _CARD_WIDTH) / 2, top, group)
        top += _PITCH
    return DiagramLayout(tuple(down), tuple(up), middle, round(top + _FOOT))


def _draw_head(pen: Pen, rows: Sequence[BlockShape], title: str) -> None:
    pen.text((_MARGIN, 42), title, 30)
    tokens = sorted({row.tokens for row in rows if row.tokens is not None})
    parts = [f"batch {rows[0].features_in[0]}", f"{'/'.join(map(str, tokens)) or 'no'} tokens", rows[0].dtype]
    parts += [f"{len(rows)} transformer blocks", "sizes are height x width", "blocks without attention are left out"]
    pen.text((_MARGIN, 76), "  ·  ".join(parts), 15, fill=_SOFT)


def _draw_skips(pen: Pen, layout: DiagramLayout) -> None:
    for level in {card.level for card in layout.up}:
        ends = [[card for card in arm if card.level == level] for arm in (layout.down, layout.up)]
        for start, end in zip(reversed(ends[0]), reversed(ends[1]), strict=False):
            height = start.middle[1]
            pen.arrow([(start.middle[0] + start.half[0], height), (end.left - 3, height)], _LINE, 1.2, 7)


def _draw_flow(pen: Pen, layout: DiagramLayout, latent: Grid) -> None:
    """The way through: arrows down the left arm, around the middle and up the right arm."""
    for upper, lower in pairwise(layout.down):
        across = lower.middle[0]
        pen.arrow([(across, upper.middle[1] + upper.half[1]), (across, lower.middle[1] - lower.half[1])], _INK)
    for upper, lower in pairwise(layout.up):
        across = lower.middle[0]
        pen.arrow([(across, lower.top), (across, upper.middle[1] + upper.half[1])], _INK)
    start = layout.down[0]
    pen.arrow([(start.middle[0], _HEAD - 14), (start.middle[0], start.middle[1] - start.half[1])], _INK)
    if layout.up:
        end = layout.up[0]
        pen.arrow([(end.middle[0], end.top), (end.middle[0], _HEAD - 16)], _INK)
        pen.text((end.middle[0], _HEAD - 28), "prediction", 15, fill=_SOFT, anchor="mm")
    if layout.middle is not None:
        _draw_bend(pen, layout, layout.middle, latent)


def _draw_bend(pen: Pen, layout: DiagramLayout, middle: Card, latent: Grid) -> None:
    left, height = layout.down[-1].middle[0], middle.middle[1]
    pen.arrow([(left, layout.down[-1].top + _CARD_HEIGHT), (left, height), (middle.left, height)], _INK)
    if middle.level > layout.down[-1].level:
        pen.text((left + 14, height + 16), f"halved to {latent.coarser(2**middle.level)}", 14, fill=_SOFT)
    if layout.up:
        across, bottom = layout.up[-1].middle[0], layout.up[-1].top + _CARD_HEIGHT
        pen.arrow([(middle.left + _CARD_WIDTH, height), (across, height), (across, bottom)], _INK)
        if middle.level > layout.up[-1].level:
            text = f"enlarged to {latent.coarser(2 ** layout.up[-1].level)}"
            pen.text((across - 14, height + 16), text, 14, fill=_SOFT, anchor="rm")


def _draw_levels(pen: Pen, layout: DiagramLayout, latent: Grid) -> None:
    """What is true of a whole level, between its first two skips."""
    for level in sorted({card.level for card in layout.down}):
        cards = [card for card in (*layout.down, *layout.up) if card.level == level]
        blocks = [block for card in cards for block in card.blocks]
        top = min(card.top for card in cards)
        if not blocks:
            pen.text((_WIDTH / 2, top + _CARD_HEIGHT / 2), "no attention on this grid", 15, fill=_SOFT, anchor="mm")
            continue
        read = any(block.read_by_loss for block in blocks)
        words = "the latent's own grid" if level == 0 else f"latent / {2**level}"
        words += ": the attention loss reads here" if read else ""
        middle = top + (_CARD_HEIGHT + _PITCH) / 2
        pen.text((_WIDTH / 2, middle - 11), str(latent.coarser(2**level)), 26, fill=_colour(level), anchor="mm")
        pen.text((_WIDTH / 2, middle + 15), words, 15, fill=_LOSS if read else _SOFT, anchor="mm")


def _draw_card(pen: Pen, card: Card, scale: float, planes: int) -> None:
    row, repeats = card.blocks[0], len(card.blocks)
    fill, edge, thick = (_LOSS_CARD, _LOSS, 2.5) if row.read_by_loss else (_CARD, _LINE, 1.2)
    pen.box(Box(card.left, card.top, _CARD_WIDTH, _CARD_HEIGHT), fill, edge, thick)
    _draw_slab(pen, card, scale, planes)
    left, right = card.left + 84, card.left + _CARD_WIDTH - 14
    _, channels, height, width = row.features_in
    pen.text((left, card.top + 15), row.block, 18)
    if repeats > 1:
        pen.text((left + 96, card.top + 15), f"x {repeats}", 16, fill=_colour(card.level))
    pen.text((right, card.top + 15), f"{channels} @ {height}x{width}", 16, fill=_colour(card.level), anchor="rm")
    first = row.attention[0]
    pen.text((left, card.top + 35), _sizes_text(row), 14, room=right - left - 98)
    pen.text((right, card.top + 35), f"{first.heads} heads x {first.head_width}", 14, anchor="rm")
    costs = "  ·  ".join(f"{layer.kind} map {bytes_text(row.map_bytes(layer))}" for layer in row.attention)
    pen.text((left, card.top + 53), costs + (" each" if repeats > 1 else ""), 13, fill=_SOFT, room=right - left)


def _sizes_text(row: BlockShape) -> str:
    layer = row.layer("cross") or row.attention[0]
    return f"{layer.query[1]} queries x {layer.key[1]} {'keys' if layer.kind == 'cross' else 'own keys'}"


def _draw_slab(pen: Pen, card: Card, scale: float, planes: int) -> None:
    _, channels, height, width = card.blocks[0].features_in
    high, wide = max(3.0, height * scale), max(3.0, width * scale)
    count = max(1, min(6, round(channels / planes)))
    spread = _PLANE * (count - 1)
    left, top = card.left + 42 - (wide + spread) / 2, card.middle[1] - (high + spread) / 2
    for plane in reversed(range(count)):
        step = _PLANE * plane
        pen.box(Box(left + step, top + spread - step, wide, high), _colour(card.level), _PAPER, 0.5, radius=1)


def _draw_pill(pen: Pen, card: Card, latent: Grid) -> None:
    across, middle = card.middle
    text = f"noisy latent {latent}" if card.level == 0 else f"halved to {latent.coarser(2**card.level)}"
    left, top = across - _PILL_WIDTH / 2, middle - _PILL_HEIGHT / 2
    pen.box(Box(left, top, _PILL_WIDTH, _PILL_HEIGHT), _PAPER, _LINE, radius=_PILL_HEIGHT / 2)
    pen.text((across, middle), text, 15, anchor="mm", room=_PILL_WIDTH - 24)


def _draw_legend(pen: Pen, height: int, planes: int) -> None:
    middle, left = height - 34, _MARGIN
    pen.line([(left, middle - 26), (_WIDTH - _MARGIN, middle - 26)], _LINE, 1)
    pen.box(Box(left, middle - 9, 30, 18), _LOSS_CARD, _LOSS, 2.5, radius=4)
    pen.text((left + 40, middle), "cross-attention that the Break-a-Scene attention loss reads", 14)
    for step in (6, 3, 0):
        pen.box(Box(left + 462 + step, middle - 5 - step, 14, 14), _LEVELS[0], _PAPER, 0.5, radius=1)
    pen.text((left + 494, middle), f"feature map to scale, a plane for {planes} channels", 14)
    pen.arrow([(left + 830, middle), (left + 868, middle)], _LINE, 1.2, 7)
    pen.text((left + 878, middle), "skip connection", 14)
    pen.text((_WIDTH - _MARGIN, middle), "map: bytes of the whole map, were it built", 14, anchor="rm")


def _colour(level: int) -> str:
    return _LEVELS[min(level, len(_LEVELS) - 1)]


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Pen:
    """Draws in the finished picture's pixels on a larger sheet."""

    def __init__(self, width: int, height: int) -> None:
        self._sheet = Image.new("RGB", (width * _SHARPER, height * _SHARPER), _PAPER)
        self._draw = ImageDraw.Draw(self._sheet)

    def picture(self) -> Image.Image:
        """The sheet at its finished size."""
        return self._sheet.reduce(_SHARPER)

    def box(self, box: Box, fill: str, edge: str, thick: float = 1.2, *, radius: float = 8) -> None:
        """Fill a rectangle with round corners and draw its edge."""
        corners = [_SHARPER * value for value in (box.left, box.top, box.left + box.width, box.top + box.height)]
        self._draw.rounded_rectangle(corners, radius * _SHARPER, fill, edge, round(thick * _SHARPER))

    def line(self, points: Sequence[Point], fill: str, thick: float) -> None:
        """Draw straight stretches from point to point."""
        sheet = [(x * _SHARPER, y * _SHARPER) for x, y in points]
        self._draw.line(sheet, fill, round(thick * _SHARPER), joint="curve")

    def arrow(self, points: Sequence[Point], fill: str, thick: float = 2.2, head: float = 9) -> None:
        """A line whose last stretch, level or upright, ends in a point."""
        (from_x, from_y), (x, y) = points[-2:]
        length = max(abs(x - from_x), abs(y - from_y), 1e-6)
        along, down = (x - from_x) / length, (y - from_y) / length
        back = (x - along * head, y - down * head)
        self.line([*points[:-1], back], fill, thick)
        side_x, side_y = -down * head * 0.45, along * head * 0.45
        tips = [(x, y), (back[0] + side_x, back[1] + side_y), (back[0] - side_x, back[1] - side_y)]
        self._draw.polygon([(px * _SHARPER, py * _SHARPER) for px, py in tips], fill)

    def text(
        self, at: Point, text: str, size: float, *, fill: str = _INK, anchor: str = "lm", room: float | None = None
    ) -> None:
        """Write a line, in smaller letters if space is short."""
        font = _font(size * _SHARPER)
        if room is not None and font.getlength(text) > room * _SHARPER:
            font = _font(size * room * _SHARPER**2 / font.getlength(text))
        self._draw.text((at[0] * _SHARPER, at[1] * _SHARPER), text, fill, font, anchor)
