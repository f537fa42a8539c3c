"""The vocabulary of CLIP's byte pair encoding: which bytes an entry stands for."""

from __future__ import annotations

from functools import lru_cache

_WORD_END = "</w>"


def ends_word(entry: str) -> bool:
    """Whether an entry closes a word.

    >>> ends_word("cat</w>"), ends_word("cat")
    (True, False)
    """
    return entry.endswith(_WORD_END)


def piece_bytes(entry: str) -> bytes:
    """Turn a vocabulary entry into UTF-8 bytes, with a space where a word ends.

    >>> piece_bytes("cat</w>"), piece_bytes("Ã©")
    (b'cat ', b'\\xc3\\xa9')
    """
    letters, body = _byte_letters(), entry.removesuffix(_WORD_END)
    if not letters.keys() >= set(body):  # an entry that was added as plain text
        return entry.encode() + b" "
    return bytes(letters[letter] for letter in body) + (b" " if ends_word(entry) or body.startswith("<|") else b"")


@lru_cache(maxsize=1)
def _byte_letters() -> dict[str, int]:
    """Which byte a letter of the vocabulary writes.

    Source: byte-level byte pair encoding (Radford et al. 2019): printable Latin-1 letters write themselves, the other
    bytes are written by the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
