"""Sampling runs on the simulated device, plain and recorded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from pack.host.prompts.text import trace_words
from pack.host.recording.sampling import SamplerSettings, sample
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.tests.rehearsal.simulated.counts import Counts, counting
from torch import Tensor

STEPS = 3


@dataclass(frozen=True)
class Sampled:
    """A run: its latents on the host, what was counted, and the conditionings."""

    latents: Tensor
    counts: Counts
    positive: Any
    negative: Any


def encode(clip: Any, prompt: str) -> Any:
    """A conditioning, as CLIP Text Encode makes it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))


def sampled(model: Any, positive: Any, negative: Any, sampler: str = "euler", steps: int = STEPS) -> Sampled:
    """A few steps at 64x96 pixels."""
    how = SamplerSettings(0, steps, 5.0, sampler, "normal")
    comfy.model_management.load_models_gpu([model])  # an earlier test may have had it unloaded: not the run's cost
    with counting() as counts:
        latents = sample(model, positive, negative, {"samples": torch.zeros(1, 4, 8, 12)}, how)["samples"]
    return Sampled(latents, counts, positive, negative)


def a_steps_cost(model: Any, positive: Any, negative: Any) -> tuple[Tensor, Counts]:
    """The latents of a run of five steps, and what its fourth one cost: by then all is made that is kept for a run."""
    steps: list[Counts] = []
    with ExitStack() as counted:

        def asked(executor: Any, *given: Any, **named: Any) -> Any:
            counted.close()
            steps.append(counted.enter_context(counting()))
            return executor(*given, **named)

        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "rehearsal", asked)
        latents = sampled(clone, positive, negative, steps=5).latents
    assert len(steps) == 5
    return latents, steps[3]


def plain_run(demo: tuple[Any, Any, Any]) -> Sampled:
    """A run with nothing recorded, after one that loads the weights."""
    model, clip, _ = demo
    clip = trace_words(clip)
    positive, negative = encode(clip, "a photo of a red circle"), encode(clip, "")
    sampled(model, positive, negative, steps=1)
    return sampled(model, positive, negative)


def recorded(model: Any, plain: Sampled, selection: Selection, sampler: str = "euler") -> tuple[Recording, Sampled]:
    """The same run, recorded."""
    watched, book = record_attention(model, selection)
    run = sampled(watched, plain.positive, plain.negative, sampler)
    return book.find(None)[0], run


def assert_on_host(*tensors: Tensor) -> None:
    """Ordinary tensors of finite numbers: nothing was left on the device, unwritten, or read before it arrived."""
    for tensor in tensors:
        assert type(tensor) is Tensor
        assert tensor.device.type == "cpu"
        assert bool(tensor.float().isfinite().all())
