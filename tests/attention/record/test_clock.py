"""Sampler steps told from model evaluations, for samplers of every habit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.attention.record.clock import StepClock


@dataclass(frozen=True)
class Sampler:
    """A sampler's habit: how often it asks in each step, and after which of a step's answers it calls back."""

    asks: tuple[int, ...]
    calls_early: bool

    @property
    def sigmas(self) -> list[float]:
        """A falling schedule."""
        return [float(value) for value in range(len(self.asks), -1, -1)]

    def run(self) -> tuple[StepClock, list[tuple[tuple[int, int], int]], list[frozenset[int]]]:
        """Sample; returns the clock, the truth with each ticket, and the steps held possible at each evaluation."""
        clock, truth, possible = StepClock(self.sigmas), [], []
        for step, count in enumerate(self.asks):
            for evaluation in range(count):
                ticket = clock.evaluate(self.sigmas[step] - 0.9 * evaluation / count)
                truth.append(((step, evaluation), ticket))
                possible.append(clock.possible_steps())
                if self.calls_early and evaluation == 0:
                    clock.step_done(step)
            if not self.calls_early:
                clock.step_done(step)
        clock.finish()
        return clock, truth, possible


asks = st.lists(st.integers(1, 4), min_size=1, max_size=8).map(tuple)
early = st.builds(Sampler, asks, st.just(True))
late = st.builds(Sampler, st.tuples(st.integers(2, 4), asks).map(lambda pair: (pair[0], *pair[1])), st.just(False))
single = st.builds(Sampler, st.integers(1, 8).map(lambda steps: (1,) * steps), st.just(False))


@given(st.one_of(early, late, single))
def test_every_evaluation_gets_its_own_step(sampler: Sampler):
    """Oracle: the simulated sampler knows. Steps of 1 to 4 evaluations, each step another number of them."""
    clock, truth, _ = sampler.run()
    assert [clock.label(ticket) for _, ticket in truth] == [label for label, _ in truth]


@given(st.one_of(early, late, single))
def test_the_true_step_is_among_those_held_possible(sampler: Sampler):
    """Oracle: the simulated sampler knows; so nothing that is wanted is passed over while it is there."""
    _, truth, possible = sampler.run()
    assert all(step in steps for ((step, _), _), steps in zip(truth, possible, strict=True))
    assert max(map(len, possible)) <= 2


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8).map(tuple))
def test_a_sampler_that_never_calls_back_is_read_by_its_sigmas(counts: tuple[int, ...]):
    """Oracle: the schedule: an evaluation belongs to the last step whose sigma is not below its own."""
    sigmas = Sampler(counts, calls_early=False).sigmas
    clock = StepClock(sigmas)
    tickets = []
    for step, count in enumerate(counts):
        for evaluation in range(count):
            tickets.append((step, evaluation, clock.evaluate(sigmas[step])))
            assert step in clock.possible_steps()
    assert all(clock.label(ticket) is None for _, _, ticket in tickets)
    clock.finish()
    assert [clock.label(ticket) for _, _, ticket in tickets] == [(step, ask) for step, ask, _ in tickets]


@pytest.mark.parametrize("calls_early", [True, False])
def test_a_last_step_that_is_shorter_is_a_step_all_the_same(calls_early: bool):
    """Oracle: Heun's definition: its last step is Euler's."""
    clock, truth, _ = Sampler((2, 2, 1), calls_early).run()
    assert [clock.label(ticket) for _, ticket in truth] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


def test_an_evaluation_is_open_until_the_sampler_tells():
    """Oracle: by hand; what follows a callback may belong to the old step or the new."""
    clock = StepClock([10.0, 5.0, 0.0])
    first = clock.evaluate(10.0)
    assert clock.label(first) is None
    clock.step_done(0)
    assert clock.label(first) == (0, 0)
    second = clock.evaluate(5.0)
    assert clock.possible_steps() == {0, 1}
    assert clock.label(second) is None
    clock.finish()
    assert clock.label(second) == (0, 1)


def test_a_step_done_without_an_evaluation_does_not_shift_the_others():
    """Oracle: by hand; a cache answered for step 1."""
    clock = StepClock([3.0, 2.0, 1.0, 0.0])
    tickets = [clock.evaluate(3.0)]
    clock.step_done(0)
    clock.step_done(1)
    tickets.append(clock.evaluate(1.0))
    clock.step_done(2)
    assert [clock.label(ticket) for ticket in tickets] == [(0, 0), (2, 0)]


def test_a_sigma_is_not_read_while_the_sampler_calls_back():
    """Oracle: a sigma that counts how often it is read; reading one from a GPU waits for the GPU."""

    class Costly:
        read = 0

        def __float__(self) -> float:
            Costly.read += 1
            return 1.0

    clock = StepClock([3.0, 2.0, 1.0, 0.0])
    for step in range(3):
        clock.evaluate(Costly())
        if step:
            clock.possible_steps()
        clock.step_done(step)
    clock.finish()
    assert Costly.read == 0


def test_a_schedule_of_one_sigma_counts_as_one_step():
    """Oracle: by hand."""
    assert StepClock([1.0]).steps == 1
    assert StepClock([2.0, 1.0, 0.0]).steps == 2
