"""Phases, settings, the noise schedule and the timesteps."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from pack.scenescope.errors import InputError
from pack.scenescope.training.noise import NoiseSchedule
from pack.scenescope.training.settings import full_settings, lora_settings
from pack.scenescope.training.step.prompts import generator_at
from pack.scenescope.training.step.schedule import outside_strength, phase_at
from pack.tests.support.toy_training import scaled_linear


def test_the_second_phase_is_entered_wherever_a_run_begins():
    """Oracle: the paper's 400 and 400 steps; one phase alone is possible."""
    settings = full_settings()
    assert [phase_at(step, settings) for step in (0, 399, 400, 401, 799)] == [1, 1, 2, 2, 2]
    assert phase_at(0, full_settings(phase1_steps=0)) == 2
    assert full_settings(phase2_steps=0).steps == 400


def test_full_has_the_values_of_the_reference():
    """Oracle: the table of the released code's defaults, by hand."""
    settings = full_settings()
    assert (settings.phase1_rows_rate, settings.phase2_rows_rate, settings.weights_rate) == (5e-4, 2e-6, 2e-6)
    assert (settings.beta1, settings.beta2, settings.weight_decay, settings.adam_epsilon) == (0.9, 0.999, 1e-2, 1e-8)
    assert (settings.clip, settings.attention_weight, settings.prior_weight, settings.flip) == (1.0, 0.01, 1.0, 0.5)
    assert (settings.batch, settings.single, settings.templates) == (1, None, ("a photo of {}",))
    assert (settings.normalise, settings.prior, settings.detach_maximum) == ("none", "class", False)
    assert settings.text_encoder
    assert settings.norm_guard is None
    assert settings.outside_noise == 0


def test_settings_cannot_be_changed_afterwards():
    """Oracle: frozen dataclasses."""
    with pytest.raises(FrozenInstanceError):
        lora_settings().rank = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 0}, "rank is 0, but it has to be between 1"),
        ({"weights_rate": float("nan")}, "weights_rate is nan"),
        ({"flip": 1.5}, "flip is 1.5, but it has to be between 0 and 1"),
        ({"phase1_steps": 0, "phase2_steps": 0}, "both phases have 0 steps"),
        ({"templates": ("a photo",)}, "each template needs one"),
        ({"single": -0.1}, "single is -0.1"),
        ({"norm_guard": 0.5}, "norm_guard is 0.5"),
        ({"beta2": 1.0}, "beta2 is 1.0"),
    ],
)
def test_numbers_that_training_cannot_use_are_refused(change, words):
    """Oracle: the ranges in the docstring."""
    with pytest.raises(InputError, match=words):
        lora_settings(**change)


def test_the_noise_schedule_is_that_of_stable_diffusion():
    """Oracle: the product written out in Python floats."""
    schedule, kept = scaled_linear(), 1.0
    for step in range(1000):
        beta = (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * step / 999) ** 2
        kept *= 1 - beta
        if step in (0, 500, 999):
            assert float(schedule.signal[step]) == pytest.approx(kept**0.5, rel=1e-6)
            assert float(schedule.noise[step]) == pytest.approx((1 - kept) ** 0.5, rel=1e-6)
    with pytest.raises(InputError, match="don't add up to 1"):
        NoiseSchedule(schedule.signal, schedule.noise * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_each_latent_is_noised_by_its_own_timestep(dtype):
    """Oracle: equation 4 of Ho et al. by hand, on a batch of two that is not square."""
    schedule = NoiseSchedule(torch.tensor([0.8, 0.6]), torch.tensor([0.6, 0.8]))
    latents, noise = torch.ones(2, 4, 3, 5, dtype=dtype), torch.full((2, 4, 3, 5), 2.0, dtype=dtype)
    noisy = schedule.add(latents, noise, torch.tensor([1, 0]))
    assert noisy.dtype == dtype
    assert noisy[0].unique().tolist() == pytest.approx([0.6 + 1.6], rel=1e-3)
    assert noisy[1].unique().tolist() == pytest.approx([0.8 + 1.2], rel=1e-3)


def test_all_timesteps_are_drawn():
    """Oracle: the schedule's length."""
    schedule = NoiseSchedule(torch.tensor([0.8, 0.6, 1.0]), torch.tensor([0.6, 0.8, 0.0]))
    drawn = schedule.timesteps(200, generator_at(0, 0))
    assert drawn.dtype == torch.int64
    assert drawn.unique().tolist() == [0, 1, 2]


def test_noise_outside_the_masks_fades_out_late():
    """Oracle: a (1 - (d / D)^32) by hand."""
    settings = lora_settings(phase1_steps=5, phase2_steps=5, outside_noise=0.5)
    assert outside_strength(5, settings) == pytest.approx(0.5 * (1 - 0.5**32))
    assert outside_strength(9, settings) == pytest.approx(0.5 * (1 - 0.9**32))
