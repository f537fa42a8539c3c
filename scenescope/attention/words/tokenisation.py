"""From a tokenizer's output to a table of words: every column is named as the user wrote it, or called unknown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from .prompt import Syntax, Text, Vectors, read_prompt
from .tokens import Token, TokenKind, TokenTable

_SEPARATORS = "\x1c\x1d\x1e\x1f"  # white space for Python, not for the tokenizer
_WORDS = re.compile(rf"[^\W_]+(?:['’][^\W_]+)*|(?:[^\w\s]|[_{_SEPARATORS}])+")
_NAMELESS = "embedding"

WeightedToken = tuple[Any, ...]  # (id or vector, weight) or (id or vector, weight, group)


@dataclass(frozen=True)
class Codec:
    """What has to be known about a tokenizer.

    Args:
        piece: the UTF-8 bytes that an id stands for; a space at the end where the piece ends a word.
        start: the id that opens a chunk.
        end: the id that closes the text of a chunk; padding may have the same id.
        syntax: what the tokenizer understands besides words.
        named: the name of an embedding by its vectors, None where it is not known; for tokens without their prompt.
    """

    piece: Callable[[int], bytes]
    start: int
    end: int
    syntax: Syntax = field(default_factory=Syntax)
    named: Callable[[Sequence[Tensor]], str | None] = lambda vectors: None


@dataclass(frozen=True)
class _Column:
    """A token before it has a name; `group` tells neighbours apart where the tokenizer gave one."""

    token: Token
    id: Any
    group: int | None


@dataclass(frozen=True)
class _Name:
    text: str
    word: int
    vector: int = 0
    vectors: int = 1


def read_tokens(prompt: str | None, chunks: Sequence[Sequence[WeightedToken]], codec: Codec) -> TokenTable:
    """Name every column of a prompt.

    The prompt is taken apart as the host does it and matched with the tokens, byte by byte. If they do not match, or
    the prompt is not known, words are decoded from the tokens: in lower case, and embeddings without a name.

    Source: host contract, ComfyUI 0.33 `sd1_clip.SDTokenizer.tokenize_with_weights`.

    Args:
        prompt: as it was typed, None where it is not known.
        chunks: for each chunk its tokens: (id or vector, weight), and a group number where the host gave one, 0 for
            start, end and padding.
        codec: the tokenizer.

    Returns:
        One token for each column.

    >>> pieces = {1: b"a ", 2: b"c", 3: b"at "}
    >>> chunk = [(8, 1.0, 0), (1, 1.0, 1), (2, 1.2, 2), (3, 1.2, 2), (9, 1.0, 0), (9, 1.0, 0)]
    >>> table = read_tokens("A (Cat:1.2)", [chunk], Codec(pieces.__getitem__, start=8, end=9))
    >>> [(word.text, word.columns, word.weight) for word in table.words()]
    [('A', (1,), 1.0), ('Cat', (2, 3), 1.2)]
    >>> [token.kind for token in table.tokens]
    ['start', 'text', 'text', 'text', 'end', 'padding']
    """
    columns = list(_columns(chunks, codec))
    content = [column for column in columns if column.token.kind in ("text", "embedding")]
    names = _names(prompt, content, codec)
    named = dict(zip((column.token.column for column in content), names, strict=True))
    tokens = tuple(_with_name(column.token, named.get(column.token.column)) for column in columns)
    decoded = "".join(name.text for name in names)
    return TokenTable(decoded if prompt is None else prompt, tokens)


def _columns(chunks: Sequence[Sequence[WeightedToken]], codec: Codec) -> Iterator[_Column]:
    column = 0
    for chunk, given in enumerate(chunks):
        ended = False
        for position, (value, weight, *rest) in enumerate(_one_vector_each(given)):
            group = int(rest[0]) if rest else None
            kind = _kind(value, group, opening=position == 0, ended=ended, codec=codec)
            ended = ended or kind == "end"
            yield _Column(Token(column, chunk, position, kind, "", None, float(weight)), value, group or None)
            column += 1


def _one_vector_each(given: Iterable[WeightedToken]) -> Iterator[WeightedToken]:
    """Host contract, `sd1_clip.SDClipModel.process_tokens`: a token of several vectors takes as many columns."""
    for value, *rest in given:
        several = value.shape[0] if isinstance(value, Tensor) and value.ndim == 2 else 1
        for _ in range(several):
            yield (value, *rest)


def _kind(value: Any, group: int | None, *, opening: bool, ended: bool, codec: Codec) -> TokenKind:
    if not isinstance(value, Integral):
        return "padding" if ended else "embedding"
    if opening and value == codec.start and not group:
        return "start"
    if group or (group is None and not ended and value != codec.end):
        return "text"
    return "padding" if ended or value != codec.end else "end"


def _with_name(token: Token, name: _Name | None) -> Token:
    if name is None:
        return token
    return replace(token, text=name.text, word=name.word, vector=name.vector, vectors=name.vectors)


def _names(prompt: str | None, content: list[_Column], codec: Codec) -> list[_Name]:
    """The first reading that fits: all embeddings there, only the known ones, or decoded without the prompt."""
    if prompt is not None:
        for syntax in (replace(codec.syntax, known=bool), codec.syntax):
            names = _lay_beside(content, read_prompt(prompt, syntax), codec)
            if names is not None:
                return names
    return _decode(content, codec)


def _lay_beside(content: list[_Column], parts: Sequence[Text | Vectors], codec: Codec) -> list[_Name] | None:
    """A name for every token, or None where prompt and tokens do not say the same."""
    names: list[_Name] = []
    words = 0
    for part in parts:
        rest = content[len(names) :]
        if isinstance(part, Vectors):
            found = _name_vectors(rest, part, words)
            words += 1
        else:
            cells, words = _spell(part.text, words)
            found = _name_pieces(rest, cells, codec)
        if found is None:
            return None
        names += found
    return names if len(names) == len(content) else None


def _name_vectors(content: list[_Column], part: Vectors, word: int) -> list[_Name] | None:
    count = part.count if part.count is not None else _same_group(content)
    vectors = [column for column in content[:count] if column.token.kind == "embedding"]
    if not count or len(vectors) < count:
        return None
    following = content[count : count + 1]
    if following and following[0].group is not None and following[0].group == vectors[-1].group:
        return None  # a name never takes a part of another one's vectors
    return [_Name(part.name, word, vector, count) for vector in range(count)]


def _same_group(content: list[_Column]) -> int:
    """How many vectors at the front belong together."""
    count = 0
    for column in content:
        if column.token.kind != "embedding" or column.group != content[0].group:
            break
        count += 1
    return count


@dataclass(frozen=True)
class _Cell:
    """A character, the bytes by which the tokenizer spells it, and its word."""

    character: str
    spelling: bytes
    word: int


def _spell(text: str, first_word: int) -> tuple[list[_Cell], int]:
    """Spell a text as the tokenizer does: composed, in lower case letter by letter, without white space."""
    cells, word = [], first_word
    for match in _WORDS.finditer(unicodedata.normalize("NFC", text)):
        cells += [_Cell(letter, letter.lower().encode("utf-8", "surrogateescape"), word) for letter in match.group()]
        word += 1
    return cells, word


def _name_pieces(content: list[_Column], cells: list[_Cell], codec: Codec) -> list[_Name] | None:
    """Give each token the characters that begin in it; its word is that of its first byte."""
    spelt = b"".join(cell.spelling for cell in cells)
    owners = [cell for cell in cells for _ in cell.spelling]
    begins = [index == 0 for cell in cells for index in range(len(cell.spelling))]
    names: list[_Name] = []
    at = 0
    for column in content:
        if at == len(spelt):
            break
        piece = b"" if column.token.kind == "embedding" else codec.piece(column.id).removesuffix(b" ")
        until = at + len(piece)
        if not piece or spelt[at:until] != piece:
            return None
        text = "".join(owners[index].character for index in range(at, until) if begins[index])
        names.append(_Name(text, owners[at].word))
        at = until
    return names if at == len(spelt) else None


def _decode(content: list[_Column], codec: Codec) -> list[_Name]:
    """Words by the tokenizer's own word ends; vectors that belong together are one word, named by what they hold."""
    names: list[_Name] = []
    nameless: list[list[Any]] = []
    word = 0
    while len(names) < len(content):
        rest = content[len(names) :]
        count = _same_group(rest) if rest[0].token.kind == "embedding" else 0
        vectors = [column.id for column in rest[:count]]
        name = _name_of(vectors, nameless, codec) if vectors else ""
        names += [_Name(name, word, vector, count) for vector in range(count)] or _decode_word(rest, word, codec)
        word += 1
    return names


def _name_of(vectors: list[Any], nameless: list[list[Any]], codec: Codec) -> str:
    """An embedding's name; where it is not known a number tells it from others, so that two are never one."""
    tensors = [vector for vector in vectors if isinstance(vector, Tensor)]
    if len(tensors) == len(vectors) and (known := codec.named(tensors)) is not None:
        return known
    number = next((at for at, other in enumerate(nameless) if _same_vectors(vectors, other)), len(nameless))
    if number == len(nameless):
        nameless.append(vectors)
    return _NAMELESS if number == 0 else f"{_NAMELESS} {number + 1}"


def _same_vectors(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(
        one is other or (isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other))
        for one, other in zip(ones, others, strict=True)
    )


def _decode_word(content: list[_Column], word: int, codec: Codec) -> list[_Name]:
    pieces: list[bytes] = []
    for column in content:
        if column.token.kind == "embedding":
            break
        pieces.append(codec.piece(column.id))
        if pieces[-1].endswith(b" "):
            break
    text = b"".join(pieces).removesuffix(b" ").decode("utf-8", "surrogateescape")
    owners = [letter if index == 0 else "" for letter in text for index in range(len(_bytes_of(letter)))]
    ends = [sum(len(piece.removesuffix(b" ")) for piece in pieces[: index + 1]) for index in range(len(pieces))]
    return [
        _Name("".join(owners[begin:end]).encode("utf-8", "replace").decode(), word)
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


def _bytes_of(letter: str) -> bytes:
    return letter.encode("utf-8", "surrogateescape")
