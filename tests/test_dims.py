"""Grids and how they are read and written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.dims import Grid, bytes_text, grid_of
from pack.scenescope.errors import InputError

sizes = st.integers(1, 4000)


def test_a_grid_is_height_before_width():
    """Oracle: worked out by hand; 264x360 pixels are 33x45 latent cells, whose fourth level is 5x6."""
    assert Grid(33, 45).cells == 1485
    assert Grid(33, 45).coarser(8) == (5, 6)
    assert str(Grid(33, 45)) == "33x45"


@given(height=sizes, width=sizes, levels=st.integers(0, 5))
def test_coarser_equals_halving_again_and_again(height: int, width: int, levels: int):
    """Oracle: the strided convolution's own formula, floor((n + 2 - 3) / 2) + 1, applied level by level."""
    rows, columns = height, width
    for _ in range(levels):
        rows, columns = (rows - 1) // 2 + 1, (columns - 1) // 2 + 1
    assert Grid(height, width).coarser(2**levels) == (rows, columns)


@given(height=sizes, width=sizes, cross=st.sampled_from(["x", "X", "×", " x "]))
def test_a_written_grid_reads_back(height: int, width: int, cross: str):
    """Oracle: an invariant: reading undoes writing."""
    assert grid_of(f" {height}{cross}{width}\n") == Grid(height, width)
    assert grid_of(str(Grid(height, width))) == Grid(height, width)
    assert grid_of(str(height)) == Grid(height, height)


@given(st.text())
def test_any_other_text_is_refused_with_the_packs_own_error(text: str):
    """Oracle: an invariant: a grid of positive sizes, or InputError; never another error."""
    try:
        grid = grid_of(text)
    except InputError:
        return
    assert min(grid) > 0


@pytest.mark.parametrize("text", ["", "x", "16x", "0x4", "4x0", "-4", "1.5", "2x3x4", "²", "4x²", "abc"])
def test_what_is_no_grid_is_refused(text: str):
    """Oracle: by hand; a superscript two is a digit to Python, but no number."""
    with pytest.raises(InputError, match="for example 16x16"):
        grid_of(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4_149_376, "4.1 MB"),
        (2 * 10**9, "2.0 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_bytes_are_written_as_people_read_them(count: int, text: str):
    """Oracle: by hand."""
    assert bytes_text(count) == text


@given(st.integers(0, 10**15))
def test_bytes_written_are_right_to_their_last_digit(count: int):
    """Oracle: the text read back; and an invariant: below a thousand of the unit."""
    number, unit = bytes_text(count).split()
    factor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert float(number) < 1000 or unit == "TB"
    assert math.isclose(float(number) * factor, count, abs_tol=0.051 * factor)
