"""The host's prompt syntax: weights in parentheses, escaped parentheses, embeddings by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EMBEDDING = "embedding:"

_ESCAPED = {"\\)": "\U000f0001", "\\(": "\U000f0002"}  # private characters, so that what is escaped groups nothing
_EMBEDDING_START = re.compile(r"(?<=\s)" + EMBEDDING)
_NAME_END = re.compile(r"[<\[]")
_LETTER = re.compile(r"\w")


@dataclass(frozen=True)
class Text:
    """A part of the prompt that is spelt in tokens.

    Args:
        text: without weights and escapes.
    """

    text: str


@dataclass(frozen=True)
class Vectors:
    """A part of the prompt that stands for vectors.

    Args:
        name: an embedding's name, or a learned token such as `<asset0>`.
        count: how many vectors, None where only the tokens tell.
    """

    name: str
    count: int | None = None


@dataclass(frozen=True)
class Syntax:
    """What a tokenizer understands besides words.

    Args:
        embeddings: whether it looks for `embedding:name`.
        known: whether an embedding of this name is there; the host leaves out the others.
        learned: names that are replaced by vectors wherever they stand, and how many vectors each.
    """

    embeddings: bool = True
    known: Callable[[str], bool] = bool
    learned: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def read_prompt(prompt: str, syntax: Syntax) -> tuple[Text | Vectors, ...]:
    """Take a prompt apart as the host does.

    Source: host contract, ComfyUI 0.33 `sd1_clip.SDTokenizer.tokenize_with_weights`.

    Args:
        prompt: as it was typed.
        syntax: what the tokenizer understands.

    Returns:
        Its parts in order. Weights are gone: the tokens carry them.

    >>> read_prompt("a (cat:1.2) by embedding:moss, ink", Syntax())
    (Text(text='a '), Text(text='cat'), Text(text=' by '), Vectors(name='moss', count=None), Text(text=',  ink'))
    """
    parts: list[Text | Vectors] = []
    for segment in segments(prompt):
        starts = [match.start() for match in _EMBEDDING_START.finditer(segment)]
        for begin, end in zip([0, *starts], [*starts, len(segment)], strict=True):
            parts += _read_part(segment[begin:end], syntax)
    return tuple(parts)


def learned_names(names: Iterable[str]) -> re.Pattern[str]:
    """What finds learned tokens in a text: the longest that fits, and `hat` not in that, though `<hat>` anywhere.

    Args:
        names: at least one.

    Returns:
        A pattern whose one group is the name.

    >>> learned_names(["<a>", "<a>1", "hat"]).findall("that hat's <a>1 on<a>s and hats")
    ['hat', '<a>1', '<a>']
    """
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("(" + "|".join(map(_alone, longest_first)) + ")")


def _alone(name: str) -> str:
    """A name, not in the middle of a word where it begins or ends as one."""
    before, after = (r"(?<!\w)" if _LETTER.match(name[:1]) else ""), (r"(?!\w)" if _LETTER.match(name[-1:]) else "")
    return f"{before}{re.escape(name)}{after}"


def segments(prompt: str) -> list[str]:
    """The pieces of a prompt that have one weight each, with weights, grouping parentheses and escapes taken off.

    >>> segments("a (small (red:1.3) cat), creature \\\\(fluffy\\\\)")
    ['a ', 'small ', 'red', ' cat', ', creature (fluffy)']
    """
    for escaped, private in _ESCAPED.items():
        prompt = prompt.replace(escaped, private)
    pending, found = [(prompt, False)], []
    while pending:
        text, whole = pending.pop()
        if not whole:
            pending += [(part, True) for part in reversed(_split_groups(text))]
        elif len(text) >= 2 and text[0] == "(" and text[-1] == ")":
            pending.append((_without_weight(text[1:-1]), False))
        else:
            for escaped, private in _ESCAPED.items():
                text = text.replace(private, escaped[1])
            found.append(text)
    return found


def _split_groups(text: str) -> list[str]:
    """Cut at the outermost parentheses; what is not closed stays with what follows it, as in the host."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character == "(":
            if depth == 0 and at > start:
                parts.append(text[start:at])
                start = at
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : at + 1])
                start = at + 1
    return [*parts, text[start:]] if start < len(text) else parts


def _without_weight(text: str) -> str:
    head, colon, tail = text.rpartition(":")
    try:
        float(tail)
    except ValueError:
        return text
    return head if colon and head else text


def _read_part(text: str, syntax: Syntax) -> list[Text | Vectors]:
    if not (syntax.embeddings and text.startswith(EMBEDDING)):
        return _read_learned(text, syntax)
    typed, *rest = text[len(EMBEDDING) :].split() or [""]
    after = " ".join(rest)
    if match := _NAME_END.search(typed):
        typed, after = typed[: match.start()], typed[match.start() :] + " " + after
    name = typed.strip(",")
    # The host cuts at the stripped length, which is wrong for a comma in front; the tokens follow the host.
    left = f"{typed[len(name) :]} {after}"
    return [*([Vectors(name)] if syntax.known(name) else []), *_read_learned(left, syntax)]


def _read_learned(text: str, syntax: Syntax) -> list[Text | Vectors]:
    if not syntax.learned:
        return [Text(text)] if text.strip() else []
    parts = (part for part in learned_names(syntax.learned).split(text) if part.strip())
    return [Vectors(part, syntax.learned[part]) if part in syntax.learned else Text(part) for part in parts]
