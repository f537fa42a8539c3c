"""Many pictures in one sampling call, each with a prompt and acts of its own: small ones cost much less together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pack.scenescope.attention.act.acts import Act, BiasOf, Instruction, LayerWrite, ModelCall, Replacement
from pack.scenescope.attention.record.budget import RunSpec
from pack.scenescope.attention.record.layers import AttentionLayer
from pack.scenescope.attention.record.recording import Entry, Recording
from pack.scenescope.attention.record.scores import OuterBias
from pack.scenescope.attention.record.selection import POSITIVE
from pack.scenescope.attention.words.tokens import TokenTable
from pack.scenescope.dims import Grid
from torch import Tensor


@dataclass(frozen=True)
class Pose:
    """One picture of a crowd.

    Args:
        prompt: its own.
        noise: number of its noise; the same number is the same noise in every crowd of that seed.
        acts: what acts on it alone.
    """

    prompt: str
    noise: int
    acts: tuple[Instruction, ...] = ()


@dataclass(frozen=True, eq=False)
class Crowd:
    """The acts of all pictures of a batch, as one instruction.

    Args:
        tables: the words of each picture's positive prompt.
        acts: what acts on each.
    """

    tables: Sequence[TokenTable]
    acts: Sequence[Sequence[Instruction]]
    who: ClassVar[str] = "Crowd"

    def begin(self, run: RunSpec) -> CrowdAct:
        """Begin each picture's acts as in a run of that picture alone."""
        each = []
        for table, instructions in zip(self.tables, self.acts, strict=True):
            entries = tuple(replace(entry, table=table) if entry.branch == POSITIVE else entry for entry in run.entries)
            each.append([own.begin(replace(run, images=1, entries=entries)) for own in instructions])
        return CrowdAct(each)


class CrowdAct(Act):
    """The acts of all pictures at work; each sees and writes its own rows, of an entry's the n-th for the n-th picture.

    Args:
        each: the acts of each picture.
    """

    def __init__(self, each: Sequence[Sequence[Act]]) -> None:
        self._each = each
        self._biases: dict[tuple[tuple[int, ...], ...], _CrowdBias] = {}

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """What the pictures' acts write, joined."""
        single = replace(call, images=1)
        writes = [[w for act in acts if (w := act.write(layer, single)) is not None] for acts in self._each]
        if not any(writes):
            return None
        return LayerWrite(
            query=_joined(writes, "query"),
            key=_joined(writes, "key"),
            bias=self._bias(writes, "bias"),
            self_bias=self._bias(writes, "self_bias"),
        )

    def _bias(self, writes: Sequence[Sequence[LayerWrite]], part: str) -> Any:
        """The same object for the same biases: the host's writers remember what it gave."""
        own = [[bias for write in each if (bias := getattr(write, part)) is not None] for each in writes]
        if not any(own):
            return None
        return self._biases.setdefault(tuple(tuple(map(id, each)) for each in own), _CrowdBias(own))

    def watches(self, layer: AttentionLayer, call: ModelCall) -> bool:
        """Whether one of them looks."""
        single = replace(call, images=1)
        return any(act.watches(layer, single) for acts in self._each for act in acts)

    def see(self, layer: AttentionLayer, query: Tensor, key: Tensor, grid: Grid, call: ModelCall, bias: BiasOf) -> None:
        """Let each look at its own rows."""
        single, every = replace(call, images=1), call.images
        for image, acts in enumerate(self._each):
            for act in acts:
                if act.watches(layer, single):
                    act.see(layer, query[image::every], key[image::every], grid, single, _of_image(bias, image))

    def gate(self, conditionings: Any, entries: Any, first: bool) -> Any:
        """An evaluation begins: regions that were followed in the one before are brought up to date."""
        for act in [act for acts in self._each for act in acts if first]:
            if settle := getattr(act, "settle", None):
                settle()
        return conditionings

    def finish(self, skipped: Mapping[str, int]) -> str:
        """Nothing may be left out in a measurement.

        Raises:
            RuntimeError: something could not be written.
        """
        if skipped:
            raise RuntimeError(f"A measurement was not steered as it should be: {dict(skipped)}")
        return "\n".join(act.finish({}) for acts in self._each for act in acts)


class _CrowdBias:
    """The biases of each picture, stacked; a picture without one has zeros."""

    def __init__(self, each: Sequence[Sequence[Any]]) -> None:
        self._each: Sequence[Sequence[Any]] = each

    def on(self, grid: Grid, entry: Entry) -> Tensor | None:
        """(image 1|head query token)."""
        sums = [_sum([part for bias in own if (part := bias.on(grid, entry)) is not None]) for own in self._each]
        found = [part for part in sums if part is not None]
        if not found:
            return None
        heads = max(part.shape[1] for part in found)
        return torch.cat(
            [
                torch.zeros(1, heads, grid.cells, entry.tokens) if part is None else part.expand(-1, heads, -1, -1)
                for part in sums
            ]
        )

    def factors(self, grid: Grid, entry: Entry) -> OuterBias | None:
        """(image query rank), the ranks of the others filled up with zeros."""
        found = [[f for bias in own if (f := bias.factors(grid, entry)) is not None] for own in self._each]
        rank = max((sum(part.query.shape[-1] for part in own) for own in found), default=0)
        if not rank:
            return None

        def stacked(name: str) -> Tensor:
            rows = torch.zeros(len(found), grid.cells, rank)
            for row, own in zip(rows, found, strict=True):
                joined = torch.cat([getattr(part, name)[0] for part in own], dim=-1) if own else row[:, :0]
                row[:, : joined.shape[-1]] = joined
            return rows

        return OuterBias(stacked("query"), stacked("key"))


def _sum(parts: Sequence[Tensor]) -> Tensor | None:
    return sum(parts[1:], start=parts[0]) if parts else None


def _joined(writes: Sequence[Sequence[LayerWrite]], part: str) -> Replacement | None:
    own = [[r for write in each if (r := getattr(write, part)) is not None] for each in writes]
    if not any(own):
        return None

    def replaced(given: Tensor, grid: Grid) -> Tensor:
        written = given.clone()
        for image, replacements in enumerate(own):
            for replacement in replacements:
                written[image :: len(own)] = replacement(written[image :: len(own)], grid)
        return written

    return replaced


def _of_image(bias: BiasOf, image: int) -> BiasOf:
    def own(position: int) -> Tensor | OuterBias | None:
        found = bias(position)
        return found[image : image + 1] if isinstance(found, Tensor) and len(found) > 1 else found

    return own


def alone(recording: Recording, image: int, table: TokenTable) -> Recording:
    """One picture of a batch's recording, as if it had been sampled alone.

    Args:
        recording: of a batch.
        image: which one.
        table: of its prompt.
    """
    own = slice(image, image + 1)
    projections = {
        at: replace(
            item,
            **{
                name: None if (part := getattr(item, name)) is None else part[own]
                for name in ("query", "key", "query_scale", "key_scale")
            },
        )
        for at, item in recording.projections.items()
    }
    return replace(
        recording,
        maps=tuple(replace(item, maps=item.maps[own]) for item in recording.maps),
        projections=projections,
        entries=tuple(replace(e, table=table) if e.branch == POSITIVE else e for e in recording.entries),
        images=1,
        contexts={},
    )
