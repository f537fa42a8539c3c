"""Write the part of CLIP's vocabulary that the demo model's words need, for who loads the model without ComfyUI.

    python devtools/as_pack.py demo/tokenizer.py PATH_TO_COMFYUI [FILE]

A word is merged from letters by the pairs of lowest rank. A table with exactly the pairs by which the known words are
merged merges them alike; any other word stays in pieces, all of which the model takes for one unknown word anyway.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from pack.scenescope.world.demo_file import DEMO_FILE, read_demo_file

BESIDE = DEMO_FILE.with_name("scenescope-demo-tokenizer.json")
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
LETTERS = 512
"""The first numbers of CLIP's vocabulary: 256 bytes, and the same at the end of a word."""

Pair = tuple[str, str]


def merges_of(entry: str, ranks: dict[Pair, int]) -> list[Pair]:
    """The pairs by which a vocabulary entry is merged from letters, in order.

    >>> merges_of("abc</w>", {("a", "b"): 1, ("ab", "c</w>"): 2, ("b", "c</w>"): 3})
    [('a', 'b'), ('ab', 'c</w>')]
    """
    body = entry.removesuffix("</w>")
    parts = [*body[:-1], body[-1:] + entry[len(body) :]]
    found: list[Pair] = []
    while len(parts) > 1:
        pairs = list(itertools.pairwise(parts))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks) + 1))
        found.append(best)
        at = pairs.index(best)
        parts[at : at + 2] = ["".join(best)]
    return found


def part_of_vocabulary(numbers: Iterable[int], vocabulary: dict[str, int], merges: list[Pair]) -> dict[str, object]:
    """The entries and merges that words of these numbers need.

    Args:
        numbers: of the known words.
        vocabulary: entry -> number, all of CLIP's.
        merges: pairs in the order of their ranks.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    entries = {number: entry for entry, number in vocabulary.items()}
    words = [entries[number] for number in numbers if entries[number] not in SPECIAL]
    used = {pair for word in words for pair in merges_of(word, ranks)}
    kept = {*SPECIAL, *(entries[number] for number in range(LETTERS)), *words, *("".join(pair) for pair in used)}
    return {
        "vocabulary": {entry: vocabulary[entry] for entry in sorted(kept, key=vocabulary.__getitem__)},
        "merges": sorted(used, key=ranks.__getitem__),
    }


def main(comfyui: Path, path: Path = BESIDE) -> None:
    """Write the file."""
    folder = comfyui / "comfy" / "sd1_tokenizer"
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()
    merges = [(first, second) for first, second in (line.split() for line in lines[1:] if line.strip())]
    weights, _ = read_demo_file(DEMO_FILE)
    kept = part_of_vocabulary(weights["cond_stage_model.known_ids"].tolist(), vocabulary, merges)
    path.write_text(json.dumps(kept, ensure_ascii=False, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("tokenizer.py: expected the path to a ComfyUI, and perhaps the file to write.")
    main(*map(Path, sys.argv[1:3]))
