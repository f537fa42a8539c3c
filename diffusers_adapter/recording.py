"""A pipeline's runs, observed: what its U-Net computes is read and counted, but not changed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from ..scenescope.attention.record.block_shapes import ShapeProbe
from ..scenescope.attention.record.budget import RunSpec
from ..scenescope.attention.record.layers import AttentionLayer, LayerModules, find_layers
from ..scenescope.attention.record.observers import Observers
from ..scenescope.attention.record.recorder import Recorder
from ..scenescope.attention.record.recording import Entry, Recording
from ..scenescope.attention.record.selection import NEGATIVE, POSITIVE, Branch, Selection
from ..scenescope.dims import Grid
from ..scenescope.errors import HostError, InputError, RecordingError
from .names import UnetNames
from .words import table_of

_WHO = "Recording"


class Session:
    """While entered, each call of the pipeline leaves a recording; its pictures stay the same, bit for bit.

    Hooks and wrappers are removed on leaving, even after an error. Use one session per pipeline at a time.

    Args:
        pipe: a `StableDiffusionPipeline`.
        selection: what to keep of each run.

    Raises:
        HostError: the U-Net is compiled.
    """

    def __init__(self, pipe: Any, selection: Selection) -> None:
        self._pipe, self._selection = pipe, selection
        refuse_compiled(pipe.unet)
        self._found = find_layers(UnetNames(pipe.unet))
        self._run: _Run | None = None
        self._undo = ExitStack()
        self.recordings: list[Recording] = []

    @property
    def recording(self) -> Recording:
        """What the last finished run recorded; a run is finished when the next one begins or the session ends.

        Raises:
            RecordingError: there is none.
        """
        if not self.recordings:
            raise RecordingError(
                f"{_WHO}: no run was recorded. Call the pipeline inside the `with` block, and read the recording after "
                "it."
            )
        return self.recordings[-1]

    def __enter__(self) -> Session:
        with ExitStack() as stack:
            pipe = self._pipe
            _wrap(stack, pipe, "encode_prompt", self._encoding)
            _wrap(stack, pipe.scheduler, "step", self._stepping)
            stack.enter_context(Observers(self._found, self._see))
            stack.callback(pipe.unet.register_forward_pre_hook(self._before, with_kwargs=True).remove)
            stack.callback(pipe.unet.register_forward_hook(self._after, always_call=True).remove)
            self._undo = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._undo.close()
        if kind is None:
            self._finish()
        self._run = None

    def _encoding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            self._finish()
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            encoded = original(*args, **kwargs)
            self._run = _Run(self._pipe, self._selection, self._found, given.arguments, encoded[0])
            return encoded

        return encode_prompt

    def _stepping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            answer = original(*args, **kwargs)
            if self._run is not None:
                self._run.step_done()
            return answer

        return step

    def _before(self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._run is not None:
            sample, timestep = (*args, *(kwargs[name] for name in ("sample", "timestep")[len(args) :]))[:2]
            self._run.evaluate(sample, timestep)

    def _after(self, unet: nn.Module, args: Any, output: Any) -> None:
        if self._run is not None:
            self._run.evaluated()

    def _see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid) -> None:
        if self._run is not None:
            self._run.see(layer, query, key, grid)

    def _finish(self) -> None:
        run, self._run = self._run, None
        if run is not None and run.recorder is not None:
            self.recordings.append(run.recorder.finish(run.about()))


class _Run:
    """One call of the pipeline."""

    def __init__(
        self, pipe: Any, selection: Selection, found: tuple[LayerModules, ...], given: dict[str, Any], context: Tensor
    ) -> None:
        self.recorder: Recorder | None = None
        self._pipe, self._selection, self._found = pipe, selection, found
        guided = bool(given["do_classifier_free_guidance"])
        prompts = [(NEGATIVE, given.get("negative_prompt") or "")] if guided else []
        self._entries = tuple(
            self._entry(branch, text, context) for branch, text in (*prompts, (POSITIVE, given.get("prompt")))
        )
        self._images, self._step = len(context), 0
        self._sigmas: tuple[float, ...] = ()
        self._probe: ShapeProbe | None = None

    def about(self) -> dict[str, str | int | float]:
        """What else is known about the run."""
        pipe = self._pipe
        about: dict[str, str | int | float] = {"sampler": type(pipe.scheduler).__name__, "model": type(pipe).__name__}
        return about | {"cfg": float(pipe.guidance_scale)}

    def evaluate(self, sample: Tensor, timestep: Tensor | float) -> None:
        """The pipeline asks the U-Net."""
        if self.recorder is None:
            self._sigmas = _sigmas(self._pipe.scheduler, float(timestep))
            layers = tuple(item.layer for item in self._found)
            shape = RunSpec(layers, Grid(*sample.shape[-2:]), self._images, self._sigmas, self._entries)
            self.recorder = Recorder(shape, self._selection)
        self.recorder.evaluate(self._sigmas[min(self._step, len(self._sigmas) - 1)])
        if not self.recorder.has_shapes:
            self._probe = ShapeProbe(self._found).__enter__()

    def evaluated(self) -> None:
        """The U-Net has answered, or failed."""
        if self._probe is not None and self.recorder is not None:
            self._probe.__exit__()
            self.recorder.note_shapes(self._probe.rows())
        self._probe = None

    def see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid) -> None:
        """A layer shows its queries and keys."""
        recorder = self.recorder
        if recorder is not None and recorder.wants() and recorder.wants_layer(layer):
            recorder.observe(layer, query, key, grid, self._entries)

    def step_done(self) -> None:
        """The scheduler has taken a step."""
        if self.recorder is not None:
            self.recorder.step_done(self._step)
        self._step += 1

    def _entry(self, branch: Branch, prompt: Any, context: Tensor) -> Entry:
        texts = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if len(set(texts)) > 1:
            raise InputError(
                f"{_WHO}: the pipeline is called with {len(set(texts))} different prompts at once, but a recording has "
                "the words of only one. Call it once for each, in the same `with` block."
            )
        table = table_of(self._pipe.tokenizer, texts[0]) if texts else None
        fits = table is not None and len(table.tokens) == context.shape[1]
        return Entry(branch, 0, context.shape[1], table=table if fits else None)


def refuse_compiled(unet: nn.Module) -> None:
    """Refuse a U-Net that is compiled or fused: it does not run the hooks that see queries and keys.

    Raises:
        HostError: it is.
    """
    if any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in unet.modules()):
        raise HostError(
            f"{_WHO}: the U-Net is compiled with torch.compile, and compiled code does not run the hooks that see "
            "queries and keys. Record before you compile."
        )
    # diffusers leaves `fused_projections` set after unfusing, and only the processors tell.
    if any(type(getattr(part, "processor", None)).__name__.startswith("Fused") for part in unet.modules()):
        raise HostError(
            f"{_WHO}: the U-Net's projections are fused, so its layers for queries and keys are never called. Call "
            "pipe.unfuse_qkv_projections() before you record."
        )


def _wrap(stack: ExitStack, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a wrapper in front of a method of one object, until the stack is closed."""
    setattr(owner, name, wrap(getattr(owner, name)))
    stack.callback(delattr, owner, name)


def _sigmas(scheduler: Any, first: float) -> tuple[float, ...]:
    """Noise over signal at each call of the U-Net from the timestep `first` on, and 0 at the end.

    A pipeline that changes a given picture begins in the middle of its scheduler's timesteps, and most schedulers know
    where: Heun's has each timestep twice.
    """
    steps: Sequence[float] = scheduler.timesteps.tolist()
    begin = getattr(scheduler, "begin_index", None)
    if begin is None:
        begin = steps.index(first) if first in steps else 0
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == len(steps) + 1:
        return tuple(float(sigma) for sigma in sigmas[begin:])
    kept = [float(scheduler.alphas_cumprod[int(step)]) for step in steps[begin:]]
    return (*(((1 - part) / part) ** 0.5 for part in kept), 0.0)
