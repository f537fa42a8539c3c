"""The host's five wrappers around a sampling run, shared by everything that observes it or acts in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..scenescope.dims import Grid

Items = Sequence[Sequence[dict[str, Any]] | None]
"""The host's lists of conditionings: positive, negative."""


class WatchedRun(Protocol):
    """One sampling run. It travels in the run's own copy of the options, never on the model."""

    def open(self, guider: Any, sampler: Any, sigmas: torch.Tensor, noise: torch.Tensor, extra: dict[str, Any]) -> None:
        """Begin, before anything is sampled."""

    def step_done(self, step: int) -> None:
        """The sampler reports a step."""

    def evaluation(self, sigma: torch.Tensor) -> AbstractContextManager[None]:
        """The sampler asks the model."""

    def conditioning_pass(self, conditionings: Items, options: dict[str, Any]) -> AbstractContextManager[Items]:
        """A pass over the conditionings; gives those that are computed."""

    def model_call(self, unet: torch.nn.Module, options: dict[str, Any], extent: Grid) -> AbstractContextManager[None]:
        """One call of the U-Net."""

    def done(self, output: torch.Tensor) -> None:
        """The sampler is through."""

    def end(self, status: Literal["done", "stopped"]) -> None:
        """Let go of everything, even if the run was cancelled or failed."""


Begin = Callable[[dict[str, Any]], WatchedRun]
"""Makes a run, from the options that it travels in."""


def watch_runs(clone: ModelPatcher, key: str, begin: Begin) -> None:
    """Put the wrappers on a clone of MODEL, unless it has those of this key.

    Args:
        clone: changed.
        key: names the wrappers, and the run in its options; several keys watch one model beside each other.
        begin: makes what watches one run.
    """
    if key in clone.wrappers.get(WrappersMP.OUTER_SAMPLE, {}):
        return
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, _outer_sample(key, begin)),
        (WrappersMP.SAMPLER_SAMPLE, _sampler_sample(key)),
        (WrappersMP.PREDICT_NOISE, _predict_noise(key)),
        (WrappersMP.CALC_COND_BATCH, _calc_cond_batch(key)),
        (WrappersMP.APPLY_MODEL, _apply_model(key)),
    ):
        clone.add_wrapper_with_key(kind, key, wrapper)


def _outer_sample(key: str, begin: Begin) -> Callable[..., Any]:
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = executor.class_obj.model_options.setdefault("transformer_options", {})  # the host's copy for this run
        run = options[key] = begin(options)
        status: Literal["done", "stopped"] = "stopped"
        try:
            output = executor(*args, **kwargs)
            run.done(output)
            status = "done"
            return output
        finally:
            options.pop(key, None)
            run.end(status)

    return wrapper


def _sampler_sample(key: str) -> Callable[..., Any]:
    def wrapper(
        executor: Any, guider: Any, sigmas: Any, extra: Any, callback: Any, noise: Any, *rest: Any, **more: Any
    ) -> Any:
        run = _run_in(extra["model_options"], key)
        if run is None:
            return executor(guider, sigmas, extra, callback, noise, *rest, **more)
        run.open(guider, executor.class_obj, sigmas, noise, extra)

        def step_done(step: int, denoised: Any, x: Any, total: int) -> None:
            run.step_done(step)
            if callback is not None:
                callback(step, denoised, x, total)

        return executor(guider, sigmas, extra, step_done, noise, *rest, **more)

    return wrapper


def _predict_noise(key: str) -> Callable[..., Any]:
    def wrapper(executor: Any, x: Any, timestep: torch.Tensor, model_options: Any, *rest: Any, **more: Any) -> Any:
        run = _run_in(model_options, key)
        if run is None:
            return executor(x, timestep, model_options, *rest, **more)
        with run.evaluation(timestep.flatten()[0]):
            return executor(x, timestep, model_options, *rest, **more)

    return wrapper


def _calc_cond_batch(key: str) -> Callable[..., Any]:
    def wrapper(executor: Any, model: Any, conds: Any, x_in: Any, timestep: Any, model_options: dict[str, Any]) -> Any:
        run = _run_in(model_options, key)
        if run is None:
            return executor(model, conds, x_in, timestep, model_options)
        with run.conditioning_pass(conds, model_options) as computed:
            return executor(model, computed, x_in, timestep, model_options)

    return wrapper


def _apply_model(key: str) -> Callable[..., Any]:
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("transformer_options", args[5] if len(args) > 5 else {})
        run: WatchedRun | None = options.get(key)
        if run is None:
            return executor(*args, **kwargs)
        with run.model_call(executor.class_obj.diffusion_model, options, Grid(*args[0].shape[-2:])):
            return executor(*args, **kwargs)

    return wrapper


def _run_in(model_options: dict[str, Any], key: str) -> WatchedRun | None:
    run: WatchedRun | None = model_options.get("transformer_options", {}).get(key)
    return run
