"""Queries and keys of an earlier run, by the moment they are played at."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...errors import RecordingError
from ..record.budget import RunSpec
from ..record.layers import AttentionLayer, Kind
from ..record.recording import Entry, Projection, Recording
from ..record.selection import first_steps

Moment = tuple[int, int]
"""A step of the recorded run, and the evaluation inside it."""

FAR = 1.25
"""Ratio of noise levels above which a caution is given. Steps of a 20-step schedule lie about 1.35 apart, so that the
nearest is at most 1.16 away."""

_LEAST = 1e-6  # a noise of 0 has no logarithm


def nearest_steps(recorded: Sequence[float], played: Sequence[float]) -> tuple[int, ...]:
    """Find for each step of a run the step of an earlier one whose noise is nearest, as a ratio.

    Args:
        recorded: the earlier run's schedule, steps + 1 sigmas in descending order.
        played: the new run's.

    Returns:
        For each step of the new run a step of the earlier one, the earlier of two that are as near; where the earlier
        run had ended before so little noise was left, the number of its steps.

    >>> nearest_steps([8.0, 4.0, 2.0, 1.0, 0.0], [8.0, 2.5, 0.0]), nearest_steps([8.0, 4.0, 2.0], [8.0, 2.0, 0.0])
    ((0, 2), (0, 2))
    """
    (there, here), ended = (_levels(sigmas) for sigmas in (recorded, played)), math.log(max(recorded[-1], _LEAST))
    return tuple(
        len(there) if level <= ended else min(range(len(there)), key=lambda step: abs(level - there[step]))
        for level in here
    )


def _levels(sigmas: Sequence[float]) -> list[float]:
    """The logarithm of the noise that each step begins at."""
    return [math.log(max(sigma, _LEAST)) for sigma in sigmas[: max(1, len(sigmas) - 1)]]


@dataclass(frozen=True)
class Schedule:
    """Which moment of the tape each evaluation of a run plays.

    Args:
        steps: for each step of the run the nearest step of the tape; past its end the number of its steps.
        ratio: how far the farthest of them is from its noise, as a ratio from 1.
        moments: where both runs have one sampler and schedule, and the tape holds all evaluations: the moments in their
            order, so that samplers that ask several times a step play each where it was made.
    """

    steps: tuple[int, ...]
    ratio: float
    moments: tuple[Moment, ...] = ()

    def moment(self, step: int, evaluation: int) -> Moment:
        """What to play.

        Args:
            step: of the run.
            evaluation: number of the evaluation since the run began.
        """
        if evaluation < len(self.moments):
            return self.moments[evaluation]
        return self.steps[min(step, len(self.steps) - 1)], 0

    @property
    def caution(self) -> str:
        """A sentence if the schedules are far apart, else empty."""
        if self.ratio <= FAR:
            return ""
        return (
            f"The schedules differ: the nearest recorded noise is up to x{self.ratio:.2f} away (more than x{FAR} is "
            "unusual). Record with the scheduler and steps that you sample with."
        )


class Tape:
    """The queries and keys of a recording, checked for a run.

    Args:
        recording: with the queries of what is played.
        until: for each kind of attention the share of the recorded schedule that is played.

    Raises:
        RecordingError: queries of what is to be played were not kept.
    """

    def __init__(self, recording: Recording, until: dict[Kind, float], branches: Collection[str]) -> None:
        self.recording = recording
        self.until = {kind: first_steps(share, recording.steps) for kind, share in until.items()}
        self._frames = {
            (at.branch, at.entry, at.order, at.kind, at.step, at.evaluation): item
            for at, item in recording.projections.items()
        }
        for kind, steps in self.until.items():
            for branch in branches if steps else ():
                self._check(kind, steps, branch)

    def frame(self, layer: AttentionLayer, entry: Entry, moment: Moment) -> Projection | None:
        """What a layer computed with for an entry at a moment; None where that was not kept."""
        return self._frames.get((entry.branch, entry.index, layer.order, layer.kind, *moment))

    def schedule(self, run: RunSpec) -> Schedule:
        """Match the run's schedule with the tape's."""
        recorded, steps = self.recording.sigmas, nearest_steps(self.recording.sigmas, run.sigmas)
        levels, last = _levels(recorded), max(self.until.values())
        pairs = zip(_levels(run.sigmas), steps, strict=True)
        far = [abs(level - levels[there]) for level, there in pairs if there < last]
        ratio = math.exp(max(far, default=0.0))
        alike = recorded == run.sigmas and self.recording.about.get("sampler") == run.sampler
        if not alike or self.recording.selection.evaluations != "all":
            return Schedule(steps, ratio)
        moments = sorted({(at.step, at.evaluation) for at in self.recording.projections})
        whole = [step for step, evaluation in moments if evaluation == 0] == list(range(len({s for s, _ in moments})))
        return Schedule(steps, ratio, tuple(moments) if whole else ())

    def cautions(self, run: RunSpec) -> tuple[str, ...]:
        """Sentences for a run that began from other noise, or with a model of other weights."""
        seed, weights = (self.recording.about.get(name) for name in ("seed", "model_hash"))
        found = []
        if None not in (seed, run.seed) and seed != run.seed:
            found.append(
                f"The seed is {run.seed}, the recorded run's was {seed}: the layout is the recorded one, the details "
                "are not. Take its seed to keep the picture."
            )
        if weights is not None and run.weights is not None and run.weights() != weights:
            found.append(
                "The recording is from a model with other weights or in another precision, so its queries and keys "
                "may not fit. Record with the MODEL that you replay on."
            )
        return tuple(found)

    def _check(self, kind: Kind, steps: int, branch: str) -> None:
        there = {key[4] for key in self._frames if key[0] == branch and key[3] == kind}
        switch = "keep_queries" if kind == "cross" else "keep_self_queries"
        if not there and any(key[3] == kind for key in self._frames):
            raise RecordingError(
                f"Replay Attention: the recording doesn't have the {branch} branch. Set branch to both in Record "
                "Attention and sample again, or replay the other one."
            )
        if not there:
            raise RecordingError(
                f"Replay Attention: the recording kept no queries of {kind}-attention of the {branch} branch. Switch "
                f"on {switch} in Record Attention, and sample again."
            )
        missing = [step for step in range(steps) if step not in there]
        if missing:
            total = self.recording.steps
            raise RecordingError(
                f"Replay Attention: {kind}_until plays the first {steps} of {total} recorded steps, but queries were "
                f"kept of only {len(there)}, and not of step {missing[0]}. Lower {kind}_until to "
                f"{missing[0] / total:.2g}, or record again with all steps, and queries_until at {steps / total:.2g} "
                "or more."
            )
