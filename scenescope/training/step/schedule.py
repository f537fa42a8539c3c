"""What is trained when, and how much noise there is outside the masks."""

from __future__ import annotations

from typing import Literal

from ..settings import Settings

Phase = Literal[1, 2]


def phase_at(step: int, settings: Settings) -> Phase:
    """Which phase a step belongs to: 1 trains embeddings only, 2 weights and embeddings.

    Source: Break-a-Scene, section 3.2. The code enters phase 2 when the step equals `phase1_steps` (train.py 1046), so
    that a run that is resumed later never does; here the step is compared by order.

    >>> from ..settings import full_settings
    >>> [phase_at(step, full_settings(phase1_steps=2)) for step in (0, 1, 2, 3)]
    [1, 1, 2, 2]
    """
    return 2 if step >= settings.phase1_steps else 1


def outside_strength(step: int, settings: Settings) -> float:
    """Standard deviation of the noise outside the masks at a step.

    Source: MagicTailor, dynamic masked degradation: a (1 - (d / D)^32).

    >>> from ..settings import full_settings
    >>> [outside_strength(step, full_settings(outside_noise=0.5)) for step in (0, 800)]
    [0.5, 0.0]
    """
    return settings.outside_noise * (1 - (step / settings.steps) ** 32)
