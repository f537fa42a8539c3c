"""Recording inside the host: wrappers on a clone of MODEL that observe one sampling run at a time."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider

from ...scenescope.attention.record.block_shapes import ShapeProbe
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.attention.record.layers import AttentionLayer, LayerModules, find_layers
from ...scenescope.attention.record.observers import Observers
from ...scenescope.attention.record.recorder import Recorder
from ...scenescope.attention.record.recording import Entry, Recording
from ...scenescope.attention.record.scores import CHUNK_BYTES
from ...scenescope.attention.record.selection import NEGATIVE, Branch, Selection, branch_of
from ...scenescope.attention.words.tokens import fit_table
from ...scenescope.dims import Grid
from ...scenescope.errors import HostError, RecordingError
from ..editor.messages import say_on_node
from ..prompts.text import TOKENS_KEY
from .live import LiveScreen
from .provenance import about_run
from .runs import RecordedRuns

_COMPILE_KEY = "torch.compile"  # host contract, 0.33 comfy_api/torch_helpers/torch_compile.py: COMPILE_KEY


def record_attention(
    model: ModelPatcher, selection: Selection, node: str | None = None, live_words: str = ""
) -> tuple[ModelPatcher, RecordedRuns]:
    """Make a clone of the model whose sampling runs are recorded; the model given is not changed.

    Args:
        model: the host's MODEL, with any patches.
        selection: what to keep of each run.
        node: id of the node that shows the plan and, while a run is sampled, maps; None for no node.
        live_words: whose maps; empty for the first few of the prompt.

    Returns:
        The clone, and the book that finished runs are entered in.
    """
    clone, book = model.clone(), RecordedRuns(selection, node, live_words)
    key = f"scenescope.record.{uuid.uuid4().hex}"  # one per recorder: several may observe one model
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, _outer_sample),
        (WrappersMP.SAMPLER_SAMPLE, _sampler_sample),
        (WrappersMP.PREDICT_NOISE, _predict_noise),
        (WrappersMP.CALC_COND_BATCH, _calc_cond_batch),
        (WrappersMP.APPLY_MODEL, _apply_model),
    ):
        clone.add_wrapper_with_key(kind, key, wrapper(key, book))
    return clone, book


class _Run:
    """One sampling run under observation. It travels in the run's own copy of the options, never on the model."""

    def __init__(self, book: RecordedRuns) -> None:
        self.book = book
        self.recorder: Recorder | None = None
        self.live: LiveScreen | None = None
        self.about: dict[str, str | int | float] = {}
        self.entries: dict[tuple[int, Any], Entry] = {}
        self._latent = Grid(1, 1)
        self._conds: dict[Branch, Any] = {}
        self._found: dict[int, tuple[LayerModules, ...]] = {}
        self._fresh = False
        self._recording = False
        self._called = False
        self._logged = False

    def open(self, guider: Any, sigmas: torch.Tensor, noise: torch.Tensor) -> None:
        """Plan the run and show the plan, before anything is sampled."""
        unet = guider.inner_model.diffusion_model
        refuse_compiled(unet, guider.model_options)
        layers = tuple(item.layer for item in self.sites_of(unet))
        self._latent = Grid(*noise.shape[-2:])
        self._conds = dict(guider.conds)
        entries = tuple(
            _entry(branch, number, item, self._latent)
            for branch, items in _evaluated(guider).items()
            for number, item in enumerate(items)
        )
        shape = RunSpec(layers, self._latent, noise.shape[0], tuple(sigmas.tolist()), entries)
        self.recorder = Recorder(shape, self.book.selection, chunk_bytes(noise.device))
        if self.book.node is not None:
            self.live = LiveScreen(self.book.node, shape, self.book.selection, self.book.live_words)
        plan = f"Recording {self.recorder.plan}"
        logging.info("SceneScope: %s", plan)
        say_on_node(self.book.node, plan)

    def close(self) -> Recording | RecordingError:
        """What the run left; an empty record is the error that Attention Maps raises, so the picture is not lost."""
        if self.recorder is None:
            return RecordingError(
                "Record Attention: the sampler ran no step; expected at least one. Raise steps or denoise."
            )
        try:
            return self.recorder.finish(self.about)
        except RecordingError as error:
            logging.warning("SceneScope: %s", error)
            return error

    def end(self, status: Literal["done", "stopped"]) -> None:
        """Show what has arrived, and let go of the rest."""
        if self.live is not None:
            self.live.end(status, tuple if self.recorder is None else self.recorder.arrived)
        self.recorder = self.live = None

    def sites_of(self, unet: torch.nn.Module) -> tuple[LayerModules, ...]:
        """The sites of this run's U-Net, or of its copy on another GPU."""
        if id(unet) not in self._found:
            self._found[id(unet)] = find_layers(unet)
        return self._found[id(unet)]

    @contextmanager
    def evaluation(self, sigma: torch.Tensor) -> Iterator[None]:
        """The sampler asks the model."""
        self._fresh, self._called = True, False
        if self.recorder is not None:
            self.recorder.evaluate(sigma)
        yield
        if self.recorder is not None and not self._called:
            self.recorder.skip("an answer that was reused without asking the model (EasyCache or the like)")

    @contextmanager
    def conditioning_pass(self, conditionings: Sequence[Sequence[dict[str, Any]] | None]) -> Iterator[None]:
        """A pass over the conditionings; only the first of an evaluation is the sampler's own."""
        first, self._fresh, outer = self._fresh, False, self._recording
        self._recording = first and self.recorder is not None and self.recorder.wants()
        if self._recording:
            self.entries = {
                (index, item["uuid"]): _entry(self._branch(index, items), number, item, self._latent)
                for index, items in enumerate(conditionings)
                for number, item in enumerate(items or ())
            }
        elif not first and self.recorder is not None:
            self.recorder.skip("a further pass of the same evaluation (SAG, PAG or the like, or a context window)")
        try:
            yield
        finally:
            self._recording = outer

    def _branch(self, index: int, items: Any) -> Branch:
        """The guider's name for a list of conditionings; a guider may ask for them in any order."""
        return next((name for name, known in self._conds.items() if known is items), branch_of(index))

    @contextmanager
    def model_call(self, unet: torch.nn.Module, options: dict[str, Any], extent: Grid) -> Iterator[None]:
        """One call of the U-Net."""
        recorder, self._called = self.recorder, True
        if recorder is None or not self._recording:
            yield
            return
        found = self.sites_of(unet)
        entries = self._entries_of(options)
        if entries is None:
            recorder.skip("a call without the host's list of conditionings")
            yield
            return
        if any(extent != (entry.area[:2] if entry.area else self._latent) for entry in entries):
            recorder.skip(f"a call for a part of the picture, {extent} of {self._latent} (tiles or the like)")
            yield
            return
        watched = tuple(item for item in found if recorder.wants_site(item.layer))

        def see(layer: AttentionLayer, query: torch.Tensor, key: torch.Tensor, grid: Grid) -> None:
            try:
                recorder.observe(layer, query, key, grid, entries)
            except Exception as error:  # the picture must not suffer from looking: counted, shown, logged once
                recorder.skip(f"{layer.name}: {type(error).__name__}: {error}")
                if not self._logged:
                    logging.exception("SceneScope: %s could not be recorded", layer.name)
                self._logged = True

        if not recorder.has_shapes:
            with ShapeProbe(found) as probe, Observers(watched, see) as observers:
                yield
            recorder.note_shapes(probe.rows())
        else:
            with Observers(watched, see) as observers:
                yield
        for layer in observers.unseen():
            recorder.skip(f"{layer.name}: the layer was not called")

    def _entries_of(self, options: dict[str, Any]) -> list[Entry] | None:
        """The entries that share a call's batch, in order."""
        order, ids = options.get("cond_or_uncond"), options.get("uuids")
        if not order or not ids or len(order) != len(ids):
            return None
        entries = [self.entries[pair] for pair in zip(order, ids, strict=True) if pair in self.entries]
        return entries if len(entries) == len(order) else None


def refuse_compiled(unet: torch.nn.Module, model_options: dict[str, Any]) -> None:
    """Refuse a compiled model: hooks set after the first compiled call are ignored without a word.

    Raises:
        HostError: the model is compiled.
    """
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    compiled = any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in unet.modules())
    if compiled or wrappers.get(_COMPILE_KEY):
        raise HostError(
            "Record Attention: the model is compiled with torch.compile; expected one that is not, because compiled "
            "code does not run the hooks that see queries and keys. Bypass the compile node while recording."
        )


def chunk_bytes(device: torch.device) -> int:
    """How large a piece of an attention map in the making may be: an eighth of the free memory of a GPU.

    Source: half a GiB holds a whole map of 64x64 cells and 8 heads; its logits take as much again meanwhile.
    """
    if comfy.model_management.is_device_cpu(device):
        return CHUNK_BYTES
    return max(CHUNK_BYTES, min(CHUNK_BYTES * 32, comfy.model_management.get_free_memory(device) // 8))


def _entry(branch: Branch, number: int, item: dict[str, Any], latent: Grid) -> Entry:
    """Describe one of the host's conditionings; its area is clipped to the picture, as the host does."""
    context, table = item["model_conds"]["c_crossattn"].cond, item.get(TOKENS_KEY)
    area = item.get("area")
    if area is not None:
        height, width, top, left = area
        area = (min(height, latent.height - top), min(width, latent.width - left), top, left)
    return Entry(
        branch=branch,
        index=number,
        tokens=context.shape[1],
        area=area,
        strength=float(item.get("strength", 1.0)),
        masked="mask" in item,
        table=None if table is None else fit_table(table, context.shape[1]),
    )


def _evaluated(guider: Any) -> dict[Branch, list[dict[str, Any]]]:
    """The guider's conditionings as the model will be asked for them; at CFG 1 the host leaves the negative out."""
    conds = dict(guider.conds)
    plain = type(guider).predict_noise is CFGGuider.predict_noise
    if plain and math.isclose(guider.cfg, 1.0) and not guider.model_options.get("disable_cfg1_optimization", False):
        conds.pop(NEGATIVE, None)
    return conds


def _outer_sample(key: str, book: RecordedRuns) -> Callable[..., Any]:
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = executor.class_obj.model_options.setdefault("transformer_options", {})  # the host's copy for this run
        run = options[key] = _Run(book)
        status: Literal["done", "stopped"] = "stopped"
        try:
            output = executor(*args, **kwargs)
            book.enter(run.close(), output)
            status = "done"
            return output
        finally:
            options.pop(key, None)
            run.end(status)

    return wrapper


def _sampler_sample(key: str, book: RecordedRuns) -> Callable[..., Any]:
    def wrapper(
        executor: Any, guider: Any, sigmas: Any, extra: Any, callback: Any, noise: Any, *rest: Any, **more: Any
    ) -> Any:
        run: _Run | None = extra["model_options"].get("transformer_options", {}).get(key)
        if run is None:
            return executor(guider, sigmas, extra, callback, noise, *rest, **more)
        run.open(guider, sigmas, noise)
        run.about = about_run(executor.class_obj, guider, extra)

        def step_done(step: int, denoised: Any, x: Any, total: int) -> None:
            if run.recorder is not None:
                settled = run.recorder.step_done(step)
                if run.live is not None:
                    run.live.step(step, settled)
            if callback is not None:
                callback(step, denoised, x, total)

        return executor(guider, sigmas, extra, step_done, noise, *rest, **more)

    return wrapper


def _predict_noise(key: str, book: RecordedRuns) -> Callable[..., Any]:
    def wrapper(executor: Any, x: Any, timestep: torch.Tensor, model_options: Any, *rest: Any, **more: Any) -> Any:
        run: _Run | None = model_options.get("transformer_options", {}).get(key)
        if run is None:
            return executor(x, timestep, model_options, *rest, **more)
        with run.evaluation(timestep.flatten()[0]):
            return executor(x, timestep, model_options, *rest, **more)

    return wrapper


def _calc_cond_batch(key: str, book: RecordedRuns) -> Callable[..., Any]:
    def wrapper(executor: Any, model: Any, conds: Any, x_in: Any, timestep: Any, model_options: dict[str, Any]) -> Any:
        run: _Run | None = model_options.get("transformer_options", {}).get(key)
        if run is None:
            return executor(model, conds, x_in, timestep, model_options)
        with run.conditioning_pass(conds):
            return executor(model, conds, x_in, timestep, model_options)

    return wrapper


def _apply_model(key: str, book: RecordedRuns) -> Callable[..., Any]:
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("transformer_options", args[5] if len(args) > 5 else {})
        run: _Run | None = options.get(key)
        if run is None:
            return executor(*args, **kwargs)
        with run.model_call(executor.class_obj.diffusion_model, options, Grid(*args[0].shape[-2:])):
            return executor(*args, **kwargs)

    return wrapper
