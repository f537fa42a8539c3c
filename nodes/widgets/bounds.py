"""The bounds of every number that a widget takes, in one list, and what the largest costs.

What only two widgets together make costly (a size and a count) has its bound in `scenescope/cost.py`; what training
costs stands with each setting in `scenescope/training/settings.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from ...scenescope.cost import MOST_PICTURES


class Bound(NamedTuple):
    """The numbers that a widget takes.

    Args:
        least: the smallest.
        most: the largest.
        costs: what the largest costs, and who says so before it is paid.
    """

    least: float
    most: float
    costs: str


_NOTHING = "nothing; a place that isn't there is refused, and the message names those that are"

SHARE = Bound(0.0, 1.0, "nothing more than any other")
SEED = Bound(0, 2**64 - 1, "nothing")
SMALL_SEED = Bound(0, 2**32 - 1, "nothing")

STEPS = Bound(1, 10_000, "hours; each step is shown and can be cancelled; maps over the budget are refused")
CFG = Bound(0.0, 100.0, "nothing")
SIDE = Bound(64, 4096, "the sampler's own time; pictures over 4 GB together are refused before the first one")
SEEDS = Bound(1, MOST_PICTURES, "a picture for each; too many, or too many bytes, are refused before the first one")
PROMPT_ROW = Bound(-MOST_PICTURES, MOST_PICTURES, _NOTHING)
BUDGET = Bound(1, 1_000_000, "that many MB if a run needs them; the plan is shown before it starts")
RUN = Bound(-64, 64, _NOTHING)

IMAGE = Bound(0, 4095, _NOTHING)
IMAGE_OR_EACH = Bound(-1, 4095, _NOTHING)
ENTRY = Bound(0, 99, _NOTHING)
ENTRY_OR_EACH = Bound(-1, 99, _NOTHING)
STEP_OR_EACH = Bound(-2, 9999, "masks of every step; refused over 4 GB")
COMPONENTS = Bound(1, 12, "half a minute on a grid of 4096 cells, whatever the number")
REFINE = Bound(0, 20, "a matrix product each time")

SHAPE_SIDE = Bound(16, 16_384, "nothing is computed: 0.1 GB, whatever the size")
SHAPE_BATCH = Bound(1, 4096, "nothing is computed")
SHAPE_TOKENS = Bound(77, 77 * 64, "nothing is computed")
SCENE_SIDE = Bound(64, 2048, "5 seconds at 2048x2048")
TRAINING_SIDE = Bound(0, 2048, "memory grows with the square; a run that can never fit is refused before it begins")

STRENGTH = Bound(-4.0, 4.0, "nothing")
ODDS = Bound(-12.0, 12.0, "nothing")
CUT = Bound(0.05, 0.95, "nothing")
GROW = Bound(-4, 16, "next to nothing: cells of a latent")

SAVE_EVERY = Bound(1, 100_000, "the larger, the more steps a killed run loses; 1 writes a state to disk at each step")
SAMPLE_EVERY = Bound(0, 100_000, "nothing: fewer sets of pictures")
SAMPLE_COUNT = Bound(0, 16, "that many pictures per set; the first set shows how long it takes, and can be cancelled")
SAMPLE_STEPS = Bound(1, 1000, "that many model calls per picture; shown, and can be cancelled")
SAMPLE_CFG = Bound(1.0, 30.0, "nothing")
CLASS_COUNT = Bound(1, 10_000, "a run of the sampler and a file for each; shown, and can be cancelled")
