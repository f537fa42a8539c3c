"""Replaying: a run computes with an earlier run's queries and keys, so it looks where that run looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import local
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...dims import Grid
from ...errors import InputError, WordError
from ...host_copies import DeviceCopies
from ...resample import resize
from ..record.budget import RunSpec
from ..record.choices import choose_blocks
from ..record.evaluation import reasons_text
from ..record.layers import AttentionLayer, Kind
from ..record.recording import Entry, Projection, Recording
from ..record.reducers import Constants
from ..record.selection import POSITIVE, Branch
from ..words.tokens import TokenTable
from .acts import Act, LayerWrite, ModelCall, Replacement
from .align import Alignment, align_columns, align_prompts
from .blend import region_of_words
from .fit import check_fits, entry_pairs
from .place import mask_on
from .steer import columns_in
from .tape import Tape

Match = Literal["words", "columns"]
Part = Literal["query", "key"]


@dataclass(frozen=True)
class Playing:
    """What is played, and how strongly.

    Args:
        cross: share of the recorded schedule whose cross-attention is played.
        self_attention: the same for self-attention.
        strength: 1 plays the earlier queries and keys, 0 none; between them they are mixed with the run's own.
        blocks: `all`, places or block names, as `choose_blocks` reads them.
        branches: whose conditionings.
        match: by the prompts' `words`, or by the numbers of their `columns`.
        swaps: pairs of words of your own, `red > blue` on each line.
        words: of the new prompt, whose keys alone are played; empty for all.
        free: (height width) or (1|image height width) 0..1, of any size: a region that is free after `cross` and
            `self_attention`; all around it is played to the end of the tape. None for no such region.
        free_words: words whose region in the recorded run is free in the same way.
    """

    cross: float = 0.4
    self_attention: float = 0.0
    strength: float = 1.0
    blocks: str = "all"
    branches: tuple[Branch, ...] = (POSITIVE,)
    match: Match = "words"
    swaps: str = ""
    words: str = ""
    free: Tensor | None = None
    free_words: str = ""

    def __post_init__(self) -> None:
        for name, value in (
            ("cross_until", self.cross),
            ("self_until", self.self_attention),
            ("strength", self.strength),
        ):
            if not 0 <= value <= 1:
                raise InputError(f"Replay Attention: {name} is {value}, but it has to be between 0 and 1. Correct it.")

    @property
    def nothing(self) -> bool:
        """Whether it plays nothing at all."""
        return not self.strength or not (self.cross or self.self_attention)


@dataclass(frozen=True)
class Replay:
    """The instruction: play this recording.

    Source: prompt-to-prompt (Hertz et al. 2022) replaces probabilities of attention in a run beside the first one. Here
    queries and keys are replaced, so that new words keep keys of their own in one softmax, whose shares add up to 1,
    and any sampler, kernel and patch computes with them. Values are always the new run's.

    Args:
        recording: an earlier run, with its queries.
        playing: what to play.
    """

    recording: Recording
    playing: Playing = field(default_factory=Playing)
    who: ClassVar[str] = "Replay Attention"

    def begin(self, run: RunSpec) -> ReplayAct:
        """Check that the recording fits the run, and align the prompts.

        Raises:
            RecordingError: the queries were not kept, or not of all that is played.
            HostError: the run is of another U-Net.
            InputError: its size, pictures, or number of conditionings are others, or a block is named wrongly.
            WordError: a prompt's words are not known.
        """
        playing, recording = self.playing, self.recording
        check_fits(recording, run)
        until: dict[Kind, float] = {"cross": playing.cross, "self": playing.self_attention}
        tape = Tape(recording, until, playing.branches)
        pairs = [pair for branch in playing.branches for pair in entry_pairs(recording, run, branch)]
        aligned = _alignments(pairs, playing)
        free = _free(playing, run, recording, [(*pair, its) for pair, its in zip(pairs, aligned, strict=True)])
        named = {(target.branch, target.index): its for (_, target), its in zip(pairs, aligned, strict=True)}
        return ReplayAct(tape, playing, run, named, free)


class ReplayAct(Act):
    """A replay at work in one run.

    Args:
        tape: what is played.
        playing: how.
        run: the current run.
        aligned: by branch and index, where each column comes from.
        free: (1|image height width) 0..1 on the latent's grid, what is let go after the shares; None for nothing.
    """

    def __init__(
        self,
        tape: Tape,
        playing: Playing,
        run: RunSpec,
        aligned: Mapping[tuple[Branch, int], Alignment],
        free: Tensor | None = None,
    ) -> None:
        self._free = free
        self._tape, self._playing, self._aligned = tape, playing, aligned
        self._schedule = tape.schedule(run)
        self._cautions = tape.cautions(run)
        self._blocks = choose_blocks(playing.blocks, tape.recording.layers)
        self._played: dict[Kind, set[int]] = {"cross": set(), "self": set()}
        self._held = False
        self._constants = Constants()
        self._here = local()  # several GPUs ask at the same time, each in a thread of its own

    def write(self, layer: AttentionLayer, call: ModelCall) -> LayerWrite | None:
        """Play the layer's queries and keys where the tape has them."""
        if not call.first_pass or layer.block not in self._blocks or self._playing.nothing:
            return None
        moment = self._schedule.moment(call.step, call.evaluation)
        rest = moment[0] >= self._tape.until[layer.kind]
        if rest and (self._free is None or not self._tape.until[layer.kind]):
            return None
        frames = {
            position: frame
            for position, entry in enumerate(call.entries)
            if (entry.branch, entry.index) in self._aligned
            and (frame := self._tape.frame(layer, entry, moment)) is not None
        }
        if not frames:
            return None
        self._played[layer.kind].add(call.step)
        self._held |= rest
        copies = self._copies_of(call)
        copies.expect(tensor for frame in frames.values() for tensor in frame.tensors)
        queries, keys = self._queries(frames, call, copies, rest), self._keys(frames, call, copies, layer.kind, rest)
        return LayerWrite(query=queries, key=keys)

    def finish(self, skipped: Mapping[str, int]) -> str:
        """Say what was played."""
        steps = len(self._schedule.steps)
        played = {kind: len(steps) for kind, steps in self._played.items() if steps}
        told = " and ".join(f"{kind}-attention in {count} of {steps} steps" for kind, count in played.items())
        lines = [f"Replayed {told}." if told else f"Nothing was replayed.{self._too_late()}"]
        for (branch, index), alignment in self._aligned.items():
            where = f"{branch} {index}: " if len(self._aligned) > 1 else ""
            lines.append(f"{where}{alignment.describe()}")
        lines += [caution for caution in (self._schedule.caution, *self._cautions, self._too_short()) if caution]
        lines += [f"not replayed: {reasons_text(skipped)}"] if skipped else []
        return "\n".join(lines)

    def _too_late(self) -> str:
        """A sentence if the run begins with less noise than everything that is played, else empty."""
        if self._playing.nothing or min(self._schedule.steps) < max(self._tape.until.values()):
            return ""
        return (
            " This run begins with less noise than the recorded steps that are played. Raise cross_until, or the "
            "sampler's denoise."
        )

    def _too_short(self) -> str:
        """A sentence if the recording ends before the surroundings of a free region are held."""
        if self._free is None or not any(self._played.values()) or self._held:
            return ""
        return (
            "The recording has no steps after those that are played, so nothing is held around the free region. Record "
            "with queries_until 1 to hold it to the end."
        )

    def _copies_of(self, call: ModelCall) -> DeviceCopies:
        """What the layers of a call share: one upload in place of two for each."""
        if getattr(self._here, "call", None) is not call:
            self._here.call, self._here.copies = call, DeviceCopies()
        copies: DeviceCopies = self._here.copies
        return copies

    def _queries(
        self, frames: Mapping[int, Projection], call: ModelCall, copies: DeviceCopies, rest: bool
    ) -> Replacement:
        def replace(given: Tensor, grid: Grid) -> Tensor:
            for frame in frames.values():
                if frame.query_grid != grid:
                    raise ValueError(
                        f"the recorded queries have the grid {frame.query_grid}, and this layer has {grid}"
                    )
            played = {at: _like(frame, "query", given, copies) for at, frame in frames.items()}
            return self._replaced(given, grid, played, call, rest)

        return replace

    def _keys(
        self, frames: Mapping[int, Projection], call: ModelCall, copies: DeviceCopies, kind: Kind, rest: bool
    ) -> Replacement:
        def replace(given: Tensor, grid: Grid) -> Tensor:
            there = {at: _like(frame, "key", given, copies) for at, frame in frames.items()}
            if kind == "self":
                return self._replaced(given, grid, there, call, rest)
            written = given.clone()
            for position, recorded in there.items():
                new, old = self._columns(call.entries[position], given.device)
                # A longer prompt in the same call has this one repeated: each repeat is played alike.
                own = written[call.rows(position)].unflatten(1, (-1, call.entries[position].tokens))
                played = recorded[:, None, old]  # (image 1 token channel)
                own[:, :, new] = played if self._plainly else self._mixed(own[:, :, new], played, None)  # a view
            return written

        return replace

    def _replaced(self, given: Tensor, grid: Grid, played: Mapping[int, Tensor], call: ModelCall, rest: bool) -> Tensor:
        """Queries or keys with the rows of the entries that are played."""
        weight = self._weight(grid, given) if rest else None
        rows = []
        for position in range(len(call.entries)):
            own, recorded = given[call.rows(position)], played.get(position)
            rows.append(own if recorded is None else self._mixed(own, recorded, weight).expand_as(own))
        return torch.cat(rows)

    def _columns(self, entry: Entry, device: torch.device) -> tuple[Tensor, Tensor]:
        """Columns of the new prompt that are played, and of the old one that they come from, (column) each."""
        sources = self._aligned[entry.branch, entry.index].sources
        pairs = [(column, source) for column, source in enumerate(sources) if source is not None]
        like = torch.empty(0, dtype=torch.long, device=device)
        kept = self._constants.like(like, (entry.branch, entry.index), lambda: torch.tensor(pairs).view(-1, 2))
        return kept[:, 0], kept[:, 1]

    def _mixed(self, own: Tensor, played: Tensor, weight: Tensor | None) -> Tensor:
        """The earlier run's values, as far as strength and region say; exactly these at strength 1."""
        if weight is None:
            return played if self._plainly else torch.lerp(own, played.expand_as(own), self._playing.strength)
        return torch.lerp(own, played.expand_as(own), weight if self._plainly else self._playing.strength * weight)

    @property
    def _plainly(self) -> bool:
        return self._playing.strength == 1

    def _weight(self, grid: Grid, like: Tensor) -> Tensor:
        """(1|image query 1) how much is played around the free region."""
        free = self._free
        assert free is not None
        return self._constants.like(like, grid, lambda: (1 - resize(free, grid)).flatten(1)[..., None])


def _free(
    playing: Playing, run: RunSpec, recording: Recording, pairs: Sequence[tuple[Entry, Entry, Alignment]]
) -> Tensor | None:
    """(1|image height width) the mask and the words' region together, on the latent's grid."""
    regions = []
    if playing.free is not None:
        regions.append(mask_on(playing.free, run.latent, "Replay Attention"))
    if playing.free_words.strip() and pairs:
        regions.append(region_of_words(recording, *pairs[0], playing.free_words))
    for region in regions:
        if region.shape[0] not in (1, run.images):
            raise InputError(
                f"Replay Attention: free has {region.shape[0]} masks for {run.images} pictures. Connect a single mask, "
                "or one for each picture."
            )
    return torch.stack(torch.broadcast_tensors(*regions)).amax(dim=0) if regions else None


def _like(frame: Projection, part: Part, like: Tensor, copies: DeviceCopies) -> Tensor:
    """Recorded queries or keys on the device and in the type of the run's; sent as they are kept, which is smaller."""
    values, scale = (frame.query, frame.query_scale) if part == "query" else (frame.key, frame.key_scale)
    values = copies.take(values, like.device)
    return (values if scale is None else values * copies.take(scale, like.device)).to(like.dtype)


def _alignments(pairs: Sequence[tuple[Entry, Entry]], playing: Playing) -> list[Alignment]:
    """Where each column of each conditioning comes from, of the chosen words alone where some are chosen."""
    if playing.match == "columns":
        aligned = [align_columns(source.tokens, target.tokens) for source, target in pairs]
    else:
        tables = [(_table(source, "recorded"), _table(target, "new")) for source, target in pairs]
        aligned = align_prompts(tables, playing.swaps)
    if not playing.words.strip():
        return aligned
    chosen = [columns_in(target.table or TokenTable("", ()), playing.words) for _, target in pairs]
    if all(isinstance(columns, WordError) for columns in chosen):
        raise next(error for error in chosen if isinstance(error, WordError))
    return [
        alignment.only(() if isinstance(columns, WordError) else columns)
        for alignment, columns in zip(aligned, chosen, strict=True)
    ]


def _table(entry: Entry, run: str) -> TokenTable:
    if entry.table is None:
        raise WordError(
            f"Replay Attention: the {run} run's {entry.branch} conditioning doesn't carry its words. Put Trace Words "
            "between the CLIP and CLIP Text Encode, or set match to columns."
        )
    return entry.table
