"""What Load Maps lets in, every reader can read: recordings are checked once, whole, against themselves."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.draw.figure import LAYOUTS, Layouting, draw, draw_comparison
from pack.scenescope.attention.draw.render import Style
from pack.scenescope.attention.files.maps import load_recording, save_recording
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.attention.read.ask import Question, ask
from pack.scenescope.attention.read.join import join_images
from pack.scenescope.attention.read.masks import refine_by, self_attention
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.block_shapes import AttentionShape, BlockShape
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.shapes.diagram import draw_unet
from pack.scenescope.attention.shapes.tables import shape_csv, shape_json, shape_markdown
from pack.scenescope.attention.words.tokens import Token
from pack.scenescope.dims import Grid
from pack.scenescope.errors import FileError, RecordingError, SceneScopeError
from pack.scenescope.files.safetensors_file import Bounds
from pack.tests.support.opened import joined, parts, places
from pack.tests.support.recordings import HEAD_WIDTH, Run, entry, match, record

GOOD = ("input 1", "input 4")


def small() -> Recording:
    """Two blocks of a run with everything: cross and self, two prompts, one of them with an area, queries, shapes."""
    entries = (entry("a cat"), entry("a dog", "negative", area=(2, 4, 1, 0)))
    selection = Selection(kinds=("cross", "self"), keep_queries=True)
    run = Run(Grid(4, 6), 2, 1, 2, kinds=("cross", "self"), selection=selection, entries=entries)
    whole = record(run).where(lambda at: at.block in GOOD)
    shape = AttentionShape("cross", (2, 24, 8), (2, 5, 8), 2, HEAD_WIDTH)
    rows = tuple(
        BlockShape(at, name, "down", (2, 8, 4, 6), (2, 8, 4, 6), "float16", (shape,)) for at, name in enumerate(GOOD)
    )
    return replace(
        whole,
        layers=tuple(layer for layer in whole.layers if layer.block in GOOD),
        shapes=rows,
        maps=tuple(sorted(whole.maps, key=lambda item: item.address)),
        projections=MappingProxyType(dict(whole.projections)),
        about=MappingProxyType({"seed": 3}),
    )


def read_everywhere(recording: Recording, folder: Path) -> None:
    """Every reader of a recording; what the pack raises on purpose is an answer."""
    words = (match("cat", (2,)), match("a", (1,), (2,)))
    style = Style(Grid(32, 48))
    question = Question({name: torch.ones(1, 1, 8) for name in GOOD}, (Token(0, 0, 0, "text", "red", 0),))
    readers: list[Any] = [
        recording.describe,
        lambda: write_view(recording, folder / "view"),
        lambda: draw_comparison((recording, recording), (words, words), View("all"), Layouting(style)),
        lambda: join_images([recording, recording]),
        lambda: refine_by(recording, torch.rand(recording.images, 4, 6), 2),
        lambda: ask(recording, question),
        lambda: (shape_markdown(recording.shapes), shape_json(recording.shapes), shape_csv(recording.shapes)),
        lambda: draw_unet(recording.shapes, recording.latent),
    ]
    for layout in LAYOUTS:
        for branch in ("positive", "negative"):
            readers.append(
                lambda layout=layout, branch=branch: draw(
                    recording, words, View("all", branch=branch), Layouting(style, layout=layout)
                )
            )
    for reader in readers:
        with suppress(SceneScopeError):
            reader()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors of a sound file."""
    path = tmp_path_factory.mktemp("maps") / "good.maps.safetensors"
    save_recording(small(), path)
    return parts(path.read_bytes())


def written(path: Path, good: tuple[dict[str, Any], bytes], plain: Any) -> Path:
    """The sound file with another description."""
    header = {**good[0], "__metadata__": {**good[0]["__metadata__"], "recording": json.dumps(plain)}}
    path.write_bytes(joined(header, good[1]))
    return path


def alike(old: Any, texts: list[str]) -> st.SearchStrategy[Any]:
    """Other values of a value's type."""
    if isinstance(old, bool):
        return st.just(not old)
    if isinstance(old, int):
        near = st.sampled_from([-1, 0, 1, 2, 3, 16, 17, 2**16, 10**6, 2**31 - 1, 2**53])
        return near | st.integers(old - 2, old + 2)
    if isinstance(old, float):
        return st.sampled_from([0.0, -1.0, 1e30, "inf", "nan", 0.5])
    if isinstance(old, str):
        return st.sampled_from([*texts, "", "x", "\x00", "x" * 3000, "nn", "Tensor", "float8_e4m3fn"])
    if isinstance(old, list) and old:
        return st.sampled_from([old[1:], old[:-1], [*old, old[0]], old[::-1]])
    return st.none()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_let_in_is_read_by_everybody(tmp_path, good, data):
    """Oracle: the only ends there are: the door refuses it, or readers answer or refuse on purpose."""
    plain = json.loads(good[0]["__metadata__"]["recording"])
    for _ in range(data.draw(st.integers(1, 2))):
        every = list(places(plain))
        texts = sorted({place[key] for place, key in every if isinstance(place[key], str)})
        place, key = data.draw(st.sampled_from(every))
        place[key] = data.draw(alike(place[key], texts))
    path = written(tmp_path / "mutant.maps.safetensors", good, plain)
    with suppress(FileError):
        read_everywhere(load_recording(path), tmp_path)


CONTRADICTIONS: dict[str, Any] = {
    "more pictures than maps": lambda plain: plain | {"images": 1_000_000},
    "two thousand million pictures": lambda plain: plain | {"images": 2_000_000_000},
    "an unknown block": lambda plain: _in_map(plain, "block", "input 9"),
    "an order without a layer": lambda plain: _in_map(plain, "order", 7),
    "a branch without an entry": lambda plain: _in_map(plain, "branch", "middle"),
    "an entry that is not there": lambda plain: _in_map(plain, "entry", 4),
    "a step after the last": lambda plain: _in_map(plain, "step", 50),
    "an evaluation before the first": lambda plain: _in_map(plain, "evaluation", -1),
    "a map twice": lambda plain: plain | {"maps": [*plain["maps"], plain["maps"][0]]},
    "maps out of order": lambda plain: plain | {"maps": plain["maps"][::-1]},
    "a layer twice": lambda plain: plain | {"sites": [*plain["sites"], plain["sites"][0]]},
    "no layer": lambda plain: plain | {"sites": []},
    "no entry": lambda plain: plain | {"entries": []},
    "an entry of other tokens": lambda plain: _first(plain, "entries", tokens=4),
    "an area outside the latent": lambda plain: _first(plain, "entries", area=[4, 6, 1, 1]),
    "a type that is another name of torch": lambda plain: _first(plain, "shapes", dtype="nn"),
    "a level of a million": lambda plain: _first(plain, "shapes", level=1_000_000),
    "a feature map without an end": lambda plain: _first(plain, "shapes", features_in=[1, 1, 2**40, 2**40]),
    "a name as long as a book": lambda plain: _first(plain, "shapes", block="x" * 100_000),
    "sigmas that are no numbers": lambda plain: plain | {"sigmas": ["nan", "inf", 0.0]},
}


def _first(plain: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    return plain | {name: [plain[name][0] | changes, *plain[name][1:]]}


def _in_map(plain: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return _first(plain, "maps", address=plain["maps"][0]["address"] | {name: value})


@pytest.mark.parametrize("name", list(CONTRADICTIONS))
def test_a_recording_that_contradicts_itself_is_refused_at_the_door(tmp_path, good, name):
    """Oracle: the sentence; each file is sound but for one value."""
    plain = CONTRADICTIONS[name](json.loads(good[0]["__metadata__"]["recording"]))
    path = written(tmp_path / "false.maps.safetensors", good, plain)
    said = r"^Load Maps: false\.maps\.safetensors: what the file says about its maps is wrong \(`"
    with pytest.raises(FileError, match=said):
        load_recording(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 6e4, 0.0])
@pytest.mark.parametrize("part", ["maps", "projections"])
def test_values_of_a_model_that_overflowed_are_told_by_every_reader(tmp_path, part, value):
    """Oracle: by hand: half precision can give any of these; what is no number is refused, the rest is drawn."""
    recording = small()
    if part == "maps":
        maps = tuple(replace(item, maps=torch.full_like(item.maps, value)) for item in recording.maps)
        recording = replace(recording, maps=maps)
    else:
        kept = {
            at: replace(item, query=torch.full_like(item.query, value), key=torch.full_like(item.key, value))
            for at, item in recording.projections.items()
        }
        recording = replace(recording, projections=MappingProxyType(kept))
    loaded = load_recording(save_recording(recording, tmp_path / "odd.maps.safetensors"))
    read_everywhere(loaded, tmp_path)
    if part == "maps" and not math.isfinite(value):
        with pytest.raises(RecordingError, match="some values are not numbers .NaN.: the model overflowed"):
            draw(loaded, (match("cat", (2,)),), View("all"), Layouting(Style(Grid(32, 48))))
        with pytest.raises(RecordingError, match="some values are not numbers"):
            self_attention(loaded)


def test_a_tensor_that_nothing_names_is_not_read(tmp_path, good):
    """Oracle: counted: a call for each tensor that is named, and none for one of 1 GB beside them."""
    calls: list[None] = []
    load_recording(with_tensor_beside(tmp_path, good, 10**9), Bounds(between=lambda: calls.append(None)))
    named = json.dumps(good[0]["__metadata__"]["recording"]).count("tensor_")
    assert len(calls) == named


def test_a_file_larger_than_the_memory_is_refused_by_its_size(tmp_path, good):
    """Oracle: the sentence, for a file of 200 GB that takes no room on the disk: told no bound, and told one."""
    path = with_tensor_beside(tmp_path, good, 2 * 10**11)
    for bounds in (Bounds(), Bounds(room=10**9)):
        with pytest.raises(FileError, match=r"^Load Maps: large\.maps\.safetensors: the file is 200\.0 GB long"):
            load_recording(path, bounds)


def with_tensor_beside(folder: Path, good: tuple[dict[str, Any], bytes], size: int) -> Path:
    """The sound file with a tensor more that nothing names; what it holds was never written."""
    header, data = good
    end = len(data)
    header = {**header, "beside": {"dtype": "F16", "shape": [size // 2], "data_offsets": [end, end + size]}}
    text = json.dumps(header).encode()
    path = folder / "large.maps.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)
        file.truncate(8 + len(text) + end + size)
    return path


def test_loading_can_be_broken_off(tmp_path, good):
    """Oracle: what was raised between two tensors comes through."""
    calls = []

    def third() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    path = written(tmp_path / "good.maps.safetensors", good, json.loads(good[0]["__metadata__"]["recording"]))
    with pytest.raises(KeyboardInterrupt):
        load_recording(path, Bounds(between=third))
    assert len(calls) == 3
