"""Which sampler steps of a run are kept, also where their number is known only at its end."""

from __future__ import annotations

from .budget import RunSpec, planned_steps
from .choices import StepChoice
from .selection import Selection, first_steps


class KeptSteps:
    """The steps of a selection, for a sampler that follows its schedule or makes steps of its own.

    Args:
        run: its schedule, and whether it is followed.
        selection: which steps, and of how many the queries.

    Raises:
        SelectionError: the choice is not understood, or no step of a run that follows its schedule.
    """

    def __init__(self, run: RunSpec, selection: Selection) -> None:
        self._run, self._share = run, selection.queries_until
        self._choice, self._planned = StepChoice.read(selection.steps), planned_steps(run, selection)

    def may_have(self, step: int) -> bool:
        """Whether a step is kept, or may turn out to be: the last one of a sampler's own is known at the end."""
        counted_back = bool(self._choice.from_end) if self._run.own_steps else step in self._planned
        return counted_back or self._choice.has(step)

    def may_have_queries(self, step: int) -> bool:
        """Whether queries and keys of a step are kept, or may turn out to be."""
        return self.may_have(step) and (self._share >= 1 or step < first_steps(self._share, self._run.steps))

    def shows(self, step: int) -> bool:
        """Whether a step is known to be kept while the run lasts."""
        return step in self._planned or self._choice.has(step)

    def outdated(self, made: int) -> int:
        """Steps before this one that were kept in case they were among the last are none of them."""
        return made - max(self._choice.from_end) if self._run.own_steps and self._choice.from_end else 0

    def made(self, counted: int) -> int:
        """How many steps the run had: the schedule's, unless the sampler made its own."""
        return counted if self._run.own_steps and counted else max(counted, self._run.steps)

    def of(self, made: int) -> tuple[frozenset[int], frozenset[int]]:
        """The steps that are kept out of this many, and those whose queries are kept."""
        chosen = self._choice.of(made)
        return chosen, chosen & frozenset(range(first_steps(self._share, made)))
