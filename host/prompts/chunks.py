"""A prompt's tokens, chunk by chunk, which remember their prompt; and the embedding that a vector belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...scenescope.attention.words.tokenisation import WeightedToken

Chunks = list[list[WeightedToken]]

_MOST_NAMES = 4096
_vector_names: dict[bytes, str] = {}


@dataclass(frozen=True, eq=False)
class Source:
    """A prompt, and its chunks as the tokenizer made them, with their word ids."""

    prompt: str
    numbered: Chunks


class TracedChunk(list[WeightedToken]):
    """One chunk of a prompt's tokens, which remembers its prompt.

    Nodes put chunks of several prompts together (CLIP Text Encode SDXL, BREAK of other packs) and write other word ids
    into them; what a chunk stands for goes with it.
    """

    def __init__(self, chunk: list[WeightedToken], source: Source, place: int) -> None:
        super().__init__(chunk)
        self.source, self.place = source, place

    def numbered(self) -> list[WeightedToken] | None:
        """The chunk with its own word ids; None where its tokens are no longer those of the prompt."""
        known = self.source.numbered[self.place]
        if not _same_chunk(self, known):
            return None
        return [(value, weight, group) for (value, weight, *_), (*_, group) in zip(self, known, strict=True)]


class TracedChunks(list[list[WeightedToken]]):
    """One encoder's tokens, which remember their prompt even if another node replaced chunks in place."""

    def __init__(self, chunks: Chunks, source: Source) -> None:
        super().__init__(TracedChunk(chunk, source, place) for place, chunk in enumerate(chunks))
        self.source = source


def parts_of(chunks: Chunks) -> list[tuple[str | None, Chunks]]:
    """The prompts that one encoder's chunks came from, in order, each with its chunks; None where that is not known."""
    if isinstance(chunks, TracedChunks) and len(chunks) == len(chunks.source.numbered):
        numbered = [chunk.numbered() if isinstance(chunk, TracedChunk) else None for chunk in chunks]
        whole = all(part is not None for part in numbered)
        return [(chunks.source.prompt, [part for part in numbered if part is not None] if whole else chunks)]
    parts: list[tuple[str | None, Chunks]] = []
    at = 0
    while at < len(chunks):
        first = chunks[at]
        source = first.source if isinstance(first, TracedChunk) else None
        length = len(source.numbered) if source is not None else 1
        run = chunks[at : at + length]
        if source is not None and _is_whole(run, source):
            parts.append((source.prompt, [chunk.numbered() for chunk in run]))  # type: ignore[attr-defined]
            at += length
        else:
            parts.append((None, [list(first)]))
            at += 1
    return parts


def _is_whole(run: Chunks, source: Source) -> bool:
    """Whether these are all chunks of a prompt, in order and unchanged."""
    return len(run) == len(source.numbered) and all(
        isinstance(chunk, TracedChunk)
        and chunk.source is source
        and chunk.place == place
        and chunk.numbered() is not None
        for place, chunk in enumerate(run)
    )


def remember_vector(vector: torch.Tensor, name: str) -> None:
    """Note which embedding a vector belongs to, for tokens that another node takes apart."""
    _vector_names[_content(vector)] = name
    for old in list(_vector_names)[:-_MOST_NAMES]:
        del _vector_names[old]


def name_of_vectors(vectors: Sequence[torch.Tensor]) -> str | None:
    """The name under which these vectors came out of a traced CLIP's prompt."""
    names = {_vector_names.get(_content(vector)) for vector in vectors}
    return names.pop() if len(names) == 1 else None


def _content(vector: torch.Tensor) -> bytes:
    held = vector.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(held, digest_size=16).digest()


def _same_chunk(one: list[WeightedToken], other: list[WeightedToken]) -> bool:
    return len(one) == len(other) and all(_same_value(a[0], b[0]) for a, b in zip(one, other, strict=True))


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):  # the host reads a file at each mention
        return one is other or torch.equal(one, other)
    return one is other or (isinstance(one, int) and one == other)
