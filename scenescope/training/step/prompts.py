"""What a step draws: a union of concepts in random order, and the sentence that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Generator


def generator_at(seed: int, place: int | str) -> Generator:
    """The random numbers of one place in a run: a function of the seed and the place, and of nothing before it.

    A run that goes on at step n draws what it would have drawn without a break, so there is no random state to save.

    Args:
        seed: of the run.
        place: the step, or a name.

    Returns:
        A generator on the CPU, so that every device draws the same.

    >>> one, same, other = (torch.rand(1, generator=generator_at(7, step)) for step in (5, 5, 6))
    >>> bool(one == same), bool(one == other)
    (True, False)
    """
    digest = hashlib.blake2b(repr((seed, place)).encode(), digest_size=8).digest()
    generator = Generator()
    generator.manual_seed(int.from_bytes(digest, "little"))
    return generator


def draw_union(present: Sequence[int], generator: Generator, *, single: float | None = None) -> tuple[int, ...]:
    """Draw some of the concepts in random order.

    Source: Break-a-Scene, section 3.3, and train.py 528-533: the number is even over 1 to K, then an ordered subset of
    that many. A concept is therefore drawn with probability (K + 1) / (2 K).

    Args:
        present: the concepts that the picture shows, K of them.
        generator: of the random numbers.
        single: probability of one alone; None is 1 / K. The rest is even over 2 to K.

    Returns:
        1 to K of the concepts, in the order in which the sentence names them.

    >>> draw_union([3], generator_at(0, 0))
    (3,)
    """
    most = len(present)
    if single is None or most == 1:
        count = 1 + _below(most, generator)
    elif float(torch.rand((), generator=generator)) < single:
        count = 1
    else:
        count = 2 + _below(most - 1, generator)
    order = torch.randperm(most, generator=generator).tolist()
    return tuple(present[index] for index in order[:count])


def sentence(template: str, names: Sequence[str]) -> str:
    """Name concepts in a sentence.

    Source: train.py 531: `a photo of ` and the handles joined by ` and `.

    >>> sentence("a photo of {}", ["<asset1>", "<asset0>"])
    'a photo of <asset1> and <asset0>'
    """
    return template.replace("{}", " and ".join(names))


def choose_template(templates: Sequence[str], generator: Generator) -> str:
    """Choose one of the templates at random.

    >>> choose_template(["a photo of {}"], generator_at(0, 0))
    'a photo of {}'
    """
    return templates[_below(len(templates), generator)]


def _below(limit: int, generator: Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
