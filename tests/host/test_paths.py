"""Names from widgets: below the host's folders, and nowhere else; with real folders and real links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.host.paths import Widget, chosen_file, input_choices, nothing_chosen, numbered, output_names, version_of
from pack.host.paths import model_file as model_file_of
from pack.scenescope.errors import FileError, InputError

SUFFIX = ".maps.safetensors"
WIDGET = Widget("Save Maps: filename_prefix", "maps/SceneScope")


def output_file(prefix: str, suffix: str) -> Path:
    """The first name, for one widget."""
    return next(output_names(prefix, suffix, WIDGET))


def model_file(kind: str, name: str, suffix: str) -> Path:
    """For one widget."""
    return model_file_of(kind, name, suffix, WIDGET)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The host with folders of its own: output, input, models/loras; a secret beside them."""
    for name in ("output", "input", "loras", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / f"key{SUFFIX}").write_text("secret")
    before = folder_paths.get_output_directory(), folder_paths.get_input_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_input_directory(str(tmp_path / "input"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path / "loras")], {".safetensors"}))
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.set_input_directory(before[1])


BAD_NAMES = [
    "", "/", "/etc/passwd", "..", "../out", "a/../../out", "a/..", "./a", "a//b", "a/", "//server/share", "C:\\x",
    "C:x", "\\\\server\\share", "a\\b", "..\\x", "a\0b", "a\nb", "a\x7fb", "a\u202eb", "a\ud800b", "con", "NUL",
    "aux.txt", "Com1", "LPT9.x", "a/con/b", "a.", "a ", " a", "a./b", "x" * 151, "é" * 76, "/".join(["abcdefgh"] * 90),
    "a:b", "a*b", "a?b", 'a"b', "a|b", "<a>", "~/../x/..",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_is_none_is_refused_everywhere(folders, name):
    """Oracle: the sentence, which names the node and the widget; and a folder that stays empty."""
    sentence = r"^Save Maps: filename_prefix '.*\. Use a plain name such as maps/SceneScope, .*\.$"
    for ask in (lambda: output_file(name, SUFFIX), lambda: model_file("loras", name, ".safetensors")):
        with pytest.raises(InputError, match=sentence):
            ask()
    with pytest.raises((InputError, FileError), match=r"^Load Maps: file '"):
        chosen_file(f"{name}{SUFFIX}", SUFFIX, who="Load Maps")
    assert not any((folders / "output").iterdir())
    assert not any((folders / "loras").iterdir())


@pytest.mark.parametrize(
    "name", ["maps/SceneScope", "a", "é ü/日本", "a.b", ".hidden", "a b/c-d_e", "x" * 150, "console"]
)
def test_a_plain_name_gets_a_file_in_its_folder(folders, name):
    """Oracle: the host's own numbering: name_00001_."""
    path = output_file(name, SUFFIX)
    assert path == folders / "output" / f"{name}_00001_{SUFFIX}"
    assert path.parent.is_dir()
    assert not path.exists()


def test_nothing_is_overwritten_unless_asked(folders):
    """Oracle: by hand; a gap in the numbers is not filled, as in the host."""
    for number in (1, 2, 3):
        path = output_file("maps/a", SUFFIX)
        assert path.name == f"a_{number:05}_{SUFFIX}"
        path.write_text(str(number))
    (folders / "output" / "maps" / f"a_00001_{SUFFIX}").unlink()
    assert output_file("maps/a", SUFFIX).name == f"a_00004_{SUFFIX}"
    taken = folders / "output" / "maps" / f"a_00004_{SUFFIX}"
    taken.symlink_to(folders / "nowhere")
    assert output_file("maps/a", SUFFIX).name == f"a_00005_{SUFFIX}"


def test_the_hosts_date_words_are_filled_in(folders):
    """Oracle: four digits of a year."""
    assert output_file("maps %year%/a", SUFFIX).parent.name.removeprefix("maps ").isdigit()


def test_a_model_file_takes_the_name_itself_and_then_numbers(folders):
    """Oracle: by hand."""
    first = model_file("loras", "mine/cat", ".safetensors")
    assert first == folders / "loras" / "mine" / "cat.safetensors"
    first.write_text("1")
    assert model_file("loras", "mine/cat", ".safetensors") == first
    assert next(numbered(first, ".safetensors")).name == "cat_2.safetensors"


@pytest.mark.parametrize(
    "typed", ["maps/a.safetensors", "maps/a.SafeTensors", f"maps/a{SUFFIX}", "maps/a.MAPS.safetensors"]
)
def test_an_ending_that_was_typed_is_not_there_twice(folders, typed):
    """Oracle: by hand; only one ending is taken away, and only from the end."""
    assert output_file(typed, SUFFIX).name == f"a_00001_{SUFFIX}"
    assert output_file(f"{typed}.safetensors", SUFFIX).name == f"{typed[5:]}_00001_{SUFFIX}"
    assert output_file(f"{typed}.b", SUFFIX).name == f"{typed[5:]}.b_00001_{SUFFIX}"


def test_a_loader_that_was_sent_no_file_says_how_to_get_one(folders):
    """Oracle: the sentences, before and after there is a file."""
    assert str(nothing_chosen("Load Maps", SUFFIX, "Save Maps")) == (
        "Load Maps: there is no file ending in .maps.safetensors in the output or input folder yet. Run Save "
        "Maps, then press R and choose its file."
    )
    (folders / "input" / f"a{SUFFIX}").write_text("a")
    assert str(nothing_chosen("Load Maps", SUFFIX, "Save Maps")) == (
        "Load Maps: no file is chosen. Choose one ending in .maps.safetensors; press R to refresh the list."
    )


def test_links_that_lead_out_are_refused_and_not_listed(folders):
    """Oracle: a secret beside the folders, linked as a folder and as a file."""
    for kind in ("output", "input", "loras"):
        (folders / kind / "away").symlink_to(folders / "secret", target_is_directory=True)
        (folders / kind / f"key{SUFFIX}").symlink_to(folders / "secret" / f"key{SUFFIX}")
    assert input_choices(SUFFIX) == []
    for ask in (
        lambda: output_file("away/x", SUFFIX),
        lambda: output_file("away/new/x", SUFFIX),
        lambda: model_file("loras", "away/x", SUFFIX),
        lambda: chosen_file(f"away/key{SUFFIX} [output]", SUFFIX),
        lambda: chosen_file(f"key{SUFFIX} [input]", SUFFIX),
    ):
        with pytest.raises(InputError, match=r"^(Save Maps: filename_prefix|Load: file) '.*' leads out of"):
            ask()
    assert [path.name for path in (folders / "secret").iterdir()] == [f"key{SUFFIX}"]


def test_a_folder_that_is_itself_a_link_is_the_users_choice(folders):
    """Oracle: an invariant; many people keep their output on another disk."""
    (folders / "disk").mkdir()
    (folders / "linked").symlink_to(folders / "disk", target_is_directory=True)
    folder_paths.set_output_directory(str(folders / "linked"))
    path = output_file("maps/a", SUFFIX)
    path.write_text("1")
    assert (folders / "disk" / "maps" / path.name).exists()
    assert input_choices(SUFFIX) == [f"maps/{path.name} [output]"]


def test_choices_are_the_files_that_are_there_newest_first(folders):
    """Oracle: by hand."""
    places = [("output", f"maps/old{SUFFIX}"), ("input", f"mid{SUFFIX}"), ("output", f"new{SUFFIX}")]
    for age, (folder, name) in enumerate(places):
        path = folders / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        os.utime(path, (age * 100 + 1, age * 100 + 1))
    (folders / "output" / "lora.safetensors").write_text("no")
    (folders / "output" / f"folder{SUFFIX}").mkdir()
    choices = input_choices(SUFFIX)
    assert choices == [f"new{SUFFIX} [output]", f"mid{SUFFIX} [input]", f"maps/old{SUFFIX} [output]"]
    for choice in choices:
        assert chosen_file(choice, SUFFIX).read_text() == choice.rsplit(" ", 1)[0]
    assert chosen_file(f"new{SUFFIX}", SUFFIX).read_text() == f"new{SUFFIX}"


def test_what_is_not_there_is_a_clear_error(folders):
    """Oracle: the sentences."""
    with pytest.raises(FileError, match=r"is not in the output folder.*Press R"):
        chosen_file(f"gone{SUFFIX} [output]", SUFFIX)
    for choice in ("lora.safetensors [output]", f"a{SUFFIX} [temp]", f"a{SUFFIX} [models]"):
        with pytest.raises(InputError, match="is not one of the files to choose from"):
            chosen_file(choice, SUFFIX)


def test_a_folder_that_cannot_be_made_is_a_clear_error(folders):
    """Oracle: the sentence; a file stands where the folder should be."""
    (folders / "output" / "maps").write_text("a file")
    sentence = "^Save Maps: filename_prefix 'maps/a/b' is in a folder that can't be written to"
    with pytest.raises(FileError, match=sentence):
        output_file("maps/a/b", SUFFIX)
    (folders / "loras" / "mine").write_text("a file")
    with pytest.raises(FileError, match="^Save Maps: filename_prefix 'mine/b' is in a folder that can't be written to"):
        model_file("loras", "mine/b", SUFFIX)


def test_the_version_changes_with_the_file(folders):
    """Oracle: by hand."""
    path = folders / "output" / "a"
    path.write_text("1")
    before = version_of(path)
    assert version_of(path) == before
    path.write_text("22")
    assert version_of(path) != before


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(max_size=12)
    | st.text("./\\a:~ \0", max_size=12)
    | st.lists(st.sampled_from(["..", ".", "a", ""])).map("/".join)
)
def test_no_name_leads_out_of_the_folder(folders, name):
    """Oracle: the resolved path."""
    for ask, root in (
        (lambda: output_file(name, SUFFIX), folders / "output"),
        (lambda: model_file("loras", name, SUFFIX), folders / "loras"),
        (lambda: chosen_file(f"{name}{SUFFIX}", SUFFIX), folders / "output"),
    ):
        try:
            path = ask()
        except (InputError, FileError):
            continue
        assert root.resolve() in path.resolve().parents


def test_a_date_as_cores_own_nodes_write_it_is_refused_with_what_to_write(folders):
    """Oracle: the sentence."""
    with pytest.raises(InputError, match=r"holds %date:.*%year%, %month%, %day%"):
        output_file("maps/%date:yyyy-MM-dd%", SUFFIX)
