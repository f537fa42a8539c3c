"""Runs that were broken off, killed, damaged or changed: each goes on where it was, or says why not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.run.state import load_state, save_state
from pack.scenescope.training.run.trainer import Run, StateStore, train
from pack.tests.support.toy_runs import FULL, LORA, BrokenOff, bits, breaking_at, learned
from pack.tests.support.toy_training import toy_ports, toy_scene
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "settings",
    [
        LORA,
        FULL,
        replace(LORA, precision="float16"),
        replace(FULL, precision="float16"),
        replace(FULL, precision="bfloat16", prior="frozen"),
        replace(LORA, batch=2, outside_noise=0.3),
    ],
    ids=["lora", "full", "float16", "full float16", "full bfloat16", "batch"],
)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(settings, tmp_path):
    """Oracle: the run that was not broken off; broken off at random steps, the ends of both phases among them."""
    whole, chance = bits(learned(settings)), random.Random(settings.batch)
    for breaks in ([1, 4, 8], [chance.randrange(2, 9), 9]):
        path = tmp_path / f"{breaks}.state"
        for step in breaks:
            with pytest.raises(BrokenOff):
                learned(settings, on_step=breaking_at(step), keeping=StateStore(path, every=3))
            assert load_state(path).step == step
        assert bits(learned(settings, keeping=StateStore(path, every=3))) == whole


def test_a_second_phase_that_fails_at_once_goes_on_from_the_first(tmp_path):
    """Oracle: the run that was not broken off; out of memory is likeliest where the weights come in."""
    scene, calls = toy_scene(), []
    ports, keeping = toy_ports(scene), StateStore(tmp_path / "run.state", 100)

    def fail(module, inputs):
        calls.append(module)
        if len(calls) == 5:
            raise RuntimeError("out of memory")

    ports.denoiser.unet.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(scene, ports, LORA, keeping=keeping)
    assert load_state(keeping.path).step == 4
    assert bits(learned(LORA, keeping=keeping)) == bits(learned(LORA))


def test_a_state_is_saved_when_what_the_failed_step_held_is_gone(tmp_path):
    """Oracle: a weak reference to an activation of the step is dead when the state is written; the bits as above."""
    scene, calls, held, alive = toy_scene(), [], [], []
    ports = toy_ports(scene)

    def fail(module, inputs):
        calls.append(module)
        if len(calls) == 7:
            held.append(weakref.ref(inputs[0]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    def look():
        alive.append(sum(one() is not None for one in held))

    ports.denoiser.unet.output_blocks[-1][0].register_forward_pre_hook(fail)
    keeping = StateStore(tmp_path / "run.state", 100, look)
    with pytest.raises(torch.OutOfMemoryError):
        train(scene, ports, replace(LORA, prior="off"), keeping=keeping)
    assert held
    assert alive == [0]
    assert load_state(keeping.path).step == 6
    settings = replace(LORA, prior="off")
    assert bits(learned(settings, keeping=StateStore(keeping.path, 100))) == bits(learned(settings))


def test_a_state_of_full_with_moments_of_four_bytes_goes_on(tmp_path):
    """Oracle: the same run with moments of a byte, which keep seven eighths of a number; the file is of old."""
    settings, path = replace(FULL, precision="bfloat16"), tmp_path / "run.state"
    with pytest.raises(BrokenOff):
        learned(settings, on_step=breaking_at(7), keeping=StateStore(path, 99))
    state = load_state(path)
    kinds = {value.dtype for name, value in state.moments.items() if name.endswith(("exp_avg", "exp_avg_sq"))}
    assert torch.bfloat16 in kinds
    save_state(replace(state, moments={name: value.float() for name, value in state.moments.items()}), path)
    assert {value.dtype for value in load_state(path).moments.values()} == {torch.float32}
    assert bits(learned(settings, keeping=StateStore(path, 99))) == bits(learned(settings))
    single = replace(FULL, precision="float32")
    with pytest.raises(BrokenOff):
        learned(single, on_step=breaking_at(7), keeping=StateStore(tmp_path / "single.state", 99))
    old = load_state(tmp_path / "single.state").moments
    save_state(replace(state, moments=old), path)  # what half precision kept before there were moments of a byte
    ended, whole = learned(settings, keeping=StateStore(path, 99)), learned(settings)
    for name, difference in whole.differences.items():
        assert (ended.differences[name] - difference).abs().max() <= 3 * settings.weights_rate


def test_a_finished_run_is_not_trained_again(tmp_path):
    """Oracle: by hand: no step is told."""
    keeping, steps = StateStore(tmp_path / "run.state", 100), []
    first = learned(LORA, keeping=keeping)
    again = learned(LORA, keeping=keeping, on_step=steps.append)
    assert steps == []
    assert bits(first) == bits(again)


def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path):
    """Oracle: the run that was not killed; the process is ended by a signal that it cannot catch, while it works."""
    path = tmp_path / "run.state"
    script = f"""
import runpy
runpy.run_path({str(ROOT / "devtools" / "as_pack.py")!r})["load_pack"]()
import torch
torch.set_num_threads(1)
from pathlib import Path
from pack.tests.training.run.test_trainer import LORA, learned
from pack.scenescope.training.run.trainer import StateStore
learned(LORA, keeping=StateStore(Path({str(path)!r}), 1), on_step=lambda report: print(report.step, flush=True))
"""
    for wanted in (3, 6):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) >= wanted:
                    os.kill(process.pid, signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        assert load_state(path).step >= wanted
    torch.set_num_threads(1)
    assert bits(learned(LORA, keeping=StateStore(path, 1))) == bits(learned(LORA))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 3}, "rank is 3 now and was 2"),
        ({"seed": 7}, "seed is 7 now and was 6"),
        ({"phase2_steps": 6}, "phase2_steps is 6 now and was 5"),
    ],
)
def test_a_changed_setting_is_refused(tmp_path, change, words):
    """Oracle: by hand; the message names the setting and both values. The state stays."""
    path = tmp_path / "run.state"
    with pytest.raises(BrokenOff):
        learned(LORA, on_step=breaking_at(2), keeping=StateStore(path, 9))
    before = path.read_bytes()
    with pytest.raises(InputError, match=words):
        learned(replace(LORA, **change), keeping=StateStore(path, 9))
    assert path.read_bytes() == before


def test_another_scene_or_model_is_refused(tmp_path):
    """Oracle: by hand."""
    path, scene = tmp_path / "run.state", toy_scene()
    with pytest.raises(BrokenOff):
        train(scene, toy_ports(), LORA, on_step=breaking_at(6), keeping=StateStore(path, 9))
    with pytest.raises(InputError, match="the base model is 'other' now and was 'toy'"):
        train(scene, replace(toy_ports(), base="other"), LORA, keeping=StateStore(path, 9))
    with pytest.raises(InputError, match="the scene is"):
        train(replace(scene, masks=scene.masks * 0.9), toy_ports(), LORA, keeping=StateStore(path, 9))


def test_a_damaged_state_is_refused(tmp_path):
    """Oracle: by hand: cut short, a number that is none, a tensor of another shape, a step that cannot be."""
    path, bad = tmp_path / "run.state", tmp_path / "bad.state"
    with pytest.raises(BrokenOff):
        learned(LORA, on_step=breaking_at(6), keeping=StateStore(path, 9))
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    value, tensors = json.loads(metadata["value"]), load_file(path)
    name = value["rows"]
    bad.write_bytes(content[:-1])
    with pytest.raises(FileError, match="bad.state: the file is damaged or not a safetensors file: it holds"):
        learned(LORA, keeping=StateStore(bad, 9))
    for rows, words in (
        (tensors[name] * float("inf"), "not finite"),
        (tensors[name][:2].clone(), "doesn't fit this model"),
    ):
        save_file({**tensors, name: rows}, bad, metadata)
        with pytest.raises(FileError, match=words):
            learned(LORA, keeping=StateStore(bad, 9))
    save_file(tensors, bad, {**metadata, "value": json.dumps({**value, "step": 10})})
    with pytest.raises(FileError, match="step is 10, but the run has only 9"):
        learned(LORA, keeping=StateStore(bad, 9))


def test_a_full_disk_is_told_and_keeps_the_earlier_state(tmp_path, monkeypatch):
    """Oracle: by hand: the disk fills up after the first writing."""
    path, replaced = tmp_path / "run.state", os.replace

    def fills_up(source, target):
        if path.exists():
            raise OSError(28, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr("os.replace", fills_up)
    with pytest.raises(FileError, match="No space left on device"):
        learned(LORA, keeping=StateStore(path, 2))
    assert load_state(path).step == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.state"]


def test_a_state_needs_no_step_to_be_saved(tmp_path):
    """Oracle: an invariant: a state of step 0 begins afresh."""
    scene = toy_scene()
    with Run(scene, toy_ports(scene), LORA) as run:
        save_state(run.state(), tmp_path / "run.state")
    assert bits(learned(LORA, keeping=StateStore(tmp_path / "run.state", 9))) == bits(learned(LORA))
    with pytest.raises(InputError, match="every 0 steps"):
        StateStore(tmp_path / "run.state", 0)
