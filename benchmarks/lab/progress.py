"""How far a long piece of work is, in lines that come now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from pack.host.training.progress import EtaEstimator, time_text
from pack.scenescope.training.run.trainer import StepReport
from pack.scenescope.training.settings import Settings

BETWEEN = 20.0
"""Seconds from one line to the next, at least."""


class Progress:
    """Says how far a training, or a set of pictures, is; the first and the last are always told.

    Args:
        settings: of the training; None where nothing is trained.
        say: takes a line.
        clock: seconds.
    """

    def __init__(
        self,
        settings: Settings | None,
        say: Callable[[str], None] = lambda line: print(line, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace = EtaEstimator(settings.phase1_steps, settings.steps) if settings else None
        self._print, self._clock, self._said = say, clock, float("-inf")

    def say(self, text: str) -> None:
        """A line at once."""
        self._print(f"  {text}")

    def begin(self, step: int) -> None:
        """Say where an interrupted training resumes; its first step will be reported."""
        self._said = float("-inf")
        if step:
            self.say(f"going on after step {step}")

    def step(self, report: StepReport) -> None:
        """Take note of a step of the training."""
        now = self._clock()
        left = self._pace.after(report.step, now) if self._pace else None
        told, last = report.measured, report.step == report.steps
        if self._is_time(now, last):
            losses = f"loss {told.masked:.4f}, attention {told.attention:.4f}"
            losses += "" if told.prior is None else f", prior {told.prior:.4f}"
            self.say(
                f"step {report.step} of {report.steps}, phase {report.phase}, {losses}{'' if last else time_text(left)}"
            )

    def picture(self, what: str, made: int, of: int) -> None:
        """Take note of a picture, or of whatever it is called."""
        if self._is_time(self._clock(), made in (1, of)):
            self.say(f"{what} {made} of {of}")

    def _is_time(self, now: float, always: bool) -> bool:
        due = always or now - self._said >= BETWEEN
        if due:
            self._said = now
        return due
