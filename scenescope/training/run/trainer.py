"""The run: two phases with one optimiser each, which can be interrupted and resumed at any step."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...files.dataclass_json import MisfitError
from ...host_copies import HostCopies
from ..learned.concepts import Concepts
from ..ports import Ports, digest_of
from ..scene.scene import Scene
from ..settings import Settings
from ..step.objective import Frozen, Objective, StepResult
from ..step.prompts import generator_at
from ..step.schedule import Phase, phase_at
from ..weights.contract import Weights, frozen
from ..weights.embeddings import WITHOUT_A_WORD, first_embeddings, guard_norm
from ..weights.full import FullWeights
from ..weights.lora import UNET_LAYERS, Lora, layers_of
from .optimiser import EMBEDDINGS, Optimiser
from .state import Origin, State, StateStore, check_same_run, check_shapes, load_state, shapes_of
from .writer import StateWriter


@dataclass(frozen=True)
class StepReport:
    """What is reported after a step.

    Args:
        step: steps taken.
        steps: of the whole run.
        phase: that the step belonged to.
        measured: the losses apart, and each drawn concept's map and IoU.
        gradient_norm: of all gradients together, before it is clipped.
        concepts: what has been learned so far, copied when it is called. The modules compute with it meanwhile.
        embeddings: the embedding (channel) float32 of each handle, the run's own.
    """

    step: int
    steps: int
    phase: Phase
    measured: StepResult
    gradient_norm: float
    concepts: Callable[[], Concepts]
    embeddings: Mapping[str, Tensor]


OnStep = Callable[[StepReport], None]
OnBegin = Callable[[int, Mapping[str, Tensor]], None]


def train(
    scene: Scene,
    ports: Ports,
    settings: Settings,
    *,
    on_begin: OnBegin | None = None,
    on_step: OnStep | None = None,
    keeping: StateStore | None = None,
) -> Concepts:
    """Learn the concepts of a scene.

    A run that raises, also from `on_step`, leaves its state, and the next call with the same arguments goes on there;
    on the CPU it ends with the same bits as an uninterrupted run. The modules of the ports are afterwards as
    they were, whatever happens. On a device a state is written while the next steps run; that it could not be is raised
    after a later step, or at the end.

    Args:
        scene: what is learned from.
        ports: the host's.
        settings: the method's.
        on_begin: called once with the step that the run goes on from, and each handle's embedding, while the modules
            compute with what was learned up to there; also for a run that was finished.
        on_step: called after each step; raise from it to stop.
        keeping: where the state is kept; None keeps none.

    Returns:
        The concepts, on the CPU.

    Raises:
        InputError: scene, ports, settings or state do not fit together, or the loss is not finite.
        FileError: the state cannot be read or written.
        HostError: the model is not one that can be trained.
    """
    with Run(scene, ports, settings) as run:
        if keeping is not None and keeping.path.exists():
            run.restore(load_state(keeping.path))
        writer = None if keeping is None else StateWriter(keeping, run.step, beside=run.far)
        if on_begin is not None:
            on_begin(run.step, run.embeddings())
        failure: BaseException | None = None
        try:
            while run.step < settings.steps:
                report = run.advance()
                if writer is not None:
                    writer.after_step(run.step, run.snapshot, last=run.step == settings.steps)
                if on_step is not None:
                    on_step(report)
            if writer is not None:
                writer.finish()
        except BaseException as error:  # noqa: BLE001  raised again below
            failure = error
        if failure is None:
            return run.concepts()
        _let_go(failure, run)  # outside of `except`: a device whose memory is used up has to copy the state
        if writer is not None:
            writer.after_failure(run.step, run.snapshot if run.between_steps else None)
        try:
            raise failure
        finally:
            del failure  # or its traceback would hold this frame, and this frame it


def _let_go(failure: BaseException, run: Run) -> None:
    """Free what a failed step held through its traceback and its gradients.

    torch calls a module that has hooks in a closure, whose cells nothing empties, and one input there would hold the
    whole graph of the step: where memory is used up, the traceback goes.
    """
    traceback.clear_frames(failure.__traceback__)
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        failure.__traceback__ = failure.__context__ = None
    run.forget_gradients()


class Run:
    """One run while it lasts; `advance` takes a step, leaving puts the modules back.

    Args:
        scene: what is learned from.
        ports: the host's.
        settings: the method's.
    """

    def __init__(self, scene: Scene, ports: Ports, settings: Settings) -> None:
        self.step, self.between_steps = 0, True
        self._scene, self._ports, self._settings = scene, ports, settings
        self._device = ports.latents.device
        self._stack, self._phase = ExitStack(), 0
        self._weights: Weights | None = None

    def __enter__(self) -> Run:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(frozen([self._ports.denoiser.unet, self._ports.text.module]))
            self._objective = Objective(self._scene, self._ports, self._settings)
            self._first = self._first_embeddings()
            classes = self._ports.class_pictures if self._settings.prior == "class" else None
            self._origin = Origin(self._ports.base, self._scene.digest, digest_of(classes), self._ports.others)
            self._embeddings = nn.Parameter(self._first.clone())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def advance(self) -> StepReport:
        """Take one step.

        Raises:
            InputError: the loss or its gradient is not finite.
        """
        settings, phase = self._settings, phase_at(self.step, self._settings)
        self._begin(phase)
        with self._weights.cast(settings.dtype) if self._weights is not None else nullcontext():
            costs = self._objective.costs(
                self.step,
                self._by_handle(self._embeddings),
                self._optimiser.backward,
                None if phase == 1 else Frozen(self._by_handle(self._first), self._off),
            )
        measured, (*totals, length) = costs.read(self._optimiser.norm())  # the one wait of a step
        scaled = self._optimiser.scale is not None  # then a step that is not finite is skipped
        self._check_finite(totals if scaled else [*totals, length])
        self.between_steps = False
        self._optimiser.step(length)
        self._optimiser.forget_gradients()  # now: saving and sampling come before the next step
        if settings.norm_guard is not None:
            guard_norm(self._embeddings, self._first, settings.norm_guard)
        self.step += 1
        self.between_steps = True
        learned = partial(self._concepts_at, self.step)
        return StepReport(self.step, settings.steps, phase, measured, length, learned, self.embeddings())

    def forget_gradients(self) -> None:
        """Free the memory of a failed step."""
        if self._phase:
            self._optimiser.forget_gradients()

    def embeddings(self) -> Mapping[str, Tensor]:
        """The embedding (channel) float32 of each handle, the run's own."""
        return self._by_handle(self._embeddings.detach())

    def concepts(self) -> Concepts:
        """What has been learned so far, copied to the CPU."""
        return self._concepts_at(self.step)

    @property
    def far(self) -> bool:
        """Whether it computes on another device than the CPU."""
        return self._device.type != "cpu"

    def state(self) -> State:
        """What the run needs to go on; on the CPU its tensors are the run's own, to be written at once."""
        return self.snapshot()()

    def snapshot(self) -> Callable[[], State]:
        """Begin to copy what the run needs to go on; the next step may begin at once.

        Returns:
            Gives the state, on the CPU, and waits for the copies; any thread may call it. Where the run computes on the
            CPU, its tensors are the run's own.
        """
        begun = self.step > 0 and self._phase == phase_at(self.step - 1, self._settings)
        trained = self._trained() if begun else {EMBEDDINGS: self._embeddings}  # a phase without a step keeps nothing
        embeddings = trained.pop(EMBEDDINGS)
        scaler, origin, copies = self._optimiser.scale if begun else None, self._origin, HostCopies()
        rows = copies.add(embeddings.detach())
        weights = {name: copies.add(parameter.detach()) for name, parameter in trained.items()}
        moments = self._optimiser.moments(copies) if begun else dict
        copies.send()  # packed now, before the next step changes them
        step, scale = self.step, None if scaler is None else (scaler.scale, scaler.good)

        def state() -> State:
            arrived = {name: copy.get() for name, copy in weights.items()}
            names = origin.base, origin.scene, origin.class_pictures
            with _diverged(step):
                return State(step, self._settings, *names, rows.get(), arrived, moments(), scale, origin.others)

        return state

    def restore(self, state: State) -> None:
        """Go on where another run was.

        Args:
            state: of a run with the same scene, base model and settings; the run takes its tensors over.

        Raises:
            InputError: it belongs to other settings.
            FileError: its tensors do not fit.
        """
        check_same_run(state, self._settings, self._origin)
        self.step = state.step
        if not state.step:
            return
        self._begin(phase_at(state.step - 1, self._settings))  # of the last step: its optimiser is in the state
        saved, trained = {EMBEDDINGS: state.embeddings, **state.weights}, self._trained()
        check_shapes(shapes_of(saved), shapes_of(trained))
        self._optimiser.restore(state.moments, trained)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(saved[name])
        if state.scale is not None and self._optimiser.scale is not None:
            self._optimiser.scale.scale, self._optimiser.scale.good = state.scale

    def _begin(self, phase: Phase) -> None:
        """Enter a phase, with its own optimiser and scaler; the code keeps using the first one's."""
        if phase == self._phase:
            return
        settings = self._settings
        if phase == 2:
            weights = self._make_weights()
            self._stack.enter_context(weights)
            self._weights = weights
        self._phase = phase
        trained = self._weights.trained if self._weights is not None else {}
        self._optimiser = Optimiser(self._embeddings, trained, settings, phase)
        self._stack.callback(self._optimiser.close)

    def _make_weights(self) -> Weights:
        unet, text, settings = self._ports.denoiser.unet, self._ports.text.module, self._settings
        if settings.mode == "full":
            return FullWeights({"unet.": unet, "text.": text} if settings.text_encoder else {"unet.": unet})
        layers = layers_of(unet, "unet.", UNET_LAYERS)
        if settings.text_encoder:
            layers |= layers_of(text, "text.")
        generator = generator_at(settings.seed, "lora")
        return Lora(layers, rank=settings.rank, alpha=settings.alpha, generator=generator, device=self._device)

    def _first_embeddings(self) -> Tensor:
        words = [concept.word for concept in self._scene.concepts]
        pieces = [self._ports.text.word(word or WITHOUT_A_WORD) for word in words]
        embeddings = first_embeddings(
            pieces, [not word for word in words], generator_at(self._settings.seed, EMBEDDINGS)
        )
        return embeddings.to(self._device)

    def _by_handle(self, embeddings: Tensor) -> Mapping[str, Tensor]:
        return dict(zip(self._scene.handles, embeddings, strict=True))

    def _trained(self) -> dict[str, Tensor]:
        return {EMBEDDINGS: self._embeddings, **(self._weights.trained if self._weights is not None else {})}

    def _off(self) -> AbstractContextManager[None]:
        return self._weights.disabled() if self._weights is not None else nullcontext()

    def _check_finite(self, values: Sequence[float]) -> None:
        for value in values:
            if not math.isfinite(value):
                raise InputError(
                    f"Train Concepts: the loss or its gradient became {value} in step {self.step + 1}. Lower the "
                    "learning rates, or use bfloat16 or float32."
                )

    @torch.inference_mode(False)  # a host that samples in `on_step` may be in inference mode, and the copies outlive it
    def _concepts_at(self, step: int) -> Concepts:
        weights = self._weights
        with _diverged(step):
            return Concepts(
                self._scene.concepts,
                self._embeddings.detach().to("cpu", copy=True),
                weights.low_rank() if weights is not None else {},
                weights.differences() if weights is not None else {},
                self._ports.base,
                self._settings,
                step,
            )


@contextmanager
def _diverged(step: int) -> Iterator[None]:
    """Say what to do when trained values are no longer numbers; neither states nor concepts may hold such values."""
    try:
        yield
    except MisfitError as error:
        raise InputError(
            f"Train Concepts: step {step} made trained values infinite or NaN. Lower the learning rates, or use "
            "bfloat16 or float32."
        ) from error
