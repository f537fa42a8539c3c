"""What an act is: an instruction that travels with a model, and what it writes at each layer of each model call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ...dims import Grid
from ...errors import InputError
from ..record.budget import RunSpec
from ..record.layers import AttentionLayer
from ..record.recording import Entry
from ..record.scores import OuterBias

SHARES = "shares"
"""Key of `Recording.about`: a list of `Effect` as JSON."""

BiasOf = Callable[[int], Tensor | OuterBias | None]
"""Gives (1|image 1|head query token), or factors, for an entry's position in the call; or None."""

Replacement = Callable[[Tensor, Grid], Tensor]
"""Gives what a layer uses in place of a query or key (batch token head*channel), of the same shape and type."""


@dataclass(frozen=True)
class ModelCall:
    """One call of the U-Net.

    Args:
        entries: the conditioning entries that share its batch, in order; batch = entry x image.
        images: pictures of the run.
        latent: the run's latent grid; an entry with an area covers its part of it.
        step: the sampler step it belongs to, from 0; where a step asks the model several times, or the sampler makes
            steps of its own, the step of the schedule whose sigma was reached.
        first_pass: whether it is the sampler's own, not a further pass of a guidance (SAG, PAG).
        evaluation: number of the model evaluation since the run began, from 0.
    """

    entries: tuple[Entry, ...]
    images: int
    latent: Grid
    step: int
    first_pass: bool = True
    evaluation: int = 0

    def rows(self, position: int) -> slice:
        """The rows of its batch that belong to the entry at a position."""
        return slice(position * self.images, (position + 1) * self.images)


class Bias(Protocol):
    """Log-odds to be added to attention logits. Compared by identity: the same object always gives the same numbers."""

    def on(self, grid: Grid, entry: Entry) -> Tensor | None:
        """The bias of one entry on a layer's grid.

        Args:
            grid: of the layer's queries.
            entry: whose columns; with an area, the grid covers that area alone.

        Returns:
            (1|image 1|head query token) float32 with one column for each of the entry's tokens; None for no bias.
        """


class SelfBias(Protocol):
    """Log-odds between the cells of self-attention, as factors. Compared by identity, like `Bias`."""

    def factors(self, grid: Grid, entry: Entry) -> OuterBias | None:
        """The factors (1|image query rank) of one entry on a layer's grid; None for no bias."""


class Mix(Protocol):
    """Other prompts that cells of an entry look at in place of its own."""

    def parts(self, grid: Grid, entry: Entry, like: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """Encoded prompts, and how much each counts; the rest is the entry's.

        Args:
            grid: of the layer's queries.
            entry: whose cells.
            like: a tensor whose type and device they take.

        Returns:
            A prompt (1 token channel) and its weight (1|image query 1) 0..1 each.
        """


@dataclass(frozen=True)
class LayerWrite:
    """What an act writes at one layer of one call. Several acts: queries and keys one after the other, biases added.

    Args:
        query: replaces the query, before anything uses it; None leaves it.
        key: replaces the key, after the query was; None leaves it.
        bias: added to the logits of cross-attention; None adds nothing.
        self_bias: added to the logits of self-attention; None adds nothing.
        mix: other prompts for cross-attention, mixed in after the biases; None mixes in none.
    """

    query: Replacement | None = None
    key: Replacement | None = None
    bias: Bias | None = None
    self_bias: SelfBias | None = None
    mix: Mix | None = None


@dataclass(frozen=True)
class Effect:
    """What a strength did: the mean share of attention that words got, without any act and with all of them.

    Args:
        words: as they were asked for.
        branch: whose prompt.
        entry: its place among the branch's entries.
        columns: of these words.
        strength: log-odds, inside the place where there is one.
        outside: log-odds outside the place; None without a place.
        steps: the first and the last steered step, from 0; the shares are of these two.
        inside: shares before and after, 0..1: in the place, or of the whole picture.
        elsewhere: the same outside the place; None without a place.
    """

    words: str
    branch: str
    entry: int
    columns: tuple[int, ...]
    strength: float
    outside: float | None
    steps: tuple[int, int]
    inside: tuple[float, float]
    elsewhere: tuple[float, float] | None = None


class Act:
    """One instruction at work in one run; an act overrides only what it does."""

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """What to write at this layer of this call; None sets no hook, and the layer stays the same, bit for bit.

        Called before each model call, for every layer; it must not wait for the device.
        """
        return None

    def watches(self, layer: AttentionLayer, call: ModelCall) -> bool:
        """Whether to call `see` for this layer in this call; asked before the call."""
        return False

    def see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid, call: ModelCall, bias: BiasOf) -> None:
        """Look at what the layer computes with.

        Args:
            layer: the layer.
            query: (batch query head*channel), as it was written.
            key: (batch token head*channel), as it was written.
            grid: of the queries.
            call: the model call.
            bias: gives the sum of all acts' biases for the entry at a position of the call, or None.
        """

    def finish(self, skipped: Mapping[str, int]) -> str:
        """The run is over: say in a few lines what was done. `skipped`: counts of what could not be written."""
        return ""

    def effects(self) -> Sequence[Effect]:
        """The run is over: what the words' shares became, where it was measured."""
        return ()

    def done(self, output: Tensor) -> None:
        """The run is over, and this is the latent (image channel height width) that it ended with."""

    def abandon(self) -> None:
        """The run was cancelled or failed: release what would outlive it."""


class Instruction(Protocol):
    """What a user asked for; frozen, travels with a MODEL, and may be used by several runs at once."""

    @property
    def who(self) -> str:
        """The node's name, which begins a message."""

    def begin(self, run: RunSpec) -> Act:
        """Prepare for one run, before anything is sampled.

        Raises:
            SceneScopeError: it cannot be done in this run; the message says what to do.
        """


def steps_between(start: float, end: float, steps: int) -> range:
    """The sampler steps of a share of the schedule.

    Args:
        start: 0..1, the share of the steps before the first one.
        end: 0..1, the share of the steps up to the last one; nothing where it is not above `start`.
        steps: of the run.

    Raises:
        InputError: a share is not between 0 and 1.

    >>> steps_between(0.0, 0.5, 20), len(steps_between(0.5, 0.5, 20))
    (range(0, 10), 0)
    >>> steps_between(0.05, 1.0, 20)
    range(1, 20)
    """
    if not 0 <= start <= 1 or not 0 <= end <= 1:
        raise InputError(
            f"Steps: start is {start} and end is {end}, but both have to be shares of the steps, from 0 to 1. Correct "
            "them."
        )
    first, after = (round(share * steps * 1e6) / 1e6 for share in (start, end))  # 0.7 * 10 is not quite 7
    return range(-int(-first // 1), max(-int(-first // 1), -int(-after // 1)))
