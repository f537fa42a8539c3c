"""The pack's own safetensors files: what others read, and what is there when writing fails."""

from __future__ import annotations

import os

import pytest
import torch
from pack.scenescope.errors import FileError
from pack.scenescope.files.safetensors_file import read_container, write_container
from safetensors.torch import load_file

TENSORS = {
    "half": torch.arange(6, dtype=torch.float16).reshape(2, 3)[:, 1:],
    "number": torch.tensor(0.5),
    "wide": torch.arange(4, dtype=torch.float64),
    "brain": torch.full((3,), 2.5, dtype=torch.bfloat16),
}


def same(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are those above, bit for bit and in shape and type."""
    pairs = [(tensors[name], tensor) for name, tensor in TENSORS.items()]
    alike = (got.dtype == wanted.dtype and torch.equal(got, wanted) for got, wanted in pairs)
    return len(tensors) == len(TENSORS) and all(alike)


def test_what_is_written_is_read_by_others(tmp_path):
    """Oracle: the format's own reader; a part of a tensor, a number, four types."""
    write_container(TENSORS, tmp_path / "file", {"format": "words"}, "Test")
    assert same(load_file(tmp_path / "file"))
    assert same(dict(read_container(tmp_path / "file", {"format": "words"}, "Test").tensors))


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path):
    """Oracle: by hand: 640, 896 and 1152 are the bytes 80 02, 80 03 and 80 04, with which pickles begin."""
    lengths = set()
    for padding in range(1, 1200, 8):
        path = tmp_path / "file"
        write_container({"x": torch.ones(1)}, path, {"words": "a" * padding}, "Test")
        lengths.add(path.read_bytes()[:2])
        assert read_container(path, {}, "Test").tensors["x"] == 1
    assert {b"\x80\x02", b"\x80\x03", b"\x80\x04"} <= lengths


def test_a_disk_that_fills_up_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    """Oracle: the earlier bytes, and nothing beside them."""
    path = tmp_path / "file"
    write_container(TENSORS, path, {}, "Test")
    before = path.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="Test: file can't be written"):
        write_container({"x": torch.ones(1)}, path, {}, "Test")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
