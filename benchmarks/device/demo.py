"""How many steps a second the demo model's own training takes on the device, and how long its pictures take to draw."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pack.benchmarks.device.bench import Bench

WARM, MEASURED = 3, 12


def demo(bench: Bench) -> None:
    """A step of each stage, at the batch that `demo/train.py` takes on a GPU."""
    bench.trying("decoder", lambda: _decoder(bench))
    bench.trying("denoiser", lambda: _denoiser(bench))


def _decoder(bench: Bench) -> dict[str, Any]:
    from comfy.taesd.taesd import Decoder
    from pack.demo.decoder import CROPS_A_PICTURE, PEAK_RATE, crops, loss_of, start_as_enlarger
    from pack.demo.train import DEFAULTS

    batch = CROPS_A_PICTURE if bench.rehearse else DEFAULTS["cuda"][1][0]
    decoder = Decoder()
    start_as_enlarger(decoder)
    decoder = decoder.to(bench.device, memory_format=torch.channels_last)
    begun = time.perf_counter()
    drawn = np.concatenate([crops(2, index) for index in range(batch // CROPS_A_PICTURE)])
    drawing = time.perf_counter() - begun
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    found = _paced(bench, decoder, optimiser, lambda: loss_of(decoder, drawn, bench.device))
    return found | {"batch": batch, "drawing s": drawing}


def _denoiser(bench: Bench) -> dict[str, Any]:
    from pack.demo.data import SIZES, Pool, collate
    from pack.demo.denoiser import PEAK_RATE, losses, noise_levels
    from pack.demo.model import Denoiser
    from pack.demo.train import DEFAULTS, captions_tokens

    batch = 1 if bench.rehearse else DEFAULTS["cuda"][1][1]
    known, ids_of = captions_tokens()
    model, signal = Denoiser(known).to(bench.device), noise_levels()
    pool, rng = Pool(2, SIZES[0].side, 0, batch), np.random.default_rng(2)
    begun = time.perf_counter()
    pool.draw(batch)
    drawing = time.perf_counter() - begun
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def loss() -> torch.Tensor:
        return losses(model, collate(pool.pick(batch, rng), ids_of, rng), signal, bench.device)[0]

    return _paced(bench, model, optimiser, loss) | {"batch": batch, "drawing s": drawing}


def _paced(
    bench: Bench, module: torch.nn.Module, optimiser: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]
) -> dict[str, Any]:
    """Steps a second, and peaks."""
    from pack.demo.state import Averaged

    average = Averaged(module, 0.999)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        average.add(module, MEASURED)

    times = bench.steps(step, WARM, MEASURED)
    return {"steps a second": 1 / statistics.median(times), **bench.peaks()}
