"""The drawn U: everything is on the sheet, nothing covers anything else, and the colours mean what the legend says."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from pack.scenescope.attention.record.block_shapes import AttentionShape, BlockShape
from pack.scenescope.attention.shapes import diagram
from pack.scenescope.attention.shapes.diagram import Box, Pen, draw_unet, lay_out
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError
from PIL import ImageColor, ImageFont

SD15 = [("input", "down", level, n) for level, numbers in enumerate([(1, 2), (4, 5), (7, 8)]) for n in numbers]
SD15 += [("middle", "middle", 3, 0)]
SD15 += [
    ("output", "up", level, n) for level, numbers in ((2, (3, 4, 5)), (1, (6, 7, 8)), (0, (9, 10, 11))) for n in numbers
]
SDXL = [("input", "down", level, n) for level, numbers in ((1, (4, 5)), (2, (7, 8))) for n in numbers]
SDXL += [("middle", "middle", 2, 0)]
SDXL += [("output", "up", level, n) for level, numbers in ((2, (0, 1, 2)), (1, (3, 4, 5))) for n in numbers]
AMBER = ImageColor.getrgb("#fff1d2")


def rows_of(layout, latent, *, batch=1, tokens=77, depth=(1, 1, 1, 1), heads=8):
    """Block shapes of a layout, worked out from the latent's grid and 320 channels at the top."""
    rows: list[BlockShape] = []
    for word, place, level, number in layout:
        grid, channel = latent.coarser(2**level), 320 * min(4, 2**level)
        query, features = (batch, grid.cells, channel), (batch, channel, *grid)
        layers = (
            AttentionShape("cross", query, (batch, tokens, channel), heads, channel // heads),
            AttentionShape("self", query, query, heads, channel // heads),
        )
        for i in range(depth[level]):
            name = f"{word} {number}" + (f".{i}" if i else "")
            rows.append(BlockShape(len(rows), name, place, features, features, "float16", layers, level))
    return rows


CASES = {
    "512x512": (SD15, Grid(64, 64), {}),
    "264x360, four pictures, a long prompt": (SD15, Grid(33, 45), {"batch": 4, "tokens": 154}),
    "a tall picture": (SD15, Grid(256, 64), {"batch": 8, "tokens": 231}),
    "the largest": (SD15, Grid(2048, 2048), {"batch": 4096, "tokens": 4928, "heads": 20}),
    "the smallest": (SD15, Grid(2, 2), {}),
    "SDXL": (SDXL, Grid(128, 128), {"depth": (0, 2, 10, 10), "batch": 2, "heads": 10}),
    "two blocks of the down arm": (SD15[:2], Grid(64, 64), {}),
    "the middle alone": (SD15[6:7], Grid(64, 64), {}),
}


class NotingPen(Pen):
    """Draws as the real one and notes where each text stands: (left, top, right, bottom)."""

    last: NotingPen

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        NotingPen.last = self
        self.size = (width, height)
        self.texts: dict[str, list[tuple[float, float, float, float]]] = {}
        self.boxes: list[Box] = []

    def text(self, at, text, size, *, fill="#000000", anchor="lm", room=None):
        left, top, right, bottom = ImageFont.load_default(size).getbbox(text, anchor=anchor)
        if room is not None and right > room:
            top, bottom, right = top * room / right, bottom * room / right, room
        corners = (at[0] + left, at[1] + top, at[0] + right, at[1] + bottom)
        self.texts.setdefault(text, []).append(corners)
        super().text(at, text, size, fill=fill, anchor=anchor, room=room)

    def box(self, box, fill, edge, thick=1.2, *, radius=8):
        self.boxes.append(box)
        super().box(box, fill, edge, thick, radius=radius)


def noted(rows, latent: Grid) -> NotingPen:
    """Draw, and return the pen with its notes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagram, "Pen", NotingPen)
        draw_unet(rows, latent)
    return NotingPen.last


def drawn(case: str) -> NotingPen:
    """Draw one of the cases."""
    layout, latent, options = CASES[case]
    return noted(rows_of(layout, latent, **options), latent)


def apart(one, other, gap=1.0):
    return one[2] + gap <= other[0] or other[2] + gap <= one[0] or one[3] + gap <= other[1] or other[3] + gap <= one[1]


@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_leaves_the_sheet(case):
    """Oracle: the rectangles of all texts, as the typeface measures them."""
    pen = drawn(case)
    texts = [(text, box) for text, boxes in pen.texts.items() for box in boxes]
    assert [(a, b) for (a, one), (b, other) in combinations(texts, 2) if not apart(one, other)] == []
    width, height = pen.size
    assert [
        text for text, (left, top, right, bottom) in texts if min(left, top) < 0 or right > width or bottom > height
    ] == []


@pytest.mark.parametrize("case", CASES)
def test_no_box_covers_another(case):
    """Oracle: the rectangles of the cards; each is a block of the log, none is lost."""
    layout, latent, options = CASES[case]
    rows = rows_of(layout, latent, **options)
    cards = lay_out(rows).cards
    boxes = [(x - dx, y - dy, x + dx, y + dy) for card in cards for (x, y), (dx, dy) in [(card.middle, card.half)]]
    assert all(apart(one, other, 4) for one, other in combinations(boxes, 2))
    assert sorted(row.order for card in cards for row in card.blocks) == [row.order for row in rows]


@pytest.mark.parametrize("case", CASES)
def test_no_text_of_a_card_leaves_it(case):
    """Oracle: the card's rectangle; texts that begin inside a card end inside it."""
    pen = drawn(case)
    cards = [box for box in pen.boxes if box.width > 300]
    for text, corners in ((text, box) for text, boxes in pen.texts.items() for box in boxes):
        for card in cards:
            inside = card.left < corners[0] < card.left + card.width and card.top < corners[1] < card.top + card.height
            assert not inside or corners[2] <= card.left + card.width - 8, text


def test_the_sheet_is_as_high_as_the_levels_need():
    """Oracle: 1400x1000 for SD1.5, by the layout's own sums; SDXL has a level less."""
    assert draw_unet(rows_of(SD15, Grid(64, 64)), Grid(64, 64)).size == (1400, 1000)
    assert drawn("SDXL").size[1] < 1000


def test_the_sizes_of_512x512_are_written():
    """Oracle: the numbers worked out by hand, and how often: five blocks of 16x16, three and two at the top."""
    texts = drawn("512x512").texts
    assert len(texts["320 @ 64x64"]) == 5
    assert len(texts["4096 queries x 77 keys"]) == 5
    assert len(texts["1280 @ 16x16"]) == 5
    assert len(texts["64 queries x 77 keys"]) == 1
    assert len(texts["8 heads x 160"]) == 6
    assert len(texts["cross map 5.0 MB  ·  self map 268.4 MB"]) == 5


def test_repeated_blocks_are_one_box_with_their_number():
    """Oracle: by hand; SDXL has ten in each transformer at the bottom: two down, one middle, three up."""
    texts = drawn("SDXL").texts
    assert len(texts["x 10"]) == 6
    assert len(texts["x 2"]) == 5
    assert "input 7.1" not in texts


@pytest.mark.parametrize(
    ("layout", "read"),
    [
        (SD15, {"input 7", "input 8", "output 3", "output 4", "output 5"}),
        (SDXL, {"input 7", "input 8", "output 0", "output 1", "output 2"}),  # not the middle, which has the same grid
    ],
)
def test_what_the_loss_reads_is_highlighted_and_nothing_else(layout, read):
    """Oracle: the colour under each card's corner: amber for the five boxes named by hand and no other."""
    rows = rows_of(layout, Grid(64, 64))
    pixels = np.asarray(draw_unet(rows, Grid(64, 64)))
    amber = {
        card.blocks[0].block
        for card in lay_out(rows).cards
        if card.blocks and tuple(pixels[round(card.top) + 8, round(card.left) + 8]) == AMBER
    }
    assert amber == read


def test_a_feature_map_is_drawn_to_scale():
    """Oracle: by hand; 16x32 is twice as wide as high, half of it on the next level is half as wide."""
    boxes = noted(rows_of(SD15[:3], Grid(16, 32)), Grid(16, 32)).boxes
    slabs = [box for box in boxes if abs(box.width - 2 * box.height) < 0.01]
    assert {round(box.width) for box in slabs} == {50, 25}


def test_skips_join_a_levels_last_input_to_its_first_output():
    """Oracle: the U-Net's wiring: input n goes to output 11 - n, so these stand at the same height."""
    layout = lay_out(rows_of(SD15, Grid(64, 64)))
    heights = {card.blocks[0].block: card.top for card in layout.cards if card.blocks}
    for number in (1, 2, 4, 5, 7, 8):
        assert heights[f"input {number}"] == heights[f"output {11 - number}"]


def test_the_title_is_written_and_an_empty_log_is_an_error():
    """Oracle: by hand."""
    rows = rows_of(SD15, Grid(8, 8))
    with_title, without = (draw_unet(rows, Grid(8, 8), title=title) for title in ("A title", ""))
    assert np.asarray(with_title)[:60].tolist() != np.asarray(without)[:60].tolist()
    with pytest.raises(InputError, match="the shape log is empty"):
        draw_unet([], Grid(8, 8))
