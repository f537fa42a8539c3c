"""Save Maps and Load Maps as the host calls them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import pytest
from pack.devtools.server import WorkflowError
from pack.host.paths import output_names
from pack.nodes.concepts import LoadConcepts
from pack.nodes.files import MAPS, LoadMaps, SaveMaps
from pack.scenescope.attention.files.maps import save_recording
from pack.scenescope.errors import FileError, InputError
from pack.tests.support.host.prompts import node
from pack.tests.support.saved import full_recording, same


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """The host with an output and an input folder of its own."""
    before = folder_paths.get_output_directory(), folder_paths.get_input_directory()
    for name in ("output", "input"):
        (tmp_path / name).mkdir()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_input_directory(str(tmp_path / "input"))
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.set_input_directory(before[1])


def call(node: type, **inputs: Any) -> Any:
    """Run a node as the host does, on its locked clone."""
    return node.PREPARE_CLASS_CLONE(None).execute(**inputs).result[0]


def choices() -> list[str]:
    """What the editor offers when it asks afresh."""
    return LoadMaps.INPUT_TYPES()["required"]["file"][1]["options"]


def test_saved_maps_are_offered_and_load_equal(folders):
    """Oracle: the recording that was saved; the input is passed on untouched."""
    recording = full_recording()
    assert choices() == []
    assert call(SaveMaps, maps=recording, filename_prefix="maps/SceneScope") is recording
    assert choices() == ["maps/SceneScope_00001_.maps.safetensors [output]"]
    assert LoadMaps.validate_inputs(choices()[0]) is True
    assert same(recording, call(LoadMaps, file=choices()[0]))


def test_saving_again_makes_another_file(folders):
    """Oracle: by hand."""
    for _ in range(2):
        call(SaveMaps, maps=full_recording(), filename_prefix="a")
    assert sorted(path.name for path in (folders / "output").iterdir()) == [
        "a_00001_.maps.safetensors",
        "a_00002_.maps.safetensors",
    ]


def test_two_that_save_at_the_same_time_make_two_files(folders):
    """Oracle: by hand; both look for a free name before either writes, as two servers with one output folder do."""
    places = [output_names("a", ".maps.safetensors", MAPS.prefix) for _ in range(2)]
    assert [save_recording(full_recording(), place).name for place in places] == [
        "a_00001_.maps.safetensors",
        "a_00002_.maps.safetensors",
    ]


def test_a_file_of_the_input_folder_loads_too(folders):
    """Oracle: the recording that was saved."""
    call(SaveMaps, maps=full_recording(), filename_prefix="a")
    (folders / "output" / "a_00001_.maps.safetensors").rename(folders / "input" / "b.maps.safetensors")
    assert choices() == ["b.maps.safetensors [input]"]
    assert same(full_recording(), call(LoadMaps, file=choices()[0]))


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "gone.maps.safetensors [output]", "x.safetensors"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_runs(folders, name):
    """Oracle: the host's contract: a text is the reason."""
    step = "Use a plain name|Choose one from the list|Press R to refresh the list"
    assert re.match(rf"Load Maps: .*({step})", LoadMaps.validate_inputs(name))
    with pytest.raises((InputError, FileError)):
        call(LoadMaps, file=name)
    if "." not in name or "/" in name:
        with pytest.raises(InputError):
            call(SaveMaps, maps=full_recording(), filename_prefix=name)


LOADERS = pytest.mark.parametrize("loader", [LoadMaps, LoadConcepts])


@LOADERS
def test_the_editor_that_has_no_file_to_send_gets_a_sentence(folders, loader):
    """Oracle: the sentences; raised, because the host drops what is returned for an input that was not sent."""
    kind = loader.KIND
    for sent in ({}, {"file": ""}, {"file": None}):
        said = rf"^{kind.loader}: there is no file ending in {kind.suffix} .* Run {kind.saver}, then press R"
        with pytest.raises(FileError, match=said):
            loader.validate_inputs(**sent)
    with pytest.raises(InputError, match=f"^{kind.loader}: file '' is empty. Use"):
        call(loader, file="")
    (folders / "output" / f"a{kind.suffix}").write_bytes(b"")
    with pytest.raises(FileError, match=f"^{kind.loader}: no file is chosen. .* press R"):
        loader.validate_inputs()


@LOADERS
def test_the_server_shows_the_sentence_where_no_file_was_sent(server, loader):
    """Oracle: a real server's answer: one error, on the loader, and it is the sentence."""
    info, kind = server.get_json("/object_info"), loader.KIND
    saver = f"SceneScope_{kind.saver.replace(' ', '')}"
    prompt = {
        "load": {"class_type": f"SceneScope_{kind.loader.replace(' ', '')}", "inputs": {}},
        "save": node(info, saver, **{kind.what: ["load", 0]}),
    }
    with pytest.raises(WorkflowError, match=rf"\({kind.loader}: .* ending in {kind.suffix}.* [Pp]ress R") as refused:
        server.queue(prompt)
    assert "Required input is missing" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "/x", "a:b"])
def test_a_name_that_is_none_is_told_with_its_widget(folders, name):
    """Oracle: the sentence."""
    with pytest.raises(InputError, match=r"^Save Maps: filename_prefix '.*\. Use a plain name such as maps/Scene"):
        call(SaveMaps, maps=full_recording(), filename_prefix=name)


def test_a_changed_file_is_loaded_again(folders):
    """Oracle: the host's contract: another fingerprint, another run."""
    call(SaveMaps, maps=full_recording(), filename_prefix="a")
    before = LoadMaps.fingerprint_inputs(choices()[0])
    assert LoadMaps.fingerprint_inputs(choices()[0]) == before
    path = folders / "output" / "a_00001_.maps.safetensors"
    os.utime(path, ns=(1, 1))
    assert LoadMaps.fingerprint_inputs(choices()[0]) != before


def test_a_foreign_file_under_our_name_is_refused(folders):
    """Oracle: the sentence."""
    (folders / "output" / "a.maps.safetensors").write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(FileError, match="pickle or a zip"):
        call(LoadMaps, file=choices()[0])


def test_a_cancel_stops_loading(folders):
    """Oracle: the host's own flag, set before; and the host's own exception."""
    call(SaveMaps, maps=full_recording(), filename_prefix="a")
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        call(LoadMaps, file=choices()[0])
    assert same(full_recording(), call(LoadMaps, file=choices()[0]))
