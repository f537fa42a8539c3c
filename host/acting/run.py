"""One sampling run with acts: MODEL's instructions begin, are asked at every call, write, and report at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from comfy.model_patcher import ModelPatcher

from ...scenescope.attention.act.acts import SHARES, Act, Effect, Instruction, LayerWrite, ModelCall
from ...scenescope.attention.act.writer import Writers, WritingState
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.attention.record.clock import StepClock
from ...scenescope.attention.record.layers import AttentionLayer, Kind, LayerModules, find_layers
from ...scenescope.attention.record.observers import Observers
from ...scenescope.dims import Grid
from ..editor.messages import say_on_node
from ..recording.calls import follows_schedule, sampler_name
from ..recording.entries import Calling, Conditionings, entries_of_call, planned_entries
from ..recording.provenance import model_hash
from ..recording.unet import ACTS_KEY, WRITERS_KEY, refuse_compiled
from ..watched_runs import Items, watch_runs

KEY = "scenescope.act"
"""Names the wrappers, the run in its options, and what MODEL carries: ((instruction, node id), ...)."""

_SLOTS: dict[Kind, str] = {"cross": "attn2", "self": "attn1"}


@runtime_checkable
class Gating(Protocol):
    """An act that also changes which conditionings an evaluation has, and where they count."""

    def gate(self, conditionings: Items, entries: Calling, first: bool, device: torch.device) -> Items:
        """The host's lists for a pass; copies of what is changed.

        Args:
            conditionings: the lists.
            entries: how a call names its rows.
            first: whether it is the evaluation's own pass, not a further one of a guidance.
            device: where the run puts its predictions together; of several GPUs another one may answer a part.
        """


def with_act(model: ModelPatcher, instruction: Instruction, node: str | None = None) -> ModelPatcher:
    """Make a clone of the model whose sampling runs carry out one more instruction; the given model is not changed.

    Args:
        model: the host's MODEL, with any patches, perhaps with instructions already; they all act.
        instruction: what to do.
        node: id of the node that shows what was done; None for no node.

    Raises:
        HostError: the model has no transformer blocks of SD1.5, SD2 or SDXL.
    """
    find_layers(model.model.diffusion_model, who=instruction.who)  # or the sampler would say it, and not the node
    clone = model.clone()
    clone.set_attachments(KEY, (*(model.get_attachment(KEY) or ()), (instruction, node)))
    watch_runs(clone, KEY, ActingRun)
    return clone


class ActingRun:
    """One sampling run with acts."""

    def __init__(self, options: dict[str, Any]) -> None:
        options[ACTS_KEY] = self.told
        self.acts: list[tuple[Act, str | None]] = []
        self.clock = StepClock([1.0, 0.0])
        self._step = self.clock.current_step
        self.state = WritingState()
        self._conditionings = Conditionings({}, Grid(1, 1))
        self._entries: Calling = {}
        self._images, self._device = 1, torch.device("cpu")
        self._found: dict[int, tuple[LayerModules, ...]] = {}
        self._fresh = self._first = False
        self._evaluation = 0
        self._texts: list[str] | None = None
        self._effects: list[Effect] = []

    def open(self, guider: Any, sampler: Any, sigmas: torch.Tensor, noise: torch.Tensor, extra: dict[str, Any]) -> None:
        """Begin every act, before anything is sampled."""
        unet = guider.inner_model.diffusion_model
        carried: Sequence[tuple[Instruction, str | None]] = guider.model_patcher.get_attachment(KEY) or ()
        names = ", ".join(dict.fromkeys(instruction.who for instruction, _ in carried))
        refuse_compiled(unet, guider.model_options, names)
        self._conditionings = Conditionings(guider.conds, Grid(*noise.shape[-2:]))
        self._images, self._device = noise.shape[0], noise.device
        schedule = tuple(sigmas.tolist())
        self.clock = StepClock(schedule)
        run = RunSpec(
            layers=tuple(item.layer for item in self._layers_of(unet)),
            latent=self._conditionings.latent,
            images=self._images,
            sigmas=schedule,
            entries=planned_entries(guider, self._conditionings),
            seed=extra.get("seed"),
            controlled=any("control" in item for items in guider.conds.values() for item in items),
            own_steps=not follows_schedule(sampler),
            sampler=sampler_name(sampler),
            weights=partial(model_hash, guider.model_patcher),
        )
        self._step = self.clock.reached if run.own_steps else self.clock.current_step
        self.acts = [(instruction.begin(run), node) for instruction, node in carried]

    def done(self, output: torch.Tensor) -> None:
        """Report to each node what was done."""
        texts: dict[str | None, list[str]] = {}
        for (act, node), text in zip(self.acts, self.texts(), strict=True):
            act.done(output)
            texts.setdefault(node, []).append(text)
        for node, lines in texts.items():
            say_on_node(node, "\n".join(filter(None, lines)))

    def texts(self) -> list[str]:
        """What each act did, once the sampler is through."""
        if self._texts is None:
            self._texts = [act.finish(self.state.skipped) for act, _ in self.acts]
            self._effects = [effect for act, _ in self.acts for effect in act.effects()]
        return self._texts

    def told(self) -> dict[str, str]:
        """What a recording of the run says `about` its acts: in words, and the words' shares as JSON."""
        texts = {"acts": "\n".join(filter(None, self.texts()))}
        return texts | ({SHARES: json.dumps([asdict(each) for each in self._effects])} if self._effects else {})

    def end(self, status: Literal["done", "stopped"]) -> None:
        """Let go of the acts, and let them know if the run was cancelled or failed."""
        if status == "stopped":
            for act, _ in self.acts:
                act.abandon()
        self.acts = []

    def step_done(self, step: int) -> None:
        """The sampler reports a step."""
        self.clock.step_done(step)

    @contextmanager
    def evaluation(self, sigma: torch.Tensor) -> Iterator[None]:
        """The sampler asks the model."""
        self._fresh = True
        self._evaluation = self.clock.evaluate(sigma)
        yield

    @contextmanager
    def conditioning_pass(self, conditionings: Items, options: dict[str, Any]) -> Iterator[Items]:
        """A pass over the conditionings; all of them are steered, or guidance would amplify the difference."""
        outer, self._first, self._fresh = (self._entries, self._first), self._fresh, False
        self._entries = self._conditionings.entries_of(conditionings)
        try:
            for act, _ in self.acts:
                if isinstance(act, Gating):
                    conditionings = act.gate(conditionings, self._entries, self._first, self._device)
            yield conditionings
        finally:
            self._entries, self._first = outer

    @contextmanager
    def model_call(self, unet: torch.nn.Module, options: dict[str, Any], extent: Grid) -> Iterator[None]:
        """One call of the U-Net: writers and observers for the layers that acts ask for, and for no others."""
        entries = entries_of_call(self._entries, options) if self.acts else None
        latent = self._conditionings.latent
        if entries is None or any(extent != entry.extent(latent) for entry in entries):
            if self.acts:
                self.state.skip(
                    "a call for a part of the picture (tiles or similar), or without ComfyUI's list of conditionings"
                )
            yield
            return
        call = ModelCall(tuple(entries), self._images, latent, self._step(), self._first, self._evaluation)
        found = self._layers_of(unet)
        writes = {item.layer: self._writes(item.layer, call) for item in found}
        capture_maps = {item.layer: [act for act, _ in self.acts if act.watches(item.layer, call)] for item in found}
        watched = [item for item in found if capture_maps[item.layer]]
        if not watched and not any(writes.values()):
            yield
            return
        with Writers(found, writes, call, owned=_owned(found, options), state=self.state) as writers:
            options[WRITERS_KEY] = writers
            try:
                with Observers(watched, partial(self._see, capture_maps, call, writers)):
                    yield
            finally:
                options.pop(WRITERS_KEY, None)

    def _writes(self, layer: AttentionLayer, call: ModelCall) -> list[LayerWrite]:
        return [write for act, _ in self.acts if (write := act.write(layer, call)) is not None]

    def _see(
        self,
        capture_maps: Mapping[AttentionLayer, Sequence[Act]],
        call: ModelCall,
        writers: Writers,
        layer: AttentionLayer,
        query: torch.Tensor,
        key: torch.Tensor,
        grid: Grid,
    ) -> None:
        try:
            for act in capture_maps[layer]:
                act.see(layer, query, key, grid, call, partial(writers.bias_at, layer, grid, like=query))
        except Exception as error:  # noqa: BLE001 - the picture must not be lost: counted, logged and reported
            self.state.failed(layer, error)

    def _layers_of(self, unet: torch.nn.Module) -> tuple[LayerModules, ...]:
        """The layers of this run's U-Net, or of its copy on another GPU."""
        if id(unet) not in self._found:
            self._found[id(unet)] = find_layers(unet)
        return self._found[id(unet)]


def _owned(found: Sequence[LayerModules], options: Mapping[str, Any]) -> frozenset[AttentionLayer]:
    """The layers whose result is a replace patch's or an override's.

    Source: host contract, ComfyUI 0.33 `attention.BasicTransformerBlock.forward`: keys `(section, number)` or
    `(section, number, index)` under `attn1` and `attn2`; `attention.wrap_attn`: `optimized_attention_override`.
    """
    if options.get("optimized_attention_override") is not None:
        return frozenset(item.layer for item in found)
    replaced = {kind: options.get("patches_replace", {}).get(name, {}) for kind, name in _SLOTS.items()}
    return frozenset(item.layer for item in found if any(key in replaced[item.layer.kind] for key in _keys(item.layer)))


def _keys(layer: AttentionLayer) -> tuple[tuple[Any, ...], ...]:
    section, number = layer.block.split(" ")
    block, _, index = number.partition(".")
    return (section, int(block)), (section, int(block), int(index or 0))
