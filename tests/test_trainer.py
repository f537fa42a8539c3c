"""Runs: what is trained when, what is left behind, and that a run goes on where it was broken off."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pack.scenescope.errors import FileError, InputError
from pack.scenescope.training.concepts import Concepts
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.scenescope.training.state import load_state, save_state
from pack.scenescope.training.trainer import Keeping, Report, Run, train
from pack.tests.toy_training import all_bits, hooks, toy_ports, toy_scene
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
SHORT = {"phase1_steps": 4, "phase2_steps": 5, "seed": 6}
LORA = lora_settings(**SHORT, rank=2, text_encoder=True)
FULL = full_settings(**SHORT)


class BrokenOff(Exception):
    """What a host raises to cancel."""


def bits(concepts: Concepts) -> dict[str, bytes]:
    """All that was learned, as bytes."""
    tensors = {"rows": concepts.rows, **concepts.differences}
    for name, pair in concepts.low_rank.items():
        tensors |= {f"{name} down": pair.down, f"{name} up": pair.up}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def learned(settings: Settings, **options) -> Concepts:
    """A run over fresh toy ports."""
    scene = toy_scene()
    return train(scene, toy_ports(scene), settings, **options)


def breaking_at(step: int):
    """An `on_step` that raises after some step."""

    def on_step(report: Report) -> None:
        if report.step == step:
            raise BrokenOff

    return on_step


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_phase_one_trains_rows_and_phase_two_everything(settings):
    """Oracle: what differs from the beginning after each step; `full` trains every parameter that a prompt reaches."""
    scene, seen = toy_scene(), []
    ports = toy_ports(scene)
    result = train(scene, ports, settings, on_step=lambda report: seen.append((report, report.concepts())))
    assert [report.phase for report, _ in seen] == [1] * 4 + [2] * 5
    assert [(report.step, report.steps) for report, _ in seen] == [(step + 1, 9) for step in range(9)]
    for report, concepts in seen[:4]:
        assert (concepts.low_rank, concepts.differences) == ({}, {})
        assert report.measured.prior is None
    assert all(report.measured.prior is not None for report, _ in seen[4:])
    rows = [concepts.rows for _, concepts in seen]
    assert all(not torch.equal(one, other) for one, other in pairwise(rows))
    assert bits(result) == bits(seen[-1][1])
    moved = [name for name, difference in result.differences.items() if difference.any()]
    moved += [name for name, pair in result.low_rank.items() if pair.up.any()]
    names = set(result.differences) | set(result.low_rank)
    assert {name.split(".")[0] for name in names} == {"unet", "text"}
    assert set(moved) == names
    assert (result.handles, result.base, result.steps) == (("<a>", "<b>", "<room>"), "toy", 9)


def test_only_rows_of_drawn_concepts_move_by_more_than_decay():
    """Oracle: AdamW by hand: the first step is the rate times the gradient's sign, after the decay; the rest decays."""
    settings = full_settings(phase1_steps=1, phase2_steps=0, single=1.0, prior="off")
    scene = toy_scene()
    with Run(scene, toy_ports(scene), settings) as run:
        first = run.state().rows.clone()
        report = run.advance()
        moved = run.state().rows - first * (1 - 5e-4 * 1e-2)
    drawn = [handle in report.measured.maps for handle in scene.handles]
    assert sorted(drawn) == [False, False, True]
    for row, was_drawn in zip(moved.abs(), drawn, strict=True):
        assert torch.allclose(row, torch.full_like(row, 5e-4 if was_drawn else 0.0), atol=2e-6)


@pytest.mark.parametrize("settings", [LORA, FULL, replace(FULL, text_encoder=False)], ids=["lora", "full", "unet only"])
@pytest.mark.parametrize("step", [None, 2, 6])
def test_the_given_modules_are_left_bit_identical(settings, step):
    """Oracle: the same parameters, bytes and wishes for gradients; no hooks, no gradients; grad mode, random state."""
    scene = toy_scene()
    ports = toy_ports(scene)
    next(ports.denoiser.unet.parameters()).requires_grad_(False)
    before, random_state = all_bits(ports), torch.get_rng_state()
    with torch.inference_mode():
        if step is None:
            train(scene, ports, settings)
        else:
            with pytest.raises(BrokenOff):
                train(scene, ports, settings, on_step=breaking_at(step))
        assert torch.is_inference_mode_enabled()
    assert all_bits(ports) == before
    assert hooks(ports) == 0
    assert all(item.grad is None for item in (*ports.denoiser.unet.parameters(), *ports.text.module.parameters()))
    assert torch.equal(torch.get_rng_state(), random_state)


def test_pictures_that_were_born_in_inference_mode_are_trained_on():
    """Oracle: the run outside; a host calls in that mode, and what it gets back must be ordinary tensors."""
    snapshots = []
    with torch.inference_mode():
        scene = toy_scene()
    ports = toy_ports()
    with torch.inference_mode():
        latents, classes = ports.latents.clone(), ports.class_pictures
        classes = replace(classes, latents=classes.latents.clone())
        ports = replace(ports, latents=latents, flipped=latents.flip(-1), class_pictures=classes)
        result = train(
            scene, ports, FULL, on_step=torch.inference_mode()(lambda report: snapshots.append(report.concepts()))
        )
    assert scene.masks.is_inference()
    assert ports.latents.is_inference()
    assert bits(result) == bits(learned(FULL))
    for concepts in (result, *snapshots):
        assert not any(tensor.is_inference() for tensor in (concepts.rows, *concepts.differences.values()))


def test_the_given_modules_are_left_after_an_error_in_the_model():
    """Oracle: as above, for a denoiser that fails in the second phase, and for ports that do not fit."""
    scene = toy_scene()
    ports = toy_ports(scene)
    before, calls = all_bits(ports), []

    def fail(module, inputs):
        calls.append(module)
        if len(calls) == 6:
            raise RuntimeError("out of memory")

    handle = ports.denoiser.unet.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(scene, ports, LORA)
    handle.remove()
    with pytest.raises(InputError, match="latents are"):
        train(scene, replace(ports, latents=ports.latents[:, :, 1:]), LORA)
    assert all_bits(ports) == before
    assert hooks(ports) == 0


@pytest.mark.parametrize(
    "settings",
    [LORA, FULL, replace(LORA, precision="float16"), replace(LORA, batch=2, outside_noise=0.3)],
    ids=["lora", "full", "float16", "batch"],
)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(settings, tmp_path):
    """Oracle: the run that was not broken off; broken off at random steps, the ends of both phases among them."""
    whole, chance = bits(learned(settings)), random.Random(settings.batch)
    for breaks in ([4], [1, 5, 8], [9], sorted(chance.sample(range(1, 10), 3))):
        path = tmp_path / f"{breaks}.state"
        for step in breaks:
            with pytest.raises(BrokenOff):
                learned(settings, on_step=breaking_at(step), keeping=Keeping(path, every=3))
            assert load_state(path).step == step
        assert bits(learned(settings, keeping=Keeping(path, every=3))) == whole


def test_a_second_phase_that_fails_at_once_goes_on_from_the_first(tmp_path):
    """Oracle: the run that was not broken off; out of memory is likeliest where the weights come in."""
    scene, calls = toy_scene(), []
    ports, keeping = toy_ports(scene), Keeping(tmp_path / "run.state", 100)

    def fail(module, inputs):
        calls.append(module)
        if len(calls) == 5:
            raise RuntimeError("out of memory")

    ports.denoiser.unet.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(scene, ports, LORA, keeping=keeping)
    assert load_state(keeping.path).step == 4
    assert bits(learned(LORA, keeping=keeping)) == bits(learned(LORA))


def test_a_finished_run_is_not_trained_again(tmp_path):
    """Oracle: by hand: no step is told."""
    keeping, steps = Keeping(tmp_path / "run.state", 100), []
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
from pack.tests.test_trainer import LORA, learned
from pack.scenescope.training.trainer import Keeping
learned(LORA, keeping=Keeping(Path({str(path)!r}), 1), on_step=lambda report: print(report.step, flush=True))
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
    assert bits(learned(LORA, keeping=Keeping(path, 1))) == bits(learned(LORA))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 3}, "rank is 3; expected 2"),
        ({"seed": 7}, "seed is 7; expected 6"),
        ({"phase2_steps": 6}, "phase2_steps is 6; expected 5"),
    ],
)
def test_a_changed_setting_is_refused(tmp_path, change, words):
    """Oracle: by hand; the message names the setting and both values. The state stays."""
    path = tmp_path / "run.state"
    with pytest.raises(BrokenOff):
        learned(LORA, on_step=breaking_at(2), keeping=Keeping(path, 9))
    before = path.read_bytes()
    with pytest.raises(InputError, match=words):
        learned(replace(LORA, **change), keeping=Keeping(path, 9))
    assert path.read_bytes() == before


def test_another_scene_or_model_is_refused(tmp_path):
    """Oracle: by hand."""
    path, scene = tmp_path / "run.state", toy_scene()
    with pytest.raises(BrokenOff):
        train(scene, toy_ports(), LORA, on_step=breaking_at(6), keeping=Keeping(path, 9))
    with pytest.raises(InputError, match="the base model is 'other'; expected 'toy'"):
        train(scene, replace(toy_ports(), base="other"), LORA, keeping=Keeping(path, 9))
    with pytest.raises(InputError, match="the scene is"):
        train(replace(scene, masks=scene.masks * 0.9), toy_ports(), LORA, keeping=Keeping(path, 9))


def test_a_damaged_state_is_refused(tmp_path):
    """Oracle: by hand: cut short, a number that is none, a tensor of another shape, a step that cannot be."""
    path, bad = tmp_path / "run.state", tmp_path / "bad.state"
    with pytest.raises(BrokenOff):
        learned(LORA, on_step=breaking_at(6), keeping=Keeping(path, 9))
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    value, tensors = json.loads(metadata["value"]), load_file(path)
    name = value["rows"]
    bad.write_bytes(content[:-1])
    with pytest.raises(FileError, match="bad.state: the file holds"):
        learned(LORA, keeping=Keeping(bad, 9))
    for rows, words in (
        (tensors[name] * float("inf"), "not finite"),
        (tensors[name][:2].clone(), "does not fit the model"),
    ):
        save_file({**tensors, name: rows}, bad, metadata)
        with pytest.raises(FileError, match=words):
            learned(LORA, keeping=Keeping(bad, 9))
    save_file(tensors, bad, {**metadata, "value": json.dumps({**value, "step": 10})})
    with pytest.raises(FileError, match="step is 10; expected at most 9"):
        learned(LORA, keeping=Keeping(bad, 9))


def test_a_full_disk_is_told_and_keeps_the_earlier_state(tmp_path, monkeypatch):
    """Oracle: by hand: the disk fills up after the first writing."""
    path, replaced = tmp_path / "run.state", os.replace

    def fills_up(source, target):
        if path.exists():
            raise OSError(28, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr("os.replace", fills_up)
    with pytest.raises(FileError, match="No space left on device"):
        learned(LORA, keeping=Keeping(path, 2))
    assert load_state(path).step == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.state"]


def test_a_state_needs_no_step_to_be_saved(tmp_path):
    """Oracle: an invariant: a state of step 0 begins anew."""
    scene = toy_scene()
    with Run(scene, toy_ports(scene), LORA) as run:
        save_state(run.state(), tmp_path / "run.state")
    assert bits(learned(LORA, keeping=Keeping(tmp_path / "run.state", 9))) == bits(learned(LORA))
    with pytest.raises(InputError, match="every 0 steps"):
        Keeping(tmp_path / "run.state", 0)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    """Oracle: by hand: latents with nan; nothing is saved that could not be read again."""
    scene = toy_scene()
    ports = toy_ports(scene)
    broken = replace(ports, latents=ports.latents * float("nan"), flipped=ports.flipped * float("nan"))
    with pytest.raises(InputError, match="in step 1 is nan; expected a finite number"):
        train(scene, broken, LORA, keeping=Keeping(tmp_path / "run.state", 1))
    assert not (tmp_path / "run.state").exists()


def test_gradients_are_clipped_together():
    """Oracle: by hand: after one step the first moment is 0.1 of the clipped gradient."""
    scene, settings = toy_scene(), full_settings(phase1_steps=1, phase2_steps=0, clip=1e-3)
    with Run(scene, toy_ports(scene), settings) as run:
        report = run.advance()
        moment = run.state().moments["rows exp_avg"]
    assert report.gradient_norm > 1e-3
    assert float(moment.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_both_modes_learn_where_the_things_are(mode):
    """Oracle: the masks: maps fit better, both losses fall by a fifth and more, on latents that show the things."""
    scene, told = toy_scene(), []
    preset, rate = (lora_settings, 0.03) if mode == "lora" else (full_settings, 0.01)
    options = {"phase1_steps": 30, "phase2_steps": 90, "attention_weight": 1.0, "prior": "off", "norm_guard": None}
    settings = preset(**options, phase1_rows_rate=0.03, phase2_rows_rate=rate, weights_rate=rate, rank=4, alpha=4)
    train(scene, toy_ports(scene, quiet=True), settings, on_step=told.append)
    losses = [report.measured.attention / len(report.measured.maps) for report in told]
    fit = [sum(report.measured.fits.values()) / len(report.measured.fits) for report in told]
    masked = [report.measured.masked for report in told]
    for better, worse in ((losses[-15:], losses[:15]), (fit[:15], fit[-15:]), (masked[-15:], masked[:15])):
        assert sum(better) < 0.8 * sum(worse)


def test_rows_stay_within_their_guard():
    """Oracle: the guard: no row is longer than it began times the limit."""
    settings = lora_settings(phase1_steps=5, phase2_steps=2, phase1_rows_rate=1.0, norm_guard=1.2)
    scene, lengths = toy_scene(), []
    with Run(scene, toy_ports(scene), settings) as run:
        first = run.state().rows.norm(dim=1).clone()
        for _ in range(7):
            run.advance()
            lengths.append(run.state().rows.norm(dim=1).clone())
    assert all(bool((length <= 1.2 * first * (1 + 1e-5)).all()) for length in lengths)
    assert any(bool((length > 1.19 * first).any()) for length in lengths)
