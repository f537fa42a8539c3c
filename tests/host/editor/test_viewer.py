"""What the attention viewer is given: one file for a recording, and nothing where there is nothing to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from pack.host.editor.viewer import viewer_ui
from pack.host.prompts.words import picture_cautions
from pack.tests.support.recordings import Run, record
from pack.tests.support.viewfiles import read
from PIL import Image


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's temp folder, not made yet, as when the server has just started."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "temp"


def test_nodes_that_show_one_recording_share_a_file(temp):
    """Oracle: the folder; a file that somebody deleted is written afresh."""
    recording = record()
    first, again = viewer_ui(recording)["scenescope_view"][0], viewer_ui(recording)["scenescope_view"][0]
    assert first["filename"] == again["filename"]
    assert [file.name for file in temp.iterdir()] == [first["filename"]]
    read(temp / first["filename"])
    (temp / first["filename"]).unlink()
    assert (temp / viewer_ui(recording)["scenescope_view"][0]["filename"]).is_file()
    assert viewer_ui(record())["scenescope_view"][0]["filename"] != first["filename"]


def test_the_pictures_are_kept_beside_it(temp):
    """Oracle: two pictures of known grey come back; of more or fewer it is not known whose they are."""
    pictures = torch.stack([torch.full((16, 24, 3), share) for share in (0.0, 0.6)])
    run = record(Run(images=2))
    places = viewer_ui(run, picture=pictures)["scenescope_view"][0]["pictures"]
    for count, others in (("1 picture", pictures[:1]), ("3 pictures", torch.cat([pictures, pictures[:1]]))):
        assert viewer_ui(run, picture=others)["scenescope_view"][0]["pictures"] == []
        (caution,) = picture_cautions(run, others)
        assert caution.startswith(f"{count} can't be matched with the maps of 2, so none is shown.")
    assert picture_cautions(run, pictures) == picture_cautions(run, None) == []
    assert [Image.open(temp / place["filename"]).getpixel((3, 5)) for place in places] == [(0, 0, 0), (153, 153, 153)]


def test_without_cross_attention_there_is_nothing_to_show(temp):
    """Oracle: an empty answer, and no file."""
    assert viewer_ui(replace(record(), maps=())) == {}
    assert not temp.exists()


def test_a_full_disk_costs_nobody_a_run(temp, caplog):
    """Oracle: a file where the folder should be; the answer is empty and the log says why."""
    temp.write_text("in the way")
    assert viewer_ui(record()) == {}
    assert "attention viewer has nothing to show" in caplog.text
