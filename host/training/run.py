"""A run of Train Concepts: where it is kept, what it shows, and how its end is reported."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
from torch import Tensor

from ...scenescope.dims import bytes_text
from ...scenescope.drawing.pixels import to_tensor
from ...scenescope.errors import FileError, InputError
from ...scenescope.files.atomic import sweep
from ...scenescope.training.learned.concepts import Concepts
from ...scenescope.training.ports import ClassPictures, Ports
from ...scenescope.training.run.lease import Lease
from ...scenescope.training.run.state import StateStore
from ...scenescope.training.run.trainer import StepReport, train
from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from ..paths import Widget, check_name, refuse_outside
from .class_pictures import ClassWish, made_class_pictures
from .copies import base_name, release
from .memory import memory_errors, with_precision
from .models import check_trainable, training_ports
from .monitor import Monitor
from .origin import learned_from, left_out, vectors_name
from .plan import Plan
from .progress import NodeProgress
from .text_encoder import encoder_of

FOLDER, STATE = "training", "state.safetensors"
CLASS_PICTURES = "class_pictures"


@dataclass(frozen=True)
class TrainingResult:
    """What the node gives out.

    Args:
        concepts: what was learned.
        losses: the weighted loss of each step, as the stock plot can take them.
        curves: (1 height width 3) float32 0..1.
        samples: (image height width 3) float32 0..1; the curves where none were made.
        payload: the summary for the front end.
    """

    concepts: Concepts
    losses: list[float]
    curves: Tensor
    samples: Tensor
    payload: dict[str, Any]


def train_concepts(
    parts: tuple[Any, Any, Any], scene: Scene, settings: Settings, plan: Plan, node: str | None
) -> TrainingResult:
    """Learn a scene's concepts in the host, resuming an interrupted run, and show it while it runs.

    Args:
        parts: MODEL, CLIP and VAE; they stay as they are.
        scene: what is learned from.
        settings: the method's.
        plan: the rest.
        node: id of the node that shows the run.

    Raises:
        HostError: the model cannot be trained, or the memory is used up.
        InputError: scene and settings do not fit, this name's run began with other settings or is being trained by
            another worker, the loss is not finite.
        FileError: state, curves or samples cannot be read or written.
    """
    model, clip, _ = parts
    settings = with_precision(settings, model.load_device)
    progress = NodeProgress(node, settings, left_out(model))
    check_trainable(model, clip)
    refuse_own_folder(plan.run_name)
    folder = run_folder(plan.run_name or automatic_name(parts, scene, settings, plan))
    stop = comfy.model_management.throw_exception_if_processing_interrupted
    try:
        with (
            Lease(folder, "Train Concepts", on_wait=stop) as lease,
            memory_errors(model, clip, scene, settings, checkpointing=plan.checkpointing),
        ):
            sweep(folder)  # a killed run of `full` leaves gigabytes behind
            _room_for_state(model, clip, settings, folder)
            concepts, monitor = _learned(parts, scene, settings, plan, (folder, lease), progress)
    finally:
        release()  # once more: now nobody holds the ports
    samples, payload = monitor.outcome()
    picture = to_tensor(monitor.picture())
    return TrainingResult(
        concepts, plottable(monitor.losses()), picture, picture if samples is None else samples, payload
    )


def plottable(losses: list[float]) -> list[float]:
    """Losses that differ, if need be by the smallest possible amount.

    Source: host contract, ComfyUI 0.33 `comfy_extras/nodes_train.LossGraphNode` divides by greatest minus least, and
    needs one at least.

    >>> plottable([2.0, 1.0]), plottable([0.5])
    ([2.0, 1.0], [0.5, 0.5000000000000001])
    """
    if len(set(losses)) > 1:
        return losses
    last = losses[-1] if losses else 0.0
    return [*(losses or [last]), math.nextafter(last, math.inf)][-max(2, len(losses)) :]


def _learned(
    parts: tuple[Any, Any, Any],
    scene: Scene,
    settings: Settings,
    plan: Plan,
    kept: tuple[Path, Lease],
    progress: NodeProgress,
) -> tuple[Concepts, Monitor]:
    (model, _, vae), (folder, lease) = parts, kept
    with (
        _ports(parts, scene, settings, plan, progress) as ports,
        Monitor(ports, (model, vae), scene, settings, plan, folder, progress) as monitor,
    ):
        keeping = StateStore(folder / STATE, plan.save_every, lease.check)

        def on_step(report: StepReport) -> None:
            lease.check()
            monitor(report)

        return train(scene, ports, settings, on_begin=monitor.begin, on_step=on_step, keeping=keeping), monitor


@contextmanager
def _ports(
    parts: tuple[Any, Any, Any], scene: Scene, settings: Settings, plan: Plan, progress: NodeProgress
) -> Iterator[Ports]:
    def pictures(ports: Ports) -> ClassPictures:
        sampling = plan.sampling(scene, settings, plan.class_prompt)
        folder = run_folder(CLASS_PICTURES)
        vectors = vectors_name(parts[1], [plan.class_prompt])
        wish = ClassWish(sampling, plan.class_count, settings.seed, folder, vectors)
        return made_class_pictures(
            ports,
            wish,
            lambda made, count: progress.say(f"Class pictures: {made} of {count}"),
            comfy.model_management.throw_exception_if_processing_interrupted,
        )

    with training_ports(
        *parts, scene, settings, checkpointing=plan.checkpointing, class_pictures=pictures, on_progress=progress.say
    ) as ports:
        yield ports


def refuse_own_folder(name: str) -> None:
    """Refuse a run's name that is the folder of the class pictures, which all runs share, or lies in it.

    Raises:
        InputError: it is.
    """
    if name.partition("/")[0].casefold() == CLASS_PICTURES:
        raise InputError(
            f"Train Concepts: run_name can't be {name[:80]!r}, because all runs keep their class pictures in that "
            "folder. Choose another name."
        )


def run_folder(name: str) -> Path:
    """The folder of a run below output/training, made if it is not there.

    Raises:
        InputError: the name is not plain, or leads out of the folder.
        FileError: it cannot be made.
    """
    widget = Widget("Train Concepts: run_name", "toys")
    check_name(name, widget)
    root = Path(folder_paths.get_output_directory())
    folder = root.joinpath(FOLDER, *name.split("/"))
    refuse_outside(root, folder, name, widget)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"Train Concepts: the folder {name!r} can't be created ({error.strerror}). Choose another name."
        ) from error
    return folder


def automatic_name(parts: tuple[Any, Any, Any], scene: Scene, settings: Settings, plan: Plan) -> str:
    """A name that is the same for the same run, and another where anything that it learns from differs."""
    model, clip, vae = parts
    others = sorted(learned_from(model, clip, vae, scene, settings).items())
    payload: tuple[Any, ...] = (scene.digest, settings, base_name(model, clip), others)
    if settings.prior == "class":
        vectors = vectors_name(clip, [plan.class_prompt])
        payload = (*payload, plan.sampling(scene, settings, plan.class_prompt), plan.class_count, vectors)
    return f"run-{hashlib.blake2b(repr(payload).encode(), digest_size=5).hexdigest()}"


def _room_for_state(model: Any, clip: Any, settings: Settings, folder: Path) -> None:
    """Refuse at once what would fail at the first save: the state of `full` is eight or twelve bytes a weight."""
    if settings.mode != "full" or not settings.phase2_steps:
        return
    trained = [model.model.diffusion_model]
    if settings.text_encoder:
        trained.append(encoder_of(clip.cond_stage_model).transformer.text_model.encoder)
    bytes_each = 12 if settings.precision == "float32" else 8
    wanted = bytes_each * sum(weight.numel() for module in trained for weight in module.parameters())
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise FileError(
            f"Train Concepts: the run's folder has {bytes_text(free)} of free space, but the state of mode full needs "
            f"{bytes_text(wanted)}. Free some space, or choose lora, whose state is small."
        )
