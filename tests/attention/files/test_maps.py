"""Map files: what was saved comes back equal, and nothing else comes in."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.files.maps import load_recording, save_recording
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.errors import FileError
from pack.scenescope.files.safetensors_file import HEADER_LIMIT
from pack.tests.support.opened import parts
from pack.tests.support.saved import full_recording, same
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file."""
    path = tmp_path_factory.mktemp("maps") / "good.safetensors"
    save_recording(full_recording(), path)
    return path


def _written(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
def test_a_saved_recording_comes_back_equal(tmp_path, precision):
    """Oracle: an invariant, compared field by field with types by a walk that knows nothing of the file."""
    recording = full_recording(precision=precision)
    save_recording(recording, tmp_path / "maps.safetensors")
    again = load_recording(tmp_path / "maps.safetensors")
    assert same(recording, again)
    assert not same(recording, replace(again, images=2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["maps.safetensors"]


def test_the_file_is_ordinary_safetensors_that_other_programs_read(good):
    """Oracle: the safetensors library's own reader."""
    with safe_open(good, "pt") as file:
        assert file.metadata()["format"] == "scenescope-maps"
        assert file.metadata()["version"] == "1"
        assert all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


def test_tensors_of_equal_content_are_written_once(tmp_path):
    """Oracle: counted by hand: 8 maps, 4 queries, the scales of 2, 1 region, one key for the equal ones of each type,
    and the scale of one."""
    save_recording(full_recording(), tmp_path / "maps.safetensors")
    header, _ = parts((tmp_path / "maps.safetensors").read_bytes())
    assert len(header) - 1 == 8 + 4 + 2 + 1 + 2 + 1


def test_views_of_one_tensor_are_saved_as_what_they_show(tmp_path):
    """Oracle: an invariant; parts and reshapes of shared memory come back equal."""
    recording = full_recording()
    base = torch.rand(2, 1, 6, 2)
    parts = [base[:1], base[1:], base.permute(1, 0, 2, 3)[:, :1], base.reshape(1, 1, 12, 2)[:, :, ::2]]
    maps = [replace(item, maps=part) for item, part in zip(recording.maps[::2], parts, strict=True)]
    recording = replace(recording, maps=tuple(maps))
    save_recording(recording, tmp_path / "maps.safetensors")
    assert same(recording, load_recording(tmp_path / "maps.safetensors"))


class Operations(TorchDispatchMode):
    """Notes which of torch's operations are called."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        vars(self).setdefault("names", set()).add(func.name())
        return func(*args, **(kwargs or {}))


def test_maps_that_share_memory_as_those_of_a_gpu_do_are_saved_without_a_copy(tmp_path):
    """Oracle: torch's operations while the file is written: none that copies."""
    recording, base = full_recording(), torch.rand(4, 1, 6, 2)
    maps = tuple(replace(item, maps=base[at : at + 1]) for at, item in enumerate(recording.maps[::2]))
    recording = replace(recording, maps=maps, projections=MappingProxyType({}))
    with Operations() as called:
        save_recording(recording, tmp_path / "maps.safetensors")
    assert called.names & {"aten::view", "aten::view.dtype"}
    assert not called.names & {"aten::clone", "aten::_to_copy", "aten::copy_"}
    assert same(recording, load_recording(tmp_path / "maps.safetensors"))


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, good):
    """Oracle: the bytes before. The new file cannot be written because its description cannot be read back."""
    target = tmp_path / "maps.safetensors"
    target.write_bytes(good.read_bytes())
    wrong = replace(full_recording(), about=MappingProxyType({"seed": True}))
    with pytest.raises(FileError, match="about"):
        save_recording(wrong, target)
    assert target.read_bytes() == good.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    """Oracle: the sentence."""
    with pytest.raises(FileError, match=r"Save Maps: maps\.safetensors can\'t be written"):
        save_recording(full_recording(), tmp_path / "nowhere" / "maps.safetensors")
    with pytest.raises(FileError, match="can't be read"):
        load_recording(tmp_path / "nowhere.safetensors")


class _Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5, "torch"])
def test_a_pickle_under_another_name_is_refused_and_not_opened(tmp_path, protocol):
    """Oracle: a pickle that would leave a file behind; a plain pickle.load does."""
    trace, path = tmp_path / "trace", tmp_path / "maps.safetensors"
    if protocol == "torch":
        torch.save({"maps": torch.zeros(2), "bomb": _Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb(trace), protocol=protocol))
        pickle.load(io.BytesIO(path.read_bytes()))  # noqa: S301
        assert trace.exists()
        trace.unlink()
    with pytest.raises(FileError, match=r"pickle|header"):
        load_recording(path)
    assert not trace.exists()


def test_a_foreign_and_a_later_file_are_told_apart(tmp_path, good):
    """Oracle: the sentences."""
    save_file({"lora": torch.zeros(4)}, tmp_path / "lora.safetensors")
    with pytest.raises(FileError, match="format should be 'scenescope-maps' but is not there"):
        load_recording(tmp_path / "lora.safetensors")
    header, data = parts(good.read_bytes())
    header["__metadata__"]["version"] = "2"
    with pytest.raises(FileError, match=r"version should be '1' but is '2'.*update"):
        load_recording(_written(tmp_path / "later.safetensors", json.dumps(header).encode(), data))


def _header_cases() -> dict[str, Any]:
    def entry(**changes: Any) -> dict[str, Any]:
        return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes

    return {
        "no header": b"",
        "not JSON": b"hello, this is no header",
        "not UTF-8": b'{"\xff\xfe": 1}',
        "a list": b"[1, 2]",
        "deep": b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "repeated keys": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}',
        "NaN": b'{"a": NaN}',
        "a huge number": b'{"a": ' + b"9" * 10_000 + b"}",
        "metadata of numbers": {"__metadata__": {"format": 1}},
        "metadata that is a list": {"__metadata__": []},
        "an entry without type": {"t": {"shape": [2], "data_offsets": [0, 8]}},
        "integers": {"t": entry(dtype="I32")},
        "a type that is a list": {"t": entry(dtype=["F32"])},
        "an unknown type": {"t": entry(dtype="pickle")},
        "a negative shape": {"t": entry(shape=[-2])},
        "a true shape": {"t": entry(shape=[True, 2])},
        "a shape of fractions": {"t": entry(shape=[2.0])},
        "a shape that is a text": {"t": entry(shape="2")},
        "an absurd shape": {"t": entry(shape=[2**40, 2**40], data_offsets=[0, 2**82])},
        "a shape of nothing and very much": {"t": entry(shape=[0, 2**47, 2**47], data_offsets=[0, 0])},
        "many dimensions": {"t": entry(shape=[1] * 65 + [2])},
        "more than the file": {"t": entry(shape=[2**30], data_offsets=[0, 2**32])},
        "a wrong size": {"t": entry(shape=[3])},
        "backward": {"t": entry(data_offsets=[8, 0])},
        "three offsets": {"t": entry(data_offsets=[0, 4, 8])},
        "a gap": {"t": entry(shape=[1], data_offsets=[4, 8])},
        "an overlap": {"a": entry(), "b": entry(shape=[1], data_offsets=[4, 8])},
        "less than the file": {"t": entry(shape=[1], data_offsets=[0, 4])},
    }


@pytest.mark.parametrize("name", list(_header_cases()))
def test_a_hostile_header_is_refused_with_a_sentence(tmp_path, good, name):
    """Oracle: the house's form of an error; the metadata is otherwise sound, and eight bytes of data follow."""
    header = _header_cases()[name]
    if isinstance(header, dict):
        header = json.dumps({"__metadata__": parts(good.read_bytes())[0]["__metadata__"]} | header).encode()
    path = _written(tmp_path / "hostile.safetensors", header, b"\0" * 8)
    with pytest.raises(FileError, match=r"^Load Maps: hostile\.safetensors: .*[;:] .*\. .*\.$") as raised:
        load_recording(path)
    assert "description" not in str(raised.value)  # the header alone is reason enough


@pytest.mark.parametrize("length", [0, 1, HEADER_LIMIT + 1, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_false_length_is_refused_before_it_is_read(tmp_path, length):
    """Oracle: the memory that Python counts: far less than the header claims."""
    path = _written(tmp_path / "long.safetensors", b"{}" + b" " * 100, length=length)
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="header of"):
            load_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_memory_stays_a_small_multiple_of_the_file(tmp_path):
    """Oracle: the memory that Python counts, for a header made of as many small objects as fit."""
    header = b'{"__metadata__":{},"a":[' + b"[]," * 300_000 + b"0]}"
    path = _written(tmp_path / "many.safetensors", header)
    tracemalloc.start()
    try:
        with pytest.raises(FileError):
            load_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * path.stat().st_size
    finally:
        tracemalloc.stop()


def _changes() -> dict[str, Any]:
    return {
        "no recording": lambda plain: None,
        "a list": lambda plain: [],
        "a field less": lambda plain: plain.pop("maps") and plain,
        "a field more": lambda plain: plain | {"code": "x"},
        "a text for a number": lambda plain: plain | {"images": "1"},
        "true for a number": lambda plain: plain | {"images": True},
        "no picture": lambda plain: plain | {"images": 0},
        "a huge number": lambda plain: plain | {"images": 10**40},
        "a grid of three": lambda plain: plain | {"latent": [1, 2, 3]},
        "a grid of nothing": lambda plain: plain | {"latent": [0, 2]},
        "a huge grid": lambda plain: plain | {"latent": [2**40, 2]},
        "sigmas of text": lambda plain: plain | {"sigmas": ["a"]},
        "an unknown tensor": lambda plain: plain | {"maps": [plain["maps"][0] | {"maps": "nowhere"}]},
        "a map of another grid": lambda plain: plain | {"maps": [plain["maps"][0] | {"query_grid": [3, 3]}]},
        "a map of other heads": lambda plain: plain | {"maps": [plain["maps"][0] | {"maps": "tensor_0", "heads": -1}]},
        "a kind": lambda plain: plain | {"maps": [plain["maps"][0] | {"address": {"kind": "third"}}]},
        "a type of number": lambda plain: plain | {"selection": plain["selection"] | {"precision": "int8"}},
        "a key twice": lambda plain: plain | {"about": [["seed", 1], ["seed", 2]]},
        "a mapping as an object": lambda plain: plain | {"about": {"seed": 1}},
        "too many tokens": lambda plain: plain | {"entries": [plain["entries"][0] | {"tokens": 10**12}]},
        "columns out of order": lambda plain: (
            plain
            | {
                "entries": [
                    plain["entries"][0]
                    | {"table": {"prompt": "", "tokens": plain["entries"][0]["table"]["tokens"][1:]}}
                ]
            }
        ),
    }


@pytest.mark.parametrize("name", list(_changes()))
def test_a_false_description_is_refused_with_a_sentence(tmp_path, good, name):
    """Oracle: the house's form of an error; the tensors are sound, one thing in the description is not."""
    header, data = parts(good.read_bytes())
    header["__metadata__"]["recording"] = json.dumps(_changes()[name](json.loads(header["__metadata__"]["recording"])))
    path = _written(tmp_path / "false.safetensors", json.dumps(header).encode(), data)
    with pytest.raises(FileError, match=r"^Load Maps: false\.safetensors: .*\. .*\.$"):
        load_recording(path)


def test_a_file_cut_anywhere_is_refused(tmp_path, good):
    """Oracle: every length that is not the whole."""
    content = good.read_bytes()
    for length in [*range(64), *range(64, len(content), 97), len(content) - 1]:
        (tmp_path / "cut.safetensors").write_bytes(content[:length])
        with pytest.raises(FileError):
            load_recording(tmp_path / "cut.safetensors")


@QUICK
@given(data=st.data())
def test_a_damaged_file_loads_equal_or_is_refused(tmp_path, good, data):
    """Oracle: the only two ends there are. Equal up to the damaged bytes of a map, a name or a number."""
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["byte", "cut", "repeat", "insert"]))
        if change == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del content[at : at + data.draw(st.integers(1, 64))]
        elif change == "repeat":
            content[at:at] = content[at : at + 32]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=16))
    path = tmp_path / "fuzz.safetensors"
    path.write_bytes(content)
    try:
        found: object = load_recording(path)
    except FileError as error:
        found = str(error)
    assert isinstance(found, Recording) or str(found).startswith("Load Maps: fuzz.safetensors: ")


@QUICK
@given(content=st.binary(max_size=400))
def test_any_bytes_at_all_are_refused(tmp_path, content):
    """Oracle: no random file holds a recording."""
    path = tmp_path / "random.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError):
        load_recording(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@QUICK
@given(data=st.data())
def test_any_value_anywhere_in_the_description_loads_or_is_refused(tmp_path, good, data):
    """Oracle: the only two ends there are; what loads can be saved and loaded again, equal."""
    header, tensors = parts(good.read_bytes())
    plain = json.loads(header["__metadata__"]["recording"])
    place: Any = plain
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(_JSON)
    header["__metadata__"]["recording"] = json.dumps(plain)
    path = _written(tmp_path / "value.safetensors", json.dumps(header).encode(), tensors)
    try:
        recording = load_recording(path)
    except FileError:
        return
    save_recording(recording, path)
    assert same(recording, load_recording(path))
