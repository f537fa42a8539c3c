"""The viewer's file: a reader written after the format's description finds the recorded shares in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pack.scenescope.attention.files.viewer import LIMIT, write_view
from pack.scenescope.attention.files.viewer_plan import columns_of, plan_view
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.dims import Grid
from pack.scenescope.errors import FileError, RecordingError
from pack.tests.support.recordings import Run, entry, match, record
from pack.tests.support.viewfiles import read


def written(recording: Recording, folder: Path, limit: int = LIMIT) -> tuple[dict[str, Any], dict[Any, np.ndarray]]:
    """Write a recording and read it back."""
    path = folder / "maps.view"
    size = write_view(recording, path, limit=limit).size
    assert size == path.stat().st_size
    assert [file.name for file in folder.iterdir()] == ["maps.view"]
    return read(path)


def test_every_plane_is_the_recorded_map_to_half_a_byte(tmp_path):
    """Oracle: the recorded tensors themselves; the bound is the description's, 1/510 of the plane's largest share."""
    recording = record(Run(entries=(entry("a cat"), entry("a dog and a hat", "negative"))))
    header, planes = written(recording, tmp_path)
    names = [block["name"] for block in header["entries"][0]["blocks"]]
    for item in recording.maps:
        at = item.address
        which = ["positive", "negative"].index(at.branch)
        frame = header["entries"][which]["frames"].index([at.step, -1])
        for image in range(recording.images):
            for column in range(item.maps.shape[-1]):
                plane = planes[which, image, frame, names.index(at.block), column]
                true = item.maps[image, 0, :, column].float().reshape(*item.query_grid).numpy()
                assert np.abs(plane - true).max() <= true.max() / 509


def test_the_first_frame_is_the_mean_that_the_heatmap_shows(tmp_path):
    """Oracle: the core's own aggregation, over all steps, of one block."""
    recording = record(Run(steps=3))
    header, planes = written(recording, tmp_path)
    assert header["entries"][0]["frames"][0] == [-1, -1]
    block = [block["name"] for block in header["entries"][0]["blocks"]].index("output 4")
    cat = heatmaps(recording, [match("cat", (2,))], View(blocks="output 4")).values[1, ..., 0].numpy()
    assert planes[0, 1, 0, block, 2] == pytest.approx(cat, abs=float(cat.max()) / 500)


def test_a_large_grid_is_halved_by_means_of_its_cells(tmp_path):
    """Oracle: means of two by two cells; 72x40 has 2880 cells, 36x20 has 720."""
    recording = record(Run(latent=Grid(72, 40), steps=1, images=1))
    header, planes = written(recording, tmp_path)
    assert [header["entries"][0]["blocks"][0][name] for name in ("recorded", "grid")] == [[72, 40], [36, 20]]
    true = recording.maps[0].maps[0, 0, :, 2].float().reshape(36, 2, 20, 2).mean(dim=(1, 3)).numpy()
    assert planes[0, 0, 1, 0, 2] == pytest.approx(true, abs=float(true.max()) / 500)


def test_padding_is_one_column_and_chunks_share_their_start(tmp_path):
    """Oracle: two chunks counted by hand: two starts, two ends, three paddings; words and vectors alone."""
    kinds = ["start", "text", "embedding", "embedding", "end", "padding", "start", "text", "end", "padding", "padding"]
    tokens = tuple(
        Token(at, at // 6, at % 6, kind, "x" * (kind in ("text", "embedding")), at if kind == "text" else None)
        for at, kind in enumerate(kinds)
    )
    made = Entry("positive", 0, 11, table=TokenTable("x x x", tokens))
    columns = columns_of(made, 11)
    assert [(column.kind, column.columns) for column in columns] == [
        ("start", (0, 6)), ("text", (1,)), ("embedding", (2,)), ("embedding", (3,)), ("text", (7,)),
        ("end", (4, 8)), ("padding", (5, 9, 10)),
    ]  # fmt: skip
    recording = record(Run(entries=(made,)))
    _, planes = written(recording, tmp_path)
    true = recording.maps[0].maps[0, 0, :, [5, 9, 10]].float().mean(dim=-1).reshape(16, 24).numpy()
    assert planes[0, 0, 1, 0, 6] == pytest.approx(true, abs=float(true.max()) / 500)


def test_a_conditioning_without_words_has_a_column_for_each_key():
    """Oracle: counted."""
    columns = columns_of(Entry("positive", 0, 5), 5)
    assert [(column.kind, column.columns) for column in columns] == [("unknown", (at,)) for at in range(5)]


def test_single_heads_are_kept_where_they_were_recorded(tmp_path):
    """Oracle: the recorded tensors; and the mean of the heads is the first plane of a step."""
    recording = record(Run(selection=Selection(heads="each"), images=1))
    header, planes = written(recording, tmp_path)
    frames = header["entries"][0]["frames"]
    assert frames == [[-1, -1], [0, -1], [1, -1], [-1, 0], [-1, 1], [0, 0], [0, 1], [1, 0], [1, 1]]
    last = recording.maps[-1]
    for frame, true in ((8, last.maps[0, 1]), (2, last.maps[0].float().mean(dim=0))):
        plane = true[:, 2].float().reshape(*last.query_grid).numpy()
        assert planes[0, 0, frame, 15, 2] == pytest.approx(plane, abs=float(plane.max()) / 500)


def test_a_block_that_was_not_recorded_at_a_step_is_marked(tmp_path):
    """Oracle: one map taken away; its planes' tops are not a number."""
    recording = record()
    _, planes = written(replace(recording, maps=recording.maps[1:]), tmp_path)
    assert np.isnan(planes[0, 0, 1, 0, 0]).all()
    assert not np.isnan(planes[0, 0, 0, 0, 0]).any()  # the mean has the other step


def test_what_does_not_fit_is_left_out_and_said():
    """Oracle: the order of the description: heads at single steps, steps, cells, pictures."""
    recording = record(Run(steps=8, images=2, latent=Grid(32, 32), selection=Selection(heads="each")))
    full = plan_view(recording, 10**9)
    assert full.left_out == ()
    parts = {}
    for divisor in (2, 4, 6, 10**9):
        plan = plan_view(recording, full.size // divisor)
        parts[divisor] = [item["what"] for item in plan.left_out]
        assert plan.size <= full.size // divisor or divisor == 10**9
    assert parts == {
        2: ["heads at single steps"],
        4: ["steps", "heads at single steps"],
        6: ["steps", "heads at single steps"],
        10**9: ["steps", "heads at single steps", "cells", "images"],
    }


def test_fifty_steps_of_sixteen_blocks_and_77_words_fit():
    """Oracle: 51 frames of 77 columns on ten 32x32, five 16x16 and one 8x8 grid, 11,584 cells: 45.5 MB."""
    prompt = " ".join(f"w{at}" for at in range(74))
    recording = record(Run(latent=Grid(64, 64), steps=1, images=1, entries=(entry(prompt),)))
    maps = [replace(item, address=replace(item.address, step=step)) for step in range(50) for item in recording.maps]
    plan = plan_view(replace(recording, maps=tuple(maps)), LIMIT)
    assert plan.size == 51 * 77 * 11_584 == 45_490_368
    assert plan.left_out == ()


def test_errors_say_what_to_do(tmp_path):
    """Oracle: the sentences."""
    recording = record()
    with pytest.raises(RecordingError, match="no cross-attention"):
        write_view(replace(recording, maps=()), tmp_path / "maps.view")
    with pytest.raises(FileError, match="can't be written"):
        write_view(recording, tmp_path / "nowhere" / "maps.view")


def test_shares_in_half_precision_and_of_nothing_are_written(tmp_path):
    """Oracle: a column of zeros comes back as zeros, not as a division by zero."""
    recording = record()
    kept = torch.arange(recording.maps[0].maps.shape[-1]) != 2
    maps = [replace(item, maps=item.maps * kept) for item in recording.maps]
    _, planes = written(replace(recording, maps=tuple(maps)), tmp_path)
    assert not planes[0, 0, 1, 0, 2].any()
    assert planes[0, 0, 1, 0, 1].any()
