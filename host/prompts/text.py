"""The host's CLIP: prompts whose conditioning remembers its words."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from ...scenescope.attention.words.byte_pairs import ends_word, piece_bytes
from ...scenescope.attention.words.prompt import EMBEDDING, Syntax
from ...scenescope.attention.words.tokenisation import Codec, read_tokens
from ...scenescope.attention.words.tokens import TokenTable, agreed, chained
from ...scenescope.errors import HostError
from .chunks import Chunks, Source, TracedChunks, name_of_vectors, parts_of, remember_vector

TOKENS_KEY = "scenescope_tokens"
LEARNED_ATTRIBUTE = "scenescope_learned"

_STACKED = {"g", "l"}  # SDXL: both encoders give every column

_HOST_CLIP: Any = object  # the class of the traced CLIP comes second


def trace_words(clip: Any) -> Any:
    """Make a CLIP whose conditionings carry their words.

    The clone is an instance of a class derived from the CLIP's own, so every method of another pack's CLIP still runs,
    and clones of it (LoRA loaders, CLIP Set Last Layer) go on tracing.

    Args:
        clip: the user's; stays as it is.

    Returns:
        A traced clone. Conditionings that it makes hold a TokenTable under `scenescope_tokens`, where the encoder can
        be read (SD1.5, SD2, SDXL); others stay as they are.
    """
    if not can_trace(clip):
        logging.warning("SceneScope: Trace Words cannot read this text encoder; its conditionings carry no words.")
    return _traced(clip.clone())


def can_trace(clip: Any) -> bool:
    """Whether the text encoder's columns are CLIP tokens (SD1.5, SD2, SDXL), rather than T5's or several in a row."""
    return _codecs(clip, clip.tokenize("")) is not None


def table_from_prompt(clip: Any, prompt: str) -> TokenTable:
    """Name the columns that a prompt has with this CLIP, for conditionings that carry no table.

    Args:
        clip: any CLIP.
        prompt: as it was typed.

    Returns:
        The table.

    Raises:
        HostError: the encoder is not one that can be read.
    """
    tokens = _tokenize(clip, prompt)
    table = table_of(clip, tokens, prompts=dict.fromkeys(tokens, prompt))
    if table is None:
        raise HostError(
            f"Words: this text encoder produces tokens for {', '.join(tokens)}; only the CLIP tokens of SD1.5, SD2 and "
            "SDXL can be read. Use a CLIP from such a checkpoint."
        )
    return table


def table_of(clip: Any, tokens: Mapping[str, Chunks], prompts: Mapping[str, str | None]) -> TokenTable | None:
    """Name the columns of tokens.

    Args:
        clip: whose tokens they are.
        tokens: encoder -> chunks of (id or vector, weight) or (id or vector, weight, word id).
        prompts: encoder -> the text, None where it is not known.

    Returns:
        The table, or None for an encoder that cannot be read.
    """
    codecs = _codecs(clip, tokens)
    if codecs is None:
        return None
    return agreed(read_tokens(prompts.get(key), tokens[key], codecs[key]) for key in sorted(codecs, reverse=True))


class _Tracing(_HOST_CLIP):
    """What a traced CLIP adds to its own class."""

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        return _traced(super().clone(*args, **kwargs))

    def tokenize(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Any:
        plain = super().tokenize(text, return_word_ids, **kwargs)
        if _codecs(self, plain) is None:
            return plain
        numbered = plain if return_word_ids else super().tokenize(text, True, **kwargs)
        traced = {key: TracedChunks(chunks, Source(text, numbered[key])) for key, chunks in plain.items()}
        _remember_vectors(self, traced)
        return traced

    def encode_from_tokens(self, tokens: Any, return_pooled: Any = False, return_dict: bool = False) -> Any:
        encoded = super().encode_from_tokens(tokens, return_pooled=return_pooled, return_dict=return_dict)
        if return_dict:
            _mark(self, tokens, encoded["cond"], encoded)
        return encoded

    def encode_from_tokens_scheduled(self, tokens: Any, *args: Any, **kwargs: Any) -> Any:
        conditioning = super().encode_from_tokens_scheduled(tokens, *args, **kwargs)
        for columns, options in conditioning:
            _mark(self, tokens, columns, options)
        return conditioning


def _traced(clip: Any) -> Any:
    """Give a fresh clone the tracing class."""
    if not isinstance(clip, _Tracing):
        own: Any = type(clip)
        clip.__class__ = _tracing_class(own)
    return clip


@lru_cache(maxsize=64)
def _tracing_class(base: Any) -> Any:
    return type(f"Traced{base.__name__}", (_Tracing, base), {})


def _mark(clip: Any, tokens: Any, columns: torch.Tensor, options: dict[str, Any]) -> None:
    """Put the table into a conditioning's dictionary, if it has as many columns."""
    table = _table_of_parts(clip, tokens)
    if table is not None and len(table.tokens) == columns.shape[1]:
        options[TOKENS_KEY] = table


def _table_of_parts(clip: Any, tokens: Any) -> TokenTable | None:
    """Name the columns of tokens, each chunk by its own prompt; None for an encoder that cannot be read."""
    codecs = _codecs(clip, tokens)
    if codecs is None:
        return None
    tables = []
    for key in sorted(codecs, reverse=True):
        parts = [(prompt, _as_encoded(clip, key, chunks)) for prompt, chunks in parts_of(tokens[key])]
        tables.append(chained(read_tokens(prompt, chunks, codecs[key]) for prompt, chunks in parts))
    return agreed(tables)


def _remember_vectors(clip: Any, tokens: Mapping[str, Chunks]) -> None:
    """Note which embedding each vector belongs to, for tokens that another node takes apart."""
    every = (value for chunks in tokens.values() for chunk in chunks for value, *_ in chunk)
    if not any(isinstance(value, torch.Tensor) for value in every):
        return
    for key, codec in (_codecs(clip, tokens) or {}).items():
        for prompt, chunks in parts_of(tokens[key]):
            flat = [
                value
                for chunk in chunks
                for value, *_ in chunk
                for _ in range(len(value) if isinstance(value, torch.Tensor) and value.ndim == 2 else 1)
            ]
            table = read_tokens(prompt, chunks, codec)
            for value, token in zip(flat, table.tokens, strict=False):
                if isinstance(value, torch.Tensor) and token.kind == "embedding":
                    remember_vector(value, token.text)


def _tokenize(clip: Any, prompt: str) -> dict[str, Chunks]:
    """Tokens with word ids, as they are encoded."""
    tokens = clip.tokenize(prompt, return_word_ids=True)
    return {key: _as_encoded(clip, key, chunks) for key, chunks in tokens.items()}


def _as_encoded(clip: Any, key: str, chunks: Chunks) -> Chunks:
    """Put padding at the end for vectors of another width, which the encoder drops.

    Source: host contract, ComfyUI 0.33 `sd1_clip.SDClipModel.process_tokens`.
    """
    width, pad = _width(clip, key), getattr(_part(clip.tokenizer, key), "pad_token", 0)
    if width is None:
        return chunks
    found = []
    for chunk in chunks:
        dropped = [given[0] for given in chunk if _vector_width(given[0]) not in (None, width)]
        kept = [given for given in chunk if _vector_width(given[0]) in (None, width)]
        padding = sum(value.shape[0] if value.ndim == 2 else 1 for value in dropped)
        found.append(kept + [(pad, 1.0, 0)] * padding if dropped else chunk)
    return found


def _vector_width(value: Any) -> int | None:
    return int(value.shape[-1]) if isinstance(value, torch.Tensor) else None


def _width(clip: Any, key: str) -> int | None:
    encoder = _part(getattr(clip, "cond_stage_model", None), key)
    transformer = getattr(encoder, "transformer", None)
    if transformer is None:
        return None
    return int(transformer.get_input_embeddings().weight.shape[-1])


def _part(whole: Any, key: str) -> Any:
    """The encoder's own tokenizer or model (host contract: `clip_l`, `clip_g`, or named by the attribute `clip`)."""
    return getattr(whole, f"clip_{key}", None) or getattr(whole, str(getattr(whole, "clip", "")), None)


def _codecs(clip: Any, tokens: Any) -> dict[str, Codec] | None:
    """A codec for each encoder, None where columns are not CLIP tokens."""
    if not isinstance(tokens, Mapping) or not (len(tokens) == 1 or set(tokens) == _STACKED):
        return None
    codecs = {key: _codec(clip, _part(clip.tokenizer, key)) for key in tokens}
    return codecs if all(codecs.values()) else None  # type: ignore[return-value]


def _codec(clip: Any, tokenizer: Any) -> Codec | None:
    vocabulary = getattr(tokenizer, "inv_vocab", None)
    start, end = getattr(tokenizer, "start_token", None), getattr(tokenizer, "end_token", None)
    if not vocabulary or start is None or end is None or not any(map(ends_word, vocabulary.values())):
        return None

    def known(name: str) -> bool:
        if not name:
            return False
        escaped = name.replace("(", "\\(").replace(")", "\\)")
        chunks = tokenizer.tokenize_with_weights(f"{EMBEDDING}{escaped}")
        return any(isinstance(given[0], torch.Tensor) for chunk in chunks for given in chunk)

    learned = getattr(clip.tokenizer, LEARNED_ATTRIBUTE, {})
    syntax = Syntax(tokenizer.embedding_directory is not None, known, learned)
    return Codec(lambda token: piece_bytes(vocabulary.get(token, "")), start, end, syntax, name_of_vectors)
