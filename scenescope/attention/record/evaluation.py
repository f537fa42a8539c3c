"""What one evaluation of the model showed, on its way to the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ...host_copies import Incoming
from .recording import Address, AttentionMap, Projection

Value = TypeVar("Value")


@dataclass(frozen=True)
class Coming(Generic[Value]):
    """A map, or a query with its key, whose tensors are on their way.

    Args:
        parts: the tensors by the names of the value's fields.
        build: makes the value from these names, and what else is given to `get`.
    """

    parts: Mapping[str, Incoming]
    build: Callable[..., Value]

    @property
    def at_hand(self) -> bool:
        """Whether it has already arrived."""
        return all(part.at_hand for part in self.parts.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(part.nbytes for part in self.parts.values())

    def get(self, **more: object) -> Value:
        """The value, waited for."""
        return self.build(**{name: part.get() for name, part in self.parts.items()}, **more)


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
        maps = {replace(at, step=step, evaluation=evaluation): item for at, item in self.maps.items()}
        pairs = {replace(at, step=step, evaluation=evaluation): item for at, item in self.projections.items()}
        return Evaluation(maps, pairs if queries else {}, self.skipped)


def reasons_text(skipped: Mapping[str, int]) -> str:
    """Write reasons and their counts for a person.

    >>> reasons_text({"guidance pass": 20})
    'guidance pass (20 times)'
    """
    return "; ".join(f"{reason} ({count} times)" for reason, count in skipped.items())
