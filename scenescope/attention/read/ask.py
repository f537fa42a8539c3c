"""Ask a finished run about words that were not in its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from ...errors import InputError, RecordingError
from ..record.recording import Address, AttentionMap, Entry, Projection, Recording
from ..record.reducers import Unreduced, reduce_heads
from ..record.scores import attention_in_chunks
from ..record.selection import POSITIVE, Branch, Heads
from ..words.tokens import Token, TokenTable

ASKED, ASKED_FROM = "asked", "asked_from"
"""Keys of `Recording.about`: the words that were asked for, and the first column that was not in the prompt."""


@dataclass(frozen=True)
class Question:
    """Words to ask for, as each block sees them.

    Args:
        keys: by block name, (1 token head*channel): what the block's `to_k` makes of the new tokens.
        tokens: one for each of these, in order.
        branch: the conditioning whose prompt they are asked beside.
        over_time: the keys by step and evaluation, for a run in which they changed; empty where `keys` are those of
            all.
    """

    keys: Mapping[str, Tensor]
    tokens: tuple[Token, ...]
    branch: Branch = POSITIVE
    over_time: Mapping[tuple[int, int], Mapping[str, Tensor]] = field(default_factory=dict)

    def keys_at(self, at: Address) -> Tensor | None:
        """The new tokens' keys (1 token head*channel) where and when a map was made."""
        return self.over_time.get((at.step, at.evaluation), self.keys).get(at.block)

    @property
    def text(self) -> str:
        """The words, one after the other."""
        return " ".join(word.text for word in TokenTable("", self.tokens).words())


def ask(recording: Recording, question: Question) -> Recording:
    """Answer for new words as if they had been keys in that run, without sampling again.

    Source: OVAM (Marcos-Manchon et al. 2024) keeps queries and asks them again. Here the new keys stand beside the
    prompt's own in one softmax, so the answer is exactly the attention that the layer would have computed, were the
    words appended to its keys. It is not the attention of a run with the longer prompt: the picture was made without
    the words.

    Args:
        recording: what a run left, with its queries.
        question: the words' keys.

    Returns:
        The recording with a column more for each new token in the cross-attention of the branch. The columns are named
        in the entries' tables, and `about` says that they were asked for; maps whose queries were not kept are dropped
        and counted under `skipped`.

    Raises:
        RecordingError: no queries of the branch were kept.
        InputError: a block has no new keys, or they do not fit.
    """
    kept = {at: item for at, item in recording.projections.items() if _concerns(at, question)}
    if not kept:
        raise RecordingError(
            f"Ask Again: the recording has no queries of the {question.branch} branch. Switch on keep_queries in "
            "Record Attention, and sample again."
        )
    _check(question, kept)
    answered = [_answer(at, item, question, recording) for at, item in kept.items()]
    others = [item for item in recording.maps if (item.address.branch, item.address.kind) != (question.branch, "cross")]
    lost = len(recording.maps) - len(others) - sum(item.address in kept for item in recording.maps)
    skipped = dict(recording.skipped) | ({"the queries were not kept, so nothing could be asked": lost} if lost else {})
    about = dict(recording.about)
    about[ASKED] = f"{about[ASKED]} {question.text}" if ASKED in about else question.text
    about.setdefault(ASKED_FROM, min(item.key.shape[1] for item in kept.values()))
    return replace(
        recording,
        maps=tuple(sorted([*others, *answered], key=lambda item: item.address)),
        entries=tuple(_extended(entry, question) for entry in recording.entries),
        projections=MappingProxyType({at: _longer(at, item, question) for at, item in recording.projections.items()}),
        skipped=MappingProxyType(skipped),
        about=MappingProxyType(about),
    )


def asked_columns(recording: Recording, columns: Sequence[int]) -> bool:
    """Whether these columns were asked for after the run, rather than in its prompt."""
    start = recording.about.get(ASKED_FROM)
    return isinstance(start, int) and min(columns) >= start


def _answer(at: Address, item: Projection, question: Question, recording: Recording) -> AttentionMap:
    key = _longer(at, item, question).keys  # (image token+new head*channel)
    heads: Heads = recording.selection.heads
    whole = Unreduced(item.query.shape[1], recording.selection.precision)
    for rows, maps in attention_in_chunks(item.queries, key, item.heads):
        whole.add(rows, reduce_heads(maps, heads))
    return AttentionMap(at, whole.result(), item.heads, item.query_grid)


def _longer(at: Address, item: Projection, question: Question) -> Projection:
    if not _concerns(at, question):
        return item
    keys = item.keys
    made = question.keys_at(at)
    assert made is not None  # checked
    new = made.to(keys).expand(keys.shape[0], -1, -1)
    return replace(item, key=torch.cat([keys, new], dim=1), key_scale=None)


def _concerns(at: Address, question: Question) -> bool:
    return (at.branch, at.kind) == (question.branch, "cross")


def _extended(entry: Entry, question: Question) -> Entry:
    if entry.branch != question.branch:
        return entry
    table = entry.table or TokenTable("", tuple(_nameless(column) for column in range(entry.tokens)))
    words = 1 + max((token.word for token in table.tokens if token.word is not None), default=-1)
    chunk = 1 + max((token.chunk for token in table.tokens), default=-1)
    names = {word: words + index for index, word in enumerate(dict.fromkeys(token.word for token in question.tokens))}
    new = tuple(
        replace(token, column=entry.tokens + index, chunk=chunk, position=index, word=names[token.word])
        for index, token in enumerate(question.tokens)
    )
    prompt = f"{table.prompt} [asked later, not in the prompt: {question.text}]".strip()
    return replace(entry, tokens=entry.tokens + len(new), table=TokenTable(prompt, (*table.tokens, *new)))


def _nameless(column: int) -> Token:
    return Token(column, 0, column, "unknown", "", None)


def _check(question: Question, kept: Mapping[Address, Projection]) -> None:
    if not question.tokens or any(token.word is None for token in question.tokens):
        raise InputError("Ask Again: there are no words to ask about. Write some into the prompt.")
    for at, item in kept.items():
        new = question.keys_at(at)
        want = (1, len(question.tokens), item.key.shape[-1])
        if new is None or tuple(new.shape) != want:
            got = "missing" if new is None else " x ".join(map(str, new.shape))
            raise InputError(
                f"Ask Again: the new words' keys at {at.block} are {got}, but this run needs "
                f"{' x '.join(map(str, want))} (1, token, channel). Connect the MODEL that the maps were recorded with."
            )
