"""Recording inside the host: wrappers on a clone of MODEL that observe one sampling run at a time."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ...scenescope.attention.record.block_shapes import ShapeProbe
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.attention.record.layers import AttentionLayer, LayerModules, find_layers
from ...scenescope.attention.record.observers import Observers, See
from ...scenescope.attention.record.recorder import Recorder
from ...scenescope.attention.record.recording import Entry, Recording
from ...scenescope.attention.record.scores import CHUNK_BYTES
from ...scenescope.attention.record.selection import Branch, Selection
from ...scenescope.dims import Grid
from ...scenescope.errors import HostError, RecordingError
from ..demo import size_hint
from ..editor.messages import say_on_node
from ..watched_runs import Items, watch_runs
from .calls import RECORDER_KEY, contexts_of, follows_schedule, other_extent
from .entries import Conditionings, entries_of_call, planned_entries
from .live import LiveScreen
from .provenance import about_run
from .runs import RecordedRuns

WRITERS_KEY = "scenescope.writers"
"""Where the options of a model call name the writers at work in it: their biases are part of the attention."""
ACTS_KEY = "scenescope.acts"
"""Where the options of a run name what tells, after it, what acts on attention did in it: items for `about`."""
_COMPILE_KEY = "torch.compile"  # host contract, 0.33 comfy_api/torch_helpers/torch_compile.py: COMPILE_KEY


def record_attention(
    model: ModelPatcher, selection: Selection, node: str | None = None, live_words: str = ""
) -> tuple[ModelPatcher, RecordedRuns]:
    """Make a clone of the model whose sampling runs are recorded; the given model is not changed.

    Args:
        model: the host's MODEL, with any patches.
        selection: what to keep of each run.
        node: id of the node that shows the plan and, while a run is sampled, maps; None for no node.
        live_words: whose maps; empty for those with the largest shares.

    Returns:
        The clone, and the book that finished runs are entered in.
    """
    clone, book = model.clone(), RecordedRuns(selection, node, live_words)
    key = f"{RECORDER_KEY}{uuid.uuid4().hex}"  # one per recorder: several may observe one model
    watch_runs(clone, key, partial(_Run, book))
    return clone, book


REUSED = "a cached result instead of a model call (EasyCache or similar)"


class _Run:
    """One sampling run under observation."""

    def __init__(self, book: RecordedRuns, options: dict[str, Any]) -> None:
        self.book, self._options = book, options
        self.recorder: Recorder | None = None
        self.live: LiveScreen | None = None
        self.about: dict[str, str | int | float] = {}
        self.conditionings = Conditionings({}, Grid(1, 1))
        self._entries: dict[tuple[int, Any], Entry] = {}
        self._found: dict[int, tuple[LayerModules, ...]] = {}
        self._fresh = False
        self._recording = False
        self._called = False
        self.contexts: dict[tuple[Branch, int], torch.Tensor] = {}
        self.failure: RecordingError | None = None

    def _failed(self, error: Exception) -> RecordingError:
        self.recorder = self.live = None
        self.failure = RecordingError(
            f"Record Attention: recording stopped with {type(error).__name__}: {error}. The picture is not affected; "
            f"the log says more. Record fewer steps, blocks or heads."
        )
        return self.failure

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """An error while recording ends the recording, never the run: the picture stays the same."""
        try:
            yield
        except Exception as error:
            logging.exception("SceneScope: the recording ended before the run")
            self._failed(error)

    def open(self, guider: Any, sampler: Any, sigmas: torch.Tensor, noise: torch.Tensor, extra: dict[str, Any]) -> None:
        """Plan the run and show the plan, before anything is sampled."""
        unet = guider.inner_model.diffusion_model
        refuse_compiled(unet, guider.model_options)
        layers = tuple(item.layer for item in self.layers_of(unet))
        latent = Grid(*noise.shape[-2:])
        self.conditionings = Conditionings(guider.conds, latent)
        self.contexts = contexts_of(guider) if self.book.selection.keep_queries else {}
        entries, own_steps = planned_entries(guider, self.conditionings), not follows_schedule(sampler)
        shape = RunSpec(layers, latent, len(noise), tuple(sigmas.tolist()), entries, own_steps=own_steps)
        self.recorder = Recorder(shape, self.book.selection, chunk_bytes(noise.device))
        if self.book.node is not None:
            self.live = LiveScreen(self.book.node, shape, self.book.selection, self.book.live_words)
        plan = f"Recording {self.recorder.plan}"
        logging.info("SceneScope: %s", plan)
        hint = size_hint(guider.inner_model, *noise.shape[-2:])
        say_on_node(self.book.node, f"{hint}\n{plan}" if hint else plan)
        self.about = about_run(sampler, guider, extra)

    def done(self, output: torch.Tensor) -> None:
        """Enter the run in the book."""
        if told := self._options.get(ACTS_KEY):
            self.about |= told()
        self.book.add(self._left(), output)

    def _left(self) -> Recording | RecordingError:
        """What the run left; an empty record is the error that Attention Maps raises, so the picture is not lost."""
        if self.recorder is None:
            ran_none = "Record Attention: the sampler ran no steps. Raise steps or denoise."
            return self.failure or RecordingError(ran_none)
        try:
            return self.recorder.finish(self.about, self.contexts)
        except RecordingError as error:
            logging.warning("SceneScope: %s", error)
            return error
        except Exception as error:
            logging.exception("SceneScope: the recording could not be finished")
            return self._failed(error)

    def step_done(self, step: int) -> None:
        """The sampler reports a step."""
        if self.recorder is not None:
            with self._looking():
                arrived = self.recorder.step_done(step)
                if self.live is not None:
                    self.live.step(step, arrived)

    def end(self, status: Literal["done", "stopped"]) -> None:
        """Show what has arrived, and let go of the rest."""
        if self.live is not None:
            self.live.end(status, tuple if self.recorder is None else self.recorder.arrived)
        self.recorder = self.live = None

    def layers_of(self, unet: torch.nn.Module) -> tuple[LayerModules, ...]:
        """The layers of this run's U-Net, or of its copy on another GPU."""
        if id(unet) not in self._found:
            self._found[id(unet)] = find_layers(unet)
        return self._found[id(unet)]

    @contextmanager
    def evaluation(self, sigma: torch.Tensor) -> Iterator[None]:
        """The sampler asks the model."""
        self._fresh, self._called = True, False
        if self.recorder is not None:
            with self._looking():
                self.recorder.evaluate(sigma.clone())
        yield
        if self.recorder is not None and not self._called:
            self.recorder.skip(REUSED)

    @contextmanager
    def conditioning_pass(self, conditionings: Items, options: dict[str, Any]) -> Iterator[Items]:
        """A pass over the conditionings; only the first of an evaluation is the sampler's own."""
        windowed = options.get("transformer_options", {}).get("context_window") is not None
        first, self._fresh, outer = self._fresh and not windowed, False, self._recording
        self._recording = first and self.recorder is not None and self.recorder.wants()
        if self._recording:
            with self._looking():
                self._entries = self.conditionings.entries_of(conditionings)
        elif windowed and self.recorder is not None:
            self.recorder.skip("a context window, which sees a part of the batch or picture (Context Windows)")
        elif not first and self.recorder is not None:
            self.recorder.skip("a further pass of the same evaluation (SAG, PAG or similar)")
        try:
            yield conditionings
        finally:
            self._recording = outer

    @contextmanager
    def model_call(self, unet: torch.nn.Module, options: dict[str, Any], extent: Grid) -> Iterator[None]:
        """One call of the U-Net."""
        self._called = True
        with ExitStack() as hooks:
            told: Callable[[], None] = lambda: None  # noqa: E731
            with self._looking():
                told = self._look(unet, options, extent, hooks)
            yield
        with self._looking():
            told()

    def _look(
        self, unet: torch.nn.Module, options: dict[str, Any], extent: Grid, hooks: ExitStack
    ) -> Callable[[], None]:
        """Set the hooks of one call if it is to be recorded; returns what to do after it."""
        recorder, entries, latent = self.recorder, entries_of_call(self._entries, options), self.conditionings.latent
        if recorder is None or not self._recording:
            return lambda: None
        if entries is None:
            recorder.skip("a call without ComfyUI's list of conditionings")
            return lambda: None
        if any(extent != entry.extent(latent) for entry in entries):
            recorder.skip(other_extent(extent, latent))
            return lambda: None
        found = self.layers_of(unet)
        probe = None if recorder.has_shapes else hooks.enter_context(ShapeProbe(found))
        watched = tuple(item for item in found if recorder.wants_layer(item.layer))
        observers = hooks.enter_context(Observers(watched, self._seer(recorder, entries, options)))

        def after() -> None:
            if probe is not None:
                recorder.note_shapes(probe.rows())
            unseen = observers.unseen()
            if len(unseen) == len(watched) > 1:
                recorder.skip(REUSED)
                return
            for layer in unseen:
                recorder.skip(f"{layer.name}: the layer was not called")

        return after

    def _seer(self, recorder: Recorder, entries: list[Entry], options: dict[str, Any]) -> See:
        def see(layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, grid: Grid) -> None:
            writers = options.get(WRITERS_KEY)
            bias = None if writers is None else partial(writers.bias_at, layer, grid, like=query)
            recorder.observe(layer, query, key, grid, entries, bias)

        return see


def refuse_compiled(unet: torch.nn.Module, model_options: dict[str, Any], who: str = "Record Attention") -> None:
    """Refuse a compiled model: hooks set after the first compiled call are silently ignored.

    Args:
        unet: of the run.
        model_options: of the run.
        who: the node that sets hooks.

    Raises:
        HostError: the model is compiled.
    """
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    compiled = any("_orig_mod" in part._modules or part._compiled_call_impl is not None for part in unet.modules())
    if compiled or wrappers.get(_COMPILE_KEY):
        raise HostError(
            f"{who}: this model is compiled with torch.compile, and compiled code skips the hooks that see queries and "
            "keys. Bypass the compile node."
        )


def chunk_bytes(device: torch.device) -> int:
    """How large a piece of an attention map may be while it is computed: an eighth of the free memory of a GPU.

    Source: half a GiB holds a whole map of 64x64 cells and 8 heads; its logits take as much again meanwhile.
    """
    if comfy.model_management.is_device_cpu(device):
        return CHUNK_BYTES
    return max(CHUNK_BYTES, min(CHUNK_BYTES * 32, comfy.model_management.get_free_memory(device) // 8))
