"""Which sampler step a model evaluation belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

from torch import Tensor

from ...host_copies import to_host


class StepClock:
    """Tell sampler steps from model evaluations.

    A second-order sampler asks the model more than once a step, at sigmas that may or may not be on the schedule, so
    neither counting nor sigmas can tell. The sampler's callback can: it is called once a step. Samplers differ in when
    they call it: right after the step's first evaluation (k-diffusion's way), or after all of them. The first step
    shows which: an early caller has then made exactly one evaluation. From then on the evaluations between two calls
    are known apart: for an early caller the last one opens the new step and those before it finish the old one; for a
    late caller all of them belong to the step that is reported.

    Args:
        sigmas: the schedule, steps + 1 values in descending order; only used if the sampler never calls back.

    >>> heun = StepClock([10.0, 5.0, 0.0])
    >>> first = heun.evaluate(10.0); heun.step_done(0); second = heun.evaluate(5.0)
    >>> third = heun.evaluate(5.0); heun.step_done(1); heun.finish()
    >>> [heun.label(ticket) for ticket in (first, second, third)]
    [(0, 0), (0, 1), (1, 0)]
    """

    def __init__(self, sigmas: Sequence[float]) -> None:
        self._sigmas = [float(sigma) for sigma in sigmas]
        self._asked: list[SupportsFloat] = []
        self._labels: dict[int, tuple[int, int]] = {}
        self._evaluations: dict[int, int] = {}
        self._pending: list[int] = []
        self._reached: dict[int, int] = {}
        self._last: int | None = None
        self._late = False
        self._between: int | None = None  # evaluations between the last two reports

    @property
    def steps(self) -> int:
        """Sampler steps of the schedule."""
        return max(1, len(self._sigmas) - 1)

    def evaluate(self, sigma: SupportsFloat) -> int:
        """Note a model evaluation; returns its ticket, to be turned into a step by `label` once that is settled.

        A sigma may be a tensor on a GPU: it is read only where needed, because reading waits for the device.
        """
        ticket = len(self._asked)
        self._asked.append(sigma)
        self._pending.append(ticket)
        return ticket

    def possible_steps(self) -> frozenset[int]:
        """The steps that the newest evaluation may turn out to belong to."""
        if self._last is None:  # the first step, or any step of a sampler that never calls back
            return frozenset({0, self._step_at(len(self._asked) - 1)} if self._asked else {0})
        return frozenset({self._last + 1} if self._late else {self._last, self._last + 1})

    def current_step(self) -> int:
        """The step of the newest evaluation, told before it is made.

        Where a sampler asks the model several times a step it is the step whose sigma the evaluation has reached. The
        sigma is read, and the device waited for, only until the first two reports, or with such samplers.

        >>> heun = StepClock([10.0, 5.0, 0.0])
        >>> heun.evaluate(10.0), heun.current_step(), heun.step_done(0)
        (0, 0, None)
        >>> heun.evaluate(5.0), heun.current_step()
        (1, 1)
        """
        if self._last is None:
            return 0 if len(self._pending) < 2 else self.reached()
        if self._late or self._between == 1:
            return self._last + 1
        return min(max(self.reached(), self._last), self._last + 1)

    def reached(self) -> int:
        """The step of the schedule whose noise the newest evaluation has, for samplers that make steps of their own.

        The sigma is read, and the device waited for.
        """
        return self._step_at(len(self._asked) - 1)

    def step_done(self, step: int) -> None:
        """Take the sampler's callback for a step."""
        if self._last is None:
            self._late = len(self._pending) > 1
        else:
            self._between = len(self._pending)
        opening = 0 if self._late or self._last is None else max(0, len(self._pending) - 1)
        for ticket in self._pending[:opening]:
            self._settle(ticket, self._last if self._last is not None else step)
        for ticket in self._pending[opening:]:
            self._settle(ticket, step)
        self._pending, self._last = [], step

    def finish(self) -> None:
        """Settle what is left when sampling has ended."""
        for ticket in self._pending:
            self._settle(ticket, self._last if self._last is not None else self._step_at(ticket))
        self._pending = []

    @property
    def made(self) -> int:
        """How many steps the sampler has made, whatever its schedule."""
        labelled = (step for step, _ in self._labels.values())
        return 1 + max(max(labelled, default=-1), -1 if self._last is None else self._last)

    def sigmas_asked(self) -> dict[tuple[int, int], float]:
        """The sigma of each settled evaluation, by step and evaluation; reads them all at once."""
        values = [self._asked[ticket] for ticket in self._labels]
        tensors = [value for value in values if isinstance(value, Tensor)]
        whole = len(tensors) == len(values)  # read as they are: some devices have no float64
        numbers = map(float, to_host(tensors) if whole else values)
        return dict(zip(self._labels.values(), numbers, strict=True))

    def label(self, ticket: int) -> tuple[int, int] | None:
        """The step and the evaluation inside it, or None while it is open."""
        return self._labels.get(ticket)

    def _settle(self, ticket: int, step: int) -> None:
        evaluation = self._evaluations.get(step, 0)
        self._evaluations[step] = evaluation + 1
        self._labels[ticket] = (step, evaluation)

    def _step_at(self, ticket: int) -> int:
        """The step whose noise an evaluation was made at."""
        if ticket not in self._reached:  # read once: of a tensor on a GPU each reading waits
            asked = float(self._asked[ticket]) * (1 - 1e-5)
            reached = [step for step, value in enumerate(self._sigmas[:-1]) if value >= asked]
            self._reached[ticket] = reached[-1] if reached else 0
        return self._reached[ticket]
