"""Train Concepts as the host runs it: what it gives out, broken off and gone on with, and what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy_extras.nodes_train import LossGraphNode
from pack.host.training.memory import is_out_of_memory, out_of_memory_text
from pack.host.training.plan import Plan
from pack.host.training.run import TrainingResult, refuse_own_folder, run_folder, train_concepts
from pack.nodes.train import TrainConcepts, TrainSettings
from pack.nodes.widgets.settings import PRESETS, setting_inputs, settings_of
from pack.scenescope.errors import FileError, HostError, InputError
from pack.scenescope.files.safetensors_file import read_container
from pack.scenescope.training.settings import full_settings
from pack.tests.support.host.learning import SHORT, bits_of, small_scene
from pack.tests.support.host.runs import Run, sample
from pack.tests.support.toy_runs import bits
from safetensors.torch import save_file

import nodes as host_nodes

QUICK = Plan(run_name="run", sample_count=0, save_every=2)
Interrupted = comfy.model_management.InterruptProcessingException


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> Iterator[Path]:
    """The host with an output and a temporary folder of its own."""
    before = folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path / "output"
    folder_paths.set_output_directory(before[0])
    folder_paths.set_temp_directory(before[1])


@pytest.fixture(scope="module")
def finished(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """The folder of a finished run of these settings, and what it gave."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(folder_paths, "output_directory", str(place))
        return place / "training" / "run", train_concepts(demo, small_scene(), SHORT, QUICK, None)


class Canceller:
    """Says that the run is to be cancelled, at a call of the host's own question, by its own means.

    Args:
        at: which of the calls, from 1.
    """

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self) -> None:
        self._left -= 1
        comfy.model_management.interrupt_current_processing(self._left == 0)
        HOSTS_QUESTION()


HOSTS_QUESTION = comfy.model_management.throw_exception_if_processing_interrupted


def cancelled_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press the host's cancel after a step."""
    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", Canceller(step))


@pytest.mark.parametrize(
    "settings", [SHORT, full_settings(phase1_steps=3, phase2_steps=3, prior="frozen", seed=4)], ids=["lora", "full"]
)
def test_a_cancelled_run_that_is_queued_again_ends_with_the_same_bits(demo, finished, settings, monkeypatch):
    """Oracle: the run that was not cancelled; cancelled in each phase. Its curves tell every step."""
    scene, before = small_scene(), bits_of(*demo)
    _, whole = finished
    if settings != SHORT:
        whole = train_concepts(demo, scene, settings, replace(QUICK, run_name="whole"), None)
    for step in (2, 3):
        cancelled_at(monkeypatch, step)
        with pytest.raises(Interrupted):
            train_concepts(demo, scene, settings, QUICK, None)
        assert bits_of(*demo) == before
    monkeypatch.undo()
    done = train_concepts(demo, scene, settings, QUICK, None)
    assert bits(done.concepts) == bits(whole.concepts)
    assert done.losses == whole.losses
    assert len(done.losses) == settings.steps
    assert bits_of(*demo) == before


def test_a_finished_run_is_returned_and_a_changed_one_is_told(demo, finished):
    """Oracle: the first run's bits and losses; the message names the setting. An automatic name begins afresh."""
    scene, (folder, first) = small_scene(), finished
    shutil.copytree(folder, run_folder("run"), dirs_exist_ok=True)
    again = train_concepts(demo, scene, SHORT, QUICK, None)
    assert bits(again.concepts) == bits(first.concepts)
    assert again.losses == first.losses
    changed = replace(SHORT, seed=5)
    with pytest.raises(InputError, match="seed is 5 now and was 4"):
        train_concepts(demo, scene, changed, QUICK, None)
    names = [
        train_concepts(demo, scene, settings, replace(QUICK, run_name=""), None).payload["run"]
        for settings in (SHORT, changed, SHORT)
    ]
    assert names[0] == names[2] != names[1]


def test_samples_that_a_cancel_took_are_made_when_the_run_goes_on(demo, monkeypatch):
    """Oracle: the pictures of the run that was not cancelled; cancelled in the last set, after the last step."""
    scene = small_scene()
    plan = replace(QUICK, sample_count=1, sample_every=3, sample_steps=2, run_name="whole")
    whole = train_concepts(demo, scene, SHORT, plan, None)
    state, written = run_folder("run") / "state.safetensors", set()

    def once_the_last_step_is_kept() -> None:  # the third of three writings; the host asks at every layer
        if state.exists():
            written.add(state.stat().st_mtime_ns)
        comfy.model_management.interrupt_current_processing(len(written) == 3)
        HOSTS_QUESTION()

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", once_the_last_step_is_kept)
    with pytest.raises(Interrupted):
        train_concepts(demo, scene, SHORT, replace(plan, run_name="run"), None)
    monkeypatch.undo()
    assert [path.name for path in run_folder("run").glob("*.png")] == ["sample_000003_00.png"]
    done = train_concepts(demo, scene, SHORT, replace(plan, run_name="run"), None)
    assert torch.equal(done.samples, whole.samples)
    assert len(done.samples) == 2


def test_a_finished_run_makes_other_samples_where_others_are_wished_for(demo):
    """Oracle: the pictures of a run that had the second prompt, or the smaller number, from the start."""
    scene = small_scene()
    first = replace(QUICK, sample_count=2, sample_every=0, sample_steps=2, run_name="run")
    second = replace(first, sample_prompt="a photo of {} in the snow", sample_count=1)
    train_concepts(demo, scene, SHORT, first, None)
    made = train_concepts(demo, scene, SHORT, second, None).samples
    assert torch.equal(made, train_concepts(demo, scene, SHORT, replace(second, run_name="fresh"), None).samples)
    kept = next(run_folder("run").glob("*.png")).stat().st_mtime_ns
    assert torch.equal(made, train_concepts(demo, scene, SHORT, second, None).samples)
    assert next(run_folder("run").glob("*.png")).stat().st_mtime_ns == kept


def test_a_run_of_one_step_can_be_plotted(demo):
    """Oracle: the stock plot takes it; the loss itself comes first."""
    done = train_concepts(demo, small_scene(), full_settings(phase1_steps=1, phase2_steps=0), QUICK, None)
    assert len(done.losses) == 2
    assert done.losses[0] == pytest.approx(done.losses[1])
    assert LossGraphNode.PREPARE_CLASS_CLONE(None).execute({"loss": done.losses}, "loss").ui is not None


def test_a_damaged_state_is_named(demo, finished):
    """Oracle: the message; damaged curves only begin afresh."""
    scene, (folder, done) = small_scene(), finished
    shutil.copytree(folder, run_folder("run"), dirs_exist_ok=True)
    (run_folder("run") / "curves.safetensors").write_bytes(b"nothing")
    assert bits(train_concepts(demo, scene, SHORT, QUICK, None).concepts) == bits(done.concepts)
    (run_folder("run") / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileError, match=r"state\.safetensors"):
        train_concepts(demo, scene, SHORT, QUICK, None)


def test_the_node_gives_what_its_sockets_say(demo):
    """Oracle: shapes by hand; the stock plot takes the losses; the ui is JSON that names files that are there."""
    inputs = {"sample_every": 3, "sample_count": 2, "sample_steps": 2, "run_name": "things/a"}
    node = TrainConcepts.PREPARE_CLASS_CLONE(None)
    output = node.execute(*demo, small_scene(), SHORT, **inputs)
    concepts, losses, curves, samples = output.result
    assert concepts.handles == ("<asset0>", "<asset1>")
    assert len(losses["loss"]) == SHORT.steps
    assert curves.shape[0] == 1
    assert samples.shape == (4, 64, 64, 3)
    assert not torch.equal(samples[0], samples[2])
    assert LossGraphNode.PREPARE_CLASS_CLONE(None).execute(losses, "loss").ui is not None
    payload = json.loads(json.dumps(output.ui["scenescope_training"][0]))
    assert (payload["status"], payload["step"], payload["phase"]) == ("finished", 6, 2)
    assert len(payload["curves"]["steps"]) == 6
    for image in payload["images"]:
        assert Path(folder_paths.get_output_directory(), image["subfolder"], image["filename"]).is_file()
    assert len(payload["images"]) == 4


def test_the_next_graph_runs_as_if_nothing_had_been(demo):
    """Oracle: the stock sampler's latent before the run."""
    model, clip, _ = demo

    def picture() -> torch.Tensor:
        words = [host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a photo of a red star", "")]
        return sample(model, *words, Run(size=(8, 8), steps=2))

    before = picture()
    train_concepts(demo, small_scene(), replace(SHORT, text_encoder=True), QUICK, None)
    assert torch.equal(picture(), before)


def test_class_pictures_are_made_once(demo, monkeypatch):
    """Oracle: their file; a second run leaves it untouched, a cancelled making goes on, a spoilt one is made again."""
    settings = full_settings(phase1_steps=1, phase2_steps=1)
    plan = replace(QUICK, class_count=13, sample_steps=2)  # four batches of two steps

    def once_a_batch_is_kept() -> None:
        comfy.model_management.interrupt_current_processing(bool(list(run_folder("class_pictures").iterdir())))
        HOSTS_QUESTION()

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", once_a_batch_is_kept)
    with pytest.raises(Interrupted):
        train_concepts(demo, small_scene(), settings, plan, None)
    monkeypatch.undo()
    (path,) = run_folder("class_pictures").iterdir()
    before = path.stat().st_size
    done = train_concepts(demo, small_scene(), settings, plan, None)
    assert path.stat().st_size > before
    changed = path.stat().st_mtime_ns
    train_concepts(demo, small_scene(), settings, replace(plan, run_name="other"), None)
    assert path.stat().st_mtime_ns == changed
    with pytest.raises(InputError, match="the set of class pictures is"):
        train_concepts(demo, small_scene(), settings, replace(plan, class_prompt="a photo at night"), None)
    assert done.payload["curves"]["prior"][-1] > 0
    kept = read_container(path, {}, "this test")
    made = kept.tensors["latents"]
    save_file({"latents": torch.full_like(made, torch.nan)}, path, dict(kept.metadata))
    train_concepts(demo, small_scene(), settings, replace(plan, run_name="third"), None)
    assert torch.equal(read_container(path, {}, "this test").tensors["latents"], made)


def test_out_of_memory_says_what_to_change(demo, monkeypatch):
    """Oracle: the message for a large run by hand; the error itself through the node leaves nothing."""
    scene, before = small_scene(), bits_of(*demo)
    settings = full_settings(batch=2)
    room = (16 * 2**30, 8 * 2**30)
    text = out_of_memory_text(torch.device("cuda:0"), room, scene, settings)
    parts = ("cuda:0 is used up", "mode lora", "batch from 2 to 1", "precision to auto", "resolution from 64 to 48")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "switch on checkpointing" in text  # the class pictures' pass runs while gradients are kept
    without = full_settings(batch=2, prior="off")  # its peak is gradients and moments, which checkpointing leaves
    assert "checkpointing" not in out_of_memory_text(torch.device("cuda:0"), room, scene, without)
    assert "checkpointing" in out_of_memory_text(torch.device("cuda:0"), room, scene, SHORT)
    assert "checkpointing" not in out_of_memory_text(torch.device("cuda:0"), room, scene, SHORT, checkpointing=True)
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert is_out_of_memory(torch.OutOfMemoryError("Allocation on device"))
    drivers = torch.AcceleratorError("the driver's own word")
    drivers.error_code = 2  # cudaErrorMemoryAllocation
    assert is_out_of_memory(drivers)
    assert not is_out_of_memory(ValueError("out of paper"))

    def fail(module: Any, inputs: Any) -> None:
        raise MemoryError

    handle = torch.nn.modules.module.register_module_forward_pre_hook(fail)
    try:
        with pytest.raises(HostError, match="memory of cpu is used up"):
            train_concepts(demo, scene, SHORT, QUICK, None)
    finally:
        handle.remove()
    assert bits_of(*demo) == before
    assert not comfy.model_management.in_training


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_settings_node_gives_the_preset_where_nothing_is_changed(preset):
    """Oracle: the preset itself, through the widgets' defaults."""
    widgets = {item.id: item.default for item in setting_inputs(PRESETS[preset])}
    assert TrainSettings.execute({"preset": preset, **widgets}).result[0] == PRESETS[preset]
    changed = settings_of(
        {"preset": preset, **widgets, "single": 0.5, "norm_guard": 0.0, "templates": "a {}\n\nthe {}"}
    )
    assert (changed.single, changed.norm_guard, changed.templates) == (0.5, None, ("a {}", "the {}"))


@pytest.mark.parametrize("name", ["../out", "a//b", "/abs", "c:d"])
def test_a_run_stays_in_its_folder(name, folders):
    """Oracle: names that lead out; nothing is made."""
    with pytest.raises(InputError, match="run_name"):
        run_folder(name)
    assert not folders.exists()


@pytest.mark.parametrize("name", ["class_pictures", "Class_Pictures", "class_pictures/mine"])
def test_the_folder_of_the_class_pictures_is_no_name_of_a_run(name):
    """Oracle: the sentence."""
    with pytest.raises(InputError, match="because all runs keep their class pictures in that folder"):
        refuse_own_folder(name)
    refuse_own_folder("my class_pictures")
