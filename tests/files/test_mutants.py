"""Files of every kind that the pack reads, changed anywhere: each is refused in the pack's words, or works."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pack.scenescope.attention.files.maps import load_recording, save_recording
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.errors import SceneScopeError
from pack.scenescope.training.learned.concepts import (
    Concepts,
    load_concepts,
    save_concepts,
    save_embedding,
    weight_tensors,
)
from pack.scenescope.training.run.history import (
    History,
    load_history,
    no_history,
    recent_ious,
    save_history,
    summary,
    totals,
    upto,
)
from pack.scenescope.training.run.history_picture import draw_curves
from pack.scenescope.training.run.state import load_state
from pack.scenescope.training.run.trainer import StateStore, train
from pack.tests.support.opened import joined, parts, places
from pack.tests.support.saved import full_recording
from pack.tests.support.toy_runs import LORA, BrokenOff, breaking_at, learned
from pack.tests.support.toy_training import toy_ports, toy_scene

MUTANTS = 30
MOST = 20.0  # seconds of this process for one mutant: what has no bound takes minutes
NUMBERS = (0, -1, 1, 2, 3, 17, 2**16, 10**6, 2**31 - 1, 2**53, 2**64, 0.5, 1e30, -1.0)
ODD_TEXTS = ("", "x", "\x00", "x" * 3000, "nan", "inf", "-inf", "float8_e4m3fn", "tensor_0", "../x")
FLOATS = (float("nan"), float("inf"), -1.0, 0.0, 1e30, 6e4)


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Args:
        write: makes a sound one.
        use: reads one, and does with it what the pack does.
    """

    write: Callable[[Path], object]
    use: Callable[[Path], object]


def write_concepts(path: Path) -> None:
    """What a short run learned."""
    save_concepts(learned(LORA), path)


def use_concepts(path: Path) -> None:
    """Look each handle up, export, and save again."""
    found: Concepts = load_concepts(path)
    for at, handle in enumerate(found.handles):
        assert found.embedding(handle).isfinite().all()
        save_embedding(found, handle, path.with_name(f"{at}.safetensors"))
    weight_tensors(found, {layer: f"lora_{at}" for at, layer in enumerate(found.low_rank)})
    save_concepts(found, path.with_name("again.safetensors"))


def write_state(path: Path) -> None:
    """A run that was broken off in its second phase."""
    with pytest.raises(BrokenOff):
        learned(LORA, on_step=breaking_at(6), keeping=StateStore(path, every=1))


def use_state(path: Path) -> None:
    """Go on for a step."""
    load_state(path)
    scene = toy_scene()
    try:
        train(scene, toy_ports(scene), LORA, on_step=breaking_at(7), keeping=StateStore(path, every=100))
    except BrokenOff:
        return


def write_curves(path: Path) -> None:
    """The curves of three steps."""
    blank = no_history(("<a>", "<b>"), (4, 6))
    steps = torch.arange(1, 4, dtype=torch.float64)
    save_history(History(blank.handles, steps, torch.rand(3, 3), torch.rand(3, 2), torch.rand(2, 4, 6)), path)


def use_curves(path: Path) -> None:
    """All that the dashboard shows of them."""
    found = load_history(path)
    grid = tuple(found.maps.shape[1:])
    json.dumps(summary(found), allow_nan=False)
    json.dumps(recent_ious(found), allow_nan=False)
    totals(found, LORA)
    upto(found, 2)
    if max(grid) < 1000:
        draw_curves(found, torch.rand(len(found.handles), *grid), steps=LORA.steps, phase1_steps=LORA.phase1_steps)


def use_maps(path: Path) -> None:
    """Describe and show; what else reads them is tried in `tests/attention/files`."""
    found = load_recording(path)
    found.describe()
    write_view(found, path.with_name("view"), limit=10**6)


READERS = {
    "concepts": Reader(write_concepts, use_concepts),
    "state": Reader(write_state, use_state),
    "curves": Reader(write_curves, use_curves),
    "maps": Reader(lambda path: save_recording(full_recording(), path), use_maps),
}


def bytes_changed(content: bytes, chance: random.Random) -> bytes:
    """Cut, or with some bytes written over."""
    start = chance.randrange(len(content))
    if chance.random() < 0.3:
        return content[:start]
    start = chance.choice([start, chance.randrange(200)])
    return content[:start] + chance.randbytes(chance.randint(1, 6)) + content[start + 4 :]


def words_changed(content: bytes, chance: random.Random) -> bytes:
    """One or two values of the description are others, most of them of the same type."""
    header, data = parts(content)
    key = max(header["__metadata__"], key=lambda name: len(header["__metadata__"][name]))
    value = json.loads(header["__metadata__"][key])
    for _ in range(chance.randint(1, 2)):
        place, at = chance.choice(list(places(value)))
        old = place[at]
        if isinstance(old, list) and old and chance.random() < 0.7:
            place[at] = chance.choice([old[1:], old[:-1], [*old, old[0]], old[::-1]])
        elif isinstance(old, str) and chance.random() < 0.8:
            place[at] = chance.choice([*ODD_TEXTS, old + "x", old.upper(), *_texts(value)])
        elif isinstance(old, int | float) and not isinstance(old, bool) and chance.random() < 0.8:
            place[at] = chance.choice([*NUMBERS, old + 1, old - 1])
        else:
            place[at] = chance.choice([None, True, False, [], {}, 0, "", -1])
    header["__metadata__"][key] = json.dumps(value)
    return joined(header, data)


def _texts(value: Any) -> list[str]:
    return [place[at] for place, at in places(value) if isinstance(place[at], str)]


def tensors_changed(content: bytes, chance: random.Random) -> bytes:
    """One tensor has another shape or type, or a number that is none."""
    header, data = parts(content)
    name = chance.choice([name for name in header if name != "__metadata__"])
    about = header[name]
    start, end = about["data_offsets"]
    if chance.random() < 0.5:
        cells = (end - start) // 4
        others = [[cells], [1, cells], [cells, 1], about["shape"][::-1], [1, *about["shape"]]]
        about["shape"] = chance.choice(others)
        about["dtype"] = chance.choice(["F32", "I32", about["dtype"]])
    else:
        form = {"F64": "<d", "F32": "<f", "F16": "<e"}.get(about["dtype"])
        if form is not None:
            numbers = [number for number in FLOATS if form != "<e" or not 7e4 < abs(number) < 1e31]
            new = struct.pack(form, chance.choice(numbers))
            at = start + len(new) * chance.randrange((end - start) // len(new))
            data = data[:at] + new + data[at + len(new) :]
    return joined(header, data)


@pytest.mark.parametrize("change", [bytes_changed, words_changed, tensors_changed])
@pytest.mark.parametrize("kind", list(READERS))
def test_a_file_that_was_changed_is_refused_in_our_words_or_works(tmp_path, kind, change):
    """Oracle: the only ends there are, each within bounded time; a refusal names no folder of the server's."""
    reader, path = READERS[kind], tmp_path / "file.safetensors"
    reader.write(path)
    sound, refused = path.read_bytes(), 0
    reader.use(path)
    for number in range(MUTANTS):
        path.write_bytes(change(sound, random.Random(f"{kind} {change.__name__} {number}")))
        began, said = time.process_time(), ""
        try:
            reader.use(path)
        except SceneScopeError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"mutant {number}: {type(error).__name__}: {error}") from error
        refused += bool(said)
        assert str(tmp_path) not in said, number
        assert time.process_time() - began < MOST, number
    assert refused > MUTANTS / 10
