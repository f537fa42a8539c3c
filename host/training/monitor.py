"""Watching a run: after each step its numbers are kept, shown and sent, and samples are made."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import comfy.model_management
import folder_paths
from PIL import Image
from torch import Tensor

from ...scenescope.errors import FileError, SceneScopeError
from ...scenescope.files.atomic import write_whole
from ...scenescope.training.ports import Ports
from ...scenescope.training.run.history import (
    History,
    followed,
    load_history,
    no_history,
    recent_ious,
    save_history,
    summary,
    totals,
    upto,
)
from ...scenescope.training.run.history_picture import draw_curves
from ...scenescope.training.run.trainer import StepReport
from ...scenescope.training.scene.scene import Scene
from ...scenescope.training.settings import Settings
from ..editor.messages import map_text
from .plan import Plan
from .progress import NodeProgress, time_text
from .samples import decoded, first_noise, has_samples, load_samples, sample_names, sampled, save_samples

CURVES = "curves.safetensors"
SHOWN = "dashboard.json"
"""What the dashboard shows. The host's history has nothing about an interrupted run, so a reload finds it here."""


class Monitor:
    """Called after each step of a run; a context manager, so that every end of the run is reported.

    Args:
        ports: of the run.
        parts: MODEL and VAE, to decode samples.
        scene: what is learned from.
        settings: the method's.
        plan: when and what to sample.
        folder: of the run.
        progress: of the node.
    """

    def __init__(
        self,
        ports: Ports,
        parts: tuple[Any, Any],
        scene: Scene,
        settings: Settings,
        plan: Plan,
        folder: Path,
        progress: NodeProgress,
    ) -> None:
        self._ports, self._parts, self._scene, self._settings = ports, parts, scene, settings
        self._plan, self._folder, self._progress = plan, folder, progress
        self._history = _earlier(folder / CURVES, scene)
        self._left: float | None = None
        self._taken = 0
        shown = scene.masks.flatten(2).amax(dim=-1)  # (image concept)
        first = (shown > 0).float().argmax(dim=0)
        on_grid = scene.masks_on(scene.loss_grid)
        self._masks = on_grid[first, range(len(scene.concepts))]  # (concept height width)

    def __enter__(self) -> Monitor:
        self._progress.tell(self._told("preparing", "Preparing"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            message = f"Learned {', '.join(self._scene.handles)} in {self._settings.steps} steps. {self._iou_text()}"
            status = "finished"
        else:
            status, message = "stopped", _stopped(error, self._taken, self._settings.steps, self._folder)
        if self._taken:
            try:
                save_history(self._history, self._folder / CURVES)
            except FileError:
                if error is None:
                    raise
                logging.exception("SceneScope: the curves could not be kept")  # the run's own error is the news
        self._ports = None  # type: ignore[assignment]
        payload = self._told(status, message)
        write_shown(payload, self._folder / SHOWN)
        self._progress.tell(payload)
        self._progress.say(message)

    def begin(self, step: int, embeddings: Mapping[str, Tensor]) -> None:
        """Note where the run resumes; make its last step's samples if they are missing or made with other settings."""
        self._history, self._taken = upto(self._history, step), step
        if step:
            self._progress.say(f"Resuming after step {step} of {self._settings.steps}")
        plan = self._plan
        wanted = step and self._wants_samples(step)
        if wanted and not has_samples(self._folder, step, plan.sample_count, self._wish()):
            self._sample(step, embeddings)

    def __call__(self, report: StepReport) -> None:
        """Take note of a step, and stop where the host wants it."""
        self._history, self._taken = followed(self._history, report), report.step
        if self._wants_samples(report.step):
            self._sample(report.step, report.embeddings)
        last = report.step == self._settings.steps
        picture = self.picture() if last or self._progress.wants_picture() else None
        self._left = self._progress.step(report.step, picture)
        if last or self._progress.wants_event():
            message = f"Step {report.step} of {report.steps}, phase {report.phase}{time_text(self._left)}"
            self._progress.tell(self._told("training", message))  # first: the dashboard drops the line that repeats it
            self._progress.say(f"{message}\n{self._iou_text()}")
        if report.step % self._plan.save_every == 0 and not last:
            save_history(self._history, self._folder / CURVES)
            write_shown(self._told("training", f"Step {report.step} of {report.steps}"), self._folder / SHOWN)
        comfy.model_management.throw_exception_if_processing_interrupted()

    def picture(self) -> Image.Image:
        """The curves so far."""
        phase1, steps = self._settings.phase1_steps, self._settings.steps
        return draw_curves(self._history, self._masks, steps=steps, phase1_steps=phase1)

    def losses(self) -> list[float]:
        """The weighted loss of each step."""
        return totals(self._history, self._settings)

    def outcome(self) -> tuple[Tensor | None, dict[str, Any]]:
        """The samples of a finished run, and its summary."""
        return load_samples(self._folder, self._settings.steps), self._told("finished", self._iou_text())

    def _wants_samples(self, step: int) -> bool:
        plan = self._plan
        due = step == self._settings.steps or (plan.sample_every and step % plan.sample_every == 0)
        return bool(plan.sample_count and due)

    def _wish(self) -> str:
        plan = self._plan
        return repr((plan.sampling(self._scene, self._settings, plan.sample_prompt), plan.sample_seed))

    def _sample(self, step: int, embeddings: Mapping[str, Tensor]) -> None:
        plan, interrupted = self._plan, comfy.model_management.throw_exception_if_processing_interrupted
        self._progress.say(f"Step {step} of {self._settings.steps}: sample pictures")
        how = plan.sampling(self._scene, self._settings, plan.sample_prompt)
        noise = first_noise(plan.sample_seed, [f"sample {index}" for index in range(plan.sample_count)], how.size)
        latents = sampled(self._ports, embeddings, how, noise, interrupted)
        save_samples(decoded(*self._parts, latents), self._folder, step, self._wish())

    def _told(self, status: str, message: str) -> dict[str, Any]:
        root = Path(folder_paths.get_output_directory())
        step = int(self._history.steps[-1]) if len(self._history) else 0
        names = sample_names(self._folder, step)
        where = self._folder.relative_to(root).as_posix()
        return {
            "run": self._folder.relative_to(root / "training").as_posix(),
            "status": status,
            "message": message,
            "caution": self._progress.caution,
            "step": step,
            "steps": self._settings.steps,
            "phase": 2 if step > self._settings.phase1_steps else 1,
            "phase1_steps": self._settings.phase1_steps,
            "seconds_left": None if self._left is None else round(self._left, 1),
            "curves": summary(self._history),
            "concepts": [self._concept(index) for index in range(len(self._scene.concepts))],
            "images": [{"filename": name, "subfolder": where, "type": "output"} for name in names],
        }

    def _concept(self, index: int) -> dict[str, Any]:
        last = self._history.maps[index]
        return {
            "handle": self._scene.handles[index],
            "mask": map_text(self._masks[index], 1.0),
            "map": map_text(last, float(last.max())) if bool(last.isfinite().all()) else None,
        }

    def _iou_text(self) -> str:
        now = recent_ious(self._history).items()
        return "; ".join(f"{handle} IoU {iou:.2f}" for handle, iou in now if iou is not None)


def write_shown(payload: Mapping[str, Any], path: Path) -> None:
    """Write what the dashboard shows; a failure is logged and doesn't stop the run."""
    try:
        write_whole(lambda file: file.write(json.dumps(payload).encode()), path, "Dashboard")
    except FileError as error:
        logging.warning("SceneScope: the dashboard of %s will not be there after a reload: %s", path.parent.name, error)


def _earlier(path: Path, scene: Scene) -> History:
    """The curves of a resumed run; started afresh if they can't be read, since nothing is computed from them."""
    fresh = no_history(scene.handles, (scene.loss_grid.height, scene.loss_grid.width))
    if not path.exists():
        return fresh
    try:
        history = load_history(path)
    except SceneScopeError as error:
        logging.warning("SceneScope: the curves start afresh: %s", error)
        return fresh
    fits = history.handles == fresh.handles and history.maps.shape == fresh.maps.shape
    return history if fits else fresh


def _stopped(error: BaseException, taken: int, steps: int, folder: Path) -> str:
    """How to resume an interrupted run."""
    interrupted = isinstance(error, comfy.model_management.InterruptProcessingException)
    why = "Cancelled" if interrupted else "Stopped by an error"
    if not taken:
        return f"{why} before a step was taken."
    if isinstance(error, FileError):
        return f"{why} after step {taken} of {steps}. Queue again to resume from the last step that could be kept."
    if taken == steps:
        return f"{why} after the last step, which is kept in {folder.name}. Queue again to get the result."
    return f"{why} after step {taken} of {steps}, which is kept in {folder.name}. Queue again to resume from there."
