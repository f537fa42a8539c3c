"""Union sampling and sentences: what a step draws."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from pack.scenescope.training.step.prompts import choose_template, draw_union, generator_at, sentence

DRAWS = 4000


def draws(concepts: int, single: float | None = None) -> list[tuple[int, ...]]:
    """Many unions, each of a step of its own."""
    return [draw_union(range(concepts), generator_at(3, step), single=single) for step in range(DRAWS)]


@pytest.mark.parametrize("concepts", [1, 2, 3, 4])
def test_a_concept_is_drawn_as_often_as_the_paper_has_it(concepts):
    """Oracle: the closed form (K + 1) / (2 K), and 1 / K for each number; within four standard deviations."""
    drawn = draws(concepts)
    tolerance = 4 * (0.25 / DRAWS) ** 0.5
    for concept in range(concepts):
        share = sum(concept in union for union in drawn) / DRAWS
        assert share == pytest.approx((concepts + 1) / (2 * concepts), abs=tolerance)
    for count in range(1, concepts + 1):
        assert sum(len(union) == count for union in drawn) / DRAWS == pytest.approx(1 / concepts, abs=tolerance)


def test_every_order_of_every_subset_comes_up_equally_often():
    """Oracle: K = 3 has 3, 6 and 6 ordered subsets of 1, 2 and 3; each with probability 1/9, 1/18, 1/18."""
    counts = Counter(draws(3))
    assert set(counts) == {order for length in (1, 2, 3) for order in permutations(range(3), length)}
    for order, count in counts.items():
        assert count / DRAWS == pytest.approx(1 / 9 if len(order) == 1 else 1 / 18, abs=0.02)


def test_the_probability_of_one_alone_can_be_chosen():
    """Oracle: the probability given, and the rest even over 2 and 3; a single concept is always alone."""
    drawn = draws(3, single=0.6)
    for count, share in ((1, 0.6), (2, 0.2), (3, 0.2)):
        assert sum(len(union) == count for union in drawn) / DRAWS == pytest.approx(share, abs=0.035)
    assert {len(union) for union in draws(3, single=0.0)} == {2, 3}
    assert set(draws(1, single=0.0)) == {(0,)}


def test_only_concepts_that_the_picture_shows_are_drawn():
    """Oracle: the list given."""
    assert {concept for step in range(50) for concept in draw_union([1, 4], generator_at(0, step))} == {1, 4}


def test_a_places_numbers_depend_on_seed_and_place_alone():
    """Oracle: an invariant; neither draws before nor the global generator count."""
    one = torch.rand(4, generator=generator_at(2**63 + 5, 17))
    torch.rand(3)
    generator_at(1, 1)
    assert torch.equal(one, torch.rand(4, generator=generator_at(2**63 + 5, 17)))
    firsts = {float(torch.rand((), generator=generator_at(seed, place))) for seed in (0, 1) for place in (0, 1, "lora")}
    assert len(firsts) == 6


def test_sentences_name_the_handles_in_order():
    """Oracle: the paper's sentence by hand."""
    assert sentence("a photo of {}", ["<b>"]) == "a photo of <b>"
    assert sentence("{} on a table", ["<b>", "<a>", "<c>"]) == "<b> and <a> and <c> on a table"
    chosen = Counter(choose_template(("x {}", "y {}"), generator_at(0, step)) for step in range(1000))
    assert chosen["x {}"] == pytest.approx(500, abs=64)
