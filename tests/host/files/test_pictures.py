"""Pictures known to be PNG: nothing else is opened under their name, and nothing larger than can be paid for."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.host.files.pictures import opened_png
from pack.host.training.samples import has_samples, load_samples, save_samples
from pack.scenescope.errors import FileError
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def png(path: Path, size: tuple[int, int] = (3, 2)) -> Path:
    """A small sound picture."""
    Image.new("RGB", size, (1, 2, 3)).save(path)
    return path


def bomb(path: Path, side: int) -> Path:
    """A picture whose header tells of a side, with nearly nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
    return path


def test_a_sound_picture_is_read(tmp_path):
    """Oracle: by hand."""
    assert np.asarray(opened_png(png(tmp_path / "p.png"))).tolist() == [[[1, 2, 3]] * 3] * 2


@pytest.mark.parametrize("form", ["GIF", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "eps"])
def test_another_format_under_the_name_of_a_png_is_not_opened(tmp_path, form):
    """Oracle: the sentence; for EPS Pillow would run a program."""
    path = tmp_path / "p.png"
    if form == "eps":
        path.write_bytes(EPS)
    else:
        Image.new("RGB", (3, 2)).save(path, form)
    with pytest.raises(FileError, match=r"p\.png is not a valid PNG \(") as refused:
        opened_png(path)
    assert str(tmp_path) not in str(refused.value)  # where the server keeps it is nobody's business


@pytest.mark.parametrize("side", [6001, 9000, 40_000, 2**31 - 1])
def test_a_picture_that_would_be_too_large_is_refused_before_its_pixels_are_read(tmp_path, side):
    """Oracle: the sentence, for headers without pixels behind them."""
    with pytest.raises(FileError, match=r"p\.png (has \d+x\d+ pixels, more than|is not a valid PNG)"):
        opened_png(bomb(tmp_path / "p.png", side))


def test_a_picture_that_is_cut_or_spoilt_anywhere_is_a_clear_error(tmp_path):
    """Oracle: the two ends that there are, for every length, and for every byte of the head turned over."""
    good = png(tmp_path / "good.png", (40, 30)).read_bytes()
    path = tmp_path / "p.png"
    spoilt = [good[:length] for length in range(len(good))]
    spoilt += [good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :] for at in range(len(good))]
    for content in spoilt:
        path.write_bytes(content)
        try:
            said = str(opened_png(path).size)
        except FileError as error:
            said = str(error)
        assert said == "(40, 30)" or said.startswith("Picture: p.png ")
        assert str(tmp_path) not in said


def test_a_damaged_sample_is_made_again_and_does_not_keep_the_others_back(tmp_path):
    """Oracle: by hand: two samples, of which one was cut afterwards."""
    save_samples(torch.rand(2, 8, 8, 3), tmp_path, 3, "wish")
    assert has_samples(tmp_path, 3, 2, "wish")
    path = tmp_path / "sample_000003_00.png"
    path.write_bytes(path.read_bytes()[:40])
    assert not has_samples(tmp_path, 3, 2, "wish")
    assert load_samples(tmp_path, 3).shape == (1, 8, 8, 3)
