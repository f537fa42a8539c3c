"""Every node of the pack under `--gpu-only`, with models that are loaded whole and with the host's dynamic memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import io
from pack.host.demo import load_demo_model
from pack.nodes import NODES
from pack.nodes.concepts import SaveConcepts
from pack.nodes.files import SaveMaps
from pack.scenescope.errors import SceneScopeError
from pack.tests.rehearsal.recorded import encode, sampled
from pack.tests.rehearsal.simulated.device import DEVICE
from pack.tests.rehearsal.simulated.dynamic import load_dynamically
from pack.tests.rehearsal.simulated.host import keep_all_on_device
from pack.tests.rehearsal.supply import PROMPT, Supply, choices, result_of
from torch import Tensor

MODELS = {"MODEL", "CLIP", "VAE"}
WITH_MODELS = [
    node
    for node in NODES
    if MODELS & {one.io_type for one in (*node.define_schema().inputs, *node.define_schema().outputs)}
]


@pytest.fixture(scope="module")
def gpu_only() -> Iterator[pytest.MonkeyPatch]:
    """The host as after `--gpu-only`."""
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        keep_all_on_device(patch)
        yield patch


Folders = Callable[[], None]


@pytest.fixture(scope="module")
def new_folders(gpu_only: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folders]:
    """Gives the host folders of its own for what is saved, exported and shown."""
    before = folder_paths.get_output_directory(), folder_paths.get_temp_directory()

    def give() -> None:
        place = tmp_path_factory.mktemp("host")
        folder_paths.set_output_directory(str(place / "output"))
        folder_paths.set_temp_directory(str(place / "temp"))
        for kind in ("embeddings", "loras"):
            (place / kind).mkdir()
            gpu_only.setitem(folder_paths.folder_names_and_paths, kind, ([str(place / kind)], {".safetensors"}))

    yield give
    folder_paths.set_output_directory(before[0])
    folder_paths.set_temp_directory(before[1])


@pytest.fixture(scope="module")
def whole(new_folders: Folders) -> Supply:
    """What nodes are handed, with models that are loaded whole; there are files to be loaded."""
    new_folders()
    supply = Supply(load_demo_model())
    for saver in (SaveMaps, SaveConcepts):
        result_of(saver, **supply.least(saver))
    return supply


@pytest.fixture(scope="module")
def dynamic(gpu_only: pytest.MonkeyPatch, new_folders: Folders) -> Supply:
    """The same, with the host's dynamic memory."""
    new_folders()
    load_dynamically(gpu_only)
    supply = Supply(load_demo_model())
    assert all(patcher.is_dynamic() for patcher in (supply.models[0], supply.models[1].patcher))
    return supply


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_a_node_takes_and_gives_what_is_on_the_device(
    node: type[io.ComfyNode], whole: Supply, caplog: pytest.LogCaptureFixture
):
    """Oracle: nothing raises or is logged as an error; what comes out is finite, and where the host's own would be.

    Inputs are made from the schema, so that a new node is tried without a word here.
    """
    check_node(node, whole, caplog)


@pytest.mark.parametrize("node", WITH_MODELS, ids=lambda node: node.__name__)
def test_a_node_works_with_models_that_are_loaded_dynamically(
    node: type[io.ComfyNode], dynamic: Supply, caplog: pytest.LogCaptureFixture
):
    """Oracle: as above."""
    check_node(node, dynamic, caplog)


def check_node(node: type[io.ComfyNode], supply: Supply, caplog: pytest.LogCaptureFixture) -> None:
    """Run a node with all that its schema says it takes; what does not go together is refused in a sentence of ours."""
    least, optional = supply.least(node), supply.optional(node)
    with caplog.at_level(logging.WARNING):
        tried = [more for more in ([optional, {}] if optional else [{}]) if works(node, least | more, supply)]
        if optional not in tried:
            tried = [{name: value} for name, value in optional.items() if works(node, least | {name: value}, supply)]
        assert {name for more in tried for name in more} == optional.keys(), "a socket was always refused"
        for name, option in choices(node):
            works(node, least | tried[0] | {name: option}, supply)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == []


def works(node: type[io.ComfyNode], inputs: dict[str, Any], supply: Supply) -> bool:
    """Whether a node takes these inputs; what comes out is looked at."""
    try:
        results = result_of(node, **inputs)
    except SceneScopeError:
        return False
    outputs = node.define_schema().outputs
    assert len(results) == len(outputs)
    given = {socket.io_type: value for socket, value in zip(outputs, results, strict=True)}
    for kind, value in given.items():
        check_value(kind, value)
    if MODELS & given.keys():
        check_models(supply, given)
    return True


def check_value(kind: str, value: Any) -> None:
    """Pictures and masks come on the device, as the host's own do; all numbers are finite."""
    tensor = value["samples"] if isinstance(value, dict) and "samples" in value else value
    if kind in ("IMAGE", "MASK", "LATENT"):
        assert tensor.device == DEVICE, kind
    if isinstance(tensor, Tensor):
        assert bool(tensor.isfinite().all()), kind


def check_models(supply: Supply, given: dict[str, Any]) -> None:
    """What a node gives instead of the models that it took samples a latent and a picture."""
    model, clip, vae = (given.get(kind, own) for kind, own in zip(("MODEL", "CLIP", "VAE"), supply.models, strict=True))
    clip = clip if "CLIP" in given else supply.clip
    positive = given.get("CONDITIONING") or encode(clip, PROMPT)
    latents = sampled(model, positive, supply.negative, steps=2).latents
    assert latents.device == DEVICE
    assert bool(latents.isfinite().all())
    if "VAE" in given:
        assert bool(vae.decode(latents).isfinite().all())
    if "SCENESCOPE_RECORDER" in given:
        recording = given["SCENESCOPE_RECORDER"].find(None)[0]
        assert dict(recording.skipped) == {}
