"""What the denoiser is trained on, drawn in the same process or ahead by several."""

from __future__ import annotations

import itertools

import numpy as np
from pack.demo.data import Batches
from torch.utils.data import DataLoader


def ids_of(word: str) -> list[int]:
    """A token for each word."""
    return [sum(map(ord, word))]


def latents_of(workers: int, first: int = 0) -> list[np.ndarray]:
    """The first four batches' latents."""
    loader = DataLoader(Batches(1, 2, first, ids_of), batch_size=None, num_workers=workers)
    return [batch.latents.numpy() for batch in itertools.islice(loader, 4)]


def test_workers_draw_different_pictures(monkeypatch):
    """Oracle: a run without workers: the first worker draws as it does, the second has other pictures, as chosen."""
    monkeypatch.setattr("pack.demo.data.POOL", 0)
    alone, drawn = latents_of(workers=0), latents_of(workers=2)
    assert np.array_equal(drawn[0], alone[0])
    assert drawn[1].shape == alone[1].shape
    assert not {latent.tobytes() for latent in drawn[1]} & {latent.tobytes() for latent in alone[1]}


def test_without_workers_a_run_repeats_itself(monkeypatch):
    """Oracle: the same run, bit for bit."""
    monkeypatch.setattr("pack.demo.data.POOL", 0)
    for one, other in zip(latents_of(0), latents_of(0), strict=True):
        assert np.array_equal(one, other)
