"""What one evaluation of the model showed, on its way to the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from ...host_copies import HostCopies, Incoming
from .recording import Address, AttentionMap, Projection
from .reducers import Looked

Value = TypeVar("Value")


@dataclass(frozen=True)
class Sent:
    """What is kept of rows that were read together, sent off whole: each tensor apart takes a GPU's host time.

    Args:
        maps: by the names of an `AttentionMap`'s fields; empty where none are kept.
        kept: by the names of a `Projection`'s fields; empty where none are kept.
        shares: the equal shares of the first axis, one for each entry of each layer.
    """

    maps: dict[str, Incoming]
    kept: dict[str, Incoming]
    shares: int

    @classmethod
    def off(cls, looked: Looked, copies: HostCopies, shares: int) -> Sent:
        """Queue all of it."""
        maps = {} if looked.maps is None else {"maps": copies.add(looked.maps)}
        named = {} if looked.kept is None else looked.kept.named_tensors
        return cls(maps, {name: copies.add(tensor) for name, tensor in named.items()}, shares)


@dataclass(frozen=True)
class Coming(Generic[Value]):
    """A map, or a query with its key, whose tensors are on their way.

    Args:
        parts: the tensors by the names of the value's fields.
        build: makes the value from these names, and what else is given to `get`.
        place: which of the equal shares of their first axis it has.
        shares: how many there are.
    """

    parts: Mapping[str, Incoming]
    build: Callable[..., Value]
    place: int = 0
    shares: int = 1

    @property
    def at_hand(self) -> bool:
        """Whether it has already arrived."""
        return all(part.at_hand for part in self.parts.values())

    @property
    def nbytes(self) -> int:
        """Bytes of its share of all the tensors."""
        return sum(part.nbytes for part in self.parts.values()) // self.shares

    def get(self, **more: object) -> Value:
        """The value, waited for."""
        return self.build(**{name: self._share(part.get()) for name, part in self.parts.items()}, **more)

    def _share(self, whole: Tensor) -> Tensor:
        rows = len(whole) // self.shares
        return whole[self.place * rows : (self.place + 1) * rows] if self.shares > 1 else whole


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation has shown.

    Args:
        maps: by address; its step is not known at first.
        projections: queries and keys by address.
        skipped: calls that could not be recorded: reason -> how many.
    """

    maps: dict[Address, Coming[AttentionMap]] = field(default_factory=dict)
    projections: dict[Address, Coming[Projection]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def items(self) -> tuple[Coming[AttentionMap] | Coming[Projection], ...]:
        """All maps and projections."""
        return (*self.maps.values(), *self.projections.values())

    def at(self, step: int, evaluation: int, *, queries: bool) -> Evaluation:
        """The same under addresses with the step that is known by now, with its queries or without."""
        maps = {at.when(step, evaluation): item for at, item in self.maps.items()}
        pairs = {at.when(step, evaluation): item for at, item in self.projections.items()} if queries else {}
        return Evaluation(maps, pairs, self.skipped)


def reasons_text(skipped: Mapping[str, int]) -> str:
    """Write reasons and their counts for a person.

    >>> reasons_text({"guidance pass": 20})
    'guidance pass (20 times)'
    """
    return "; ".join(f"{reason} ({count} times)" for reason, count in skipped.items())
