"""The one softmax, whole and in chunks, and prompts that were repeated."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.record.scores import attention_in_chunks, attention_scores, fold_repeats
from pack.scenescope.errors import InputError

BATCH, QUERIES, TOKENS, HEADS, WIDTH = 2, 6, 5, 3, 4


def projections(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys whose attention is far from uniform."""
    generator = torch.Generator().manual_seed(0)
    query = 2 * torch.randn(BATCH, QUERIES, HEADS * WIDTH, generator=generator)
    key = torch.randn(BATCH, TOKENS, HEADS * WIDTH, generator=generator)
    return query.to(dtype), key.to(dtype)


def slow_map(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The definition, in loops over Python's own doubles."""
    made = torch.zeros(BATCH, HEADS, query.shape[1], key.shape[1], dtype=torch.float64)
    for batch in range(BATCH):
        for head in range(HEADS):
            channels = range(head * WIDTH, (head + 1) * WIDTH)
            for row in range(query.shape[1]):
                dots = [
                    sum(float(query[batch, row, channel]) * float(key[batch, token, channel]) for channel in channels)
                    for token in range(key.shape[1])
                ]
                weights = [math.exp(dot / math.sqrt(WIDTH)) for dot in dots]
                made[batch, head, row] = torch.tensor([weight / sum(weights) for weight in weights])
    return made


def test_two_keys_share_by_the_logistic_function():
    """Oracle: a constant by hand: logits 2*1/sqrt(4) = 1 and 0 give 1 / (1 + 1/e)."""
    query, key = torch.tensor([[[2.0, 0, 0, 0]]]), torch.tensor([[[1.0, 0, 0, 0], [0, 0, 0, 0]]])
    assert attention_scores(query, key, heads=1)[0, 0, 0, 0].item() == pytest.approx(0.7310585786)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_map_equals_the_definition_in_double_precision(dtype: torch.dtype):
    """Oracle: float64 loops over the same rounded inputs; whatever the inputs' type, the softmax is float32."""
    query, key = projections(dtype)
    maps = attention_scores(query, key, HEADS)
    assert maps.dtype == torch.float32
    assert maps.shape == (BATCH, HEADS, QUERIES, TOKENS)
    assert torch.allclose(maps.double(), slow_map(query, key), atol=1e-6)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(1), atol=1e-6)


def test_logits_too_large_for_half_precision_do_not_overflow():
    """Oracle: a closed form: logits of 100 000 and 0 leave nothing for the second key."""
    query, key = torch.full((1, 1, 4), 500.0).half(), torch.tensor([[[100.0] * 4, [0.0] * 4]]).half()
    assert attention_scores(query, key, heads=1).tolist() == [[[[1.0, 0.0]]]]


def test_gradients_flow_to_queries_and_keys():
    """Oracle: finite differences in double precision would be rounded away by float32; so the closed form p(1-p)."""
    query = torch.tensor([[[1.0]]], requires_grad=True)
    key = torch.tensor([[[0.0], [0.0]]], requires_grad=True)
    attention_scores(query, key, heads=1)[..., 0].sum().backward()
    assert key.grad.flatten().tolist() == [0.25, -0.25]
    assert query.grad.item() == 0.0


@pytest.mark.parametrize(("query", "key", "heads"), [(12, 8, 2), (10, 10, 3)])
def test_channels_that_do_not_belong_together_are_refused(query: int, key: int, heads: int):
    """Oracle: the message."""
    with pytest.raises(InputError, match=f"{query} and {key} channels wide.*multiple of {heads} heads"):
        attention_scores(torch.zeros(1, 2, query), torch.zeros(1, 2, key), heads)


@pytest.mark.parametrize("chunk_bytes", [1, 200, 480, 10**6])
def test_chunks_make_the_whole(chunk_bytes: int):
    """Oracle: the map computed at once; and the bytes of each chunk, counted."""
    query, key = projections()
    parts = list(attention_in_chunks(query, key, HEADS, chunk_bytes=chunk_bytes))
    assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == list(range(QUERIES))
    whole = torch.cat([maps for _, maps in parts], dim=2)
    assert torch.allclose(whole, attention_scores(query, key, HEADS), atol=1e-7)
    one_row = BATCH * HEADS * TOKENS * 4
    assert all(maps.numel() * 4 <= max(chunk_bytes, one_row) for _, maps in parts)
    assert len(parts) == math.ceil(QUERIES / max(1, chunk_bytes // one_row))


@settings(deadline=None, max_examples=30)
@given(repeats=st.integers(1, 4), tokens=st.integers(1, 6))
def test_folding_a_repeated_prompt_is_exact(repeats: int, tokens: int):
    """Oracle: the map of the prompt that was not repeated."""
    query, _ = projections()
    key = torch.randn(BATCH, tokens, HEADS * WIDTH, generator=torch.Generator().manual_seed(tokens))
    repeated = attention_scores(query, key.repeat(1, repeats, 1), HEADS)
    assert torch.allclose(fold_repeats(repeated, tokens), attention_scores(query, key, HEADS), atol=1e-6)


def test_a_prompt_that_was_not_repeated_is_passed_on_as_it_is():
    """Oracle: identity."""
    maps = torch.rand(2, 1, 6, 5)
    assert fold_repeats(maps, 5) is maps


@pytest.mark.parametrize(("columns", "tokens"), [(80, 77), (5, 0), (77, 154)])
def test_columns_that_are_no_repeats_are_refused(columns: int, tokens: int):
    """Oracle: the message."""
    with pytest.raises(InputError, match=f"{columns} columns are no multiple of the prompt's {tokens} tokens"):
        fold_repeats(torch.zeros(1, 1, 2, columns), tokens)
