"""Every knob of the method, with the paper's and the reference code's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch

from ..errors import InputError

Mode = Literal["lora", "full"]
Area = Literal["none", "area"]
Prior = Literal["class", "frozen", "off"]
Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How concepts are learned; `full_settings` is the reference, `lora_settings` the default.

    Source: Avrahami et al. 2023, section 3 and appendix B.1 (paper), and the released `train.py` (code).

    Args:
        mode: `full` trains all weights in phase 2 (paper and code), `lora` low-rank additions to them.
        phase1_steps: steps that train the rows only; 400.
        phase2_steps: steps that train weights and rows; 400.
        phase1_rows_rate: learning rate; 5e-4.
        phase2_rows_rate: learning rate; 2e-6, the weights' own.
        weights_rate: learning rate of phase 2; 2e-6.
        text_encoder: train the text encoder's weights too in phase 2; True.
        rank: of the low-rank additions; the reference has none.
        alpha: strength of the additions is alpha / rank; the reference has none.
        beta1: of AdamW; 0.9.
        beta2: of AdamW; paper 0.99, code 0.999.
        weight_decay: of AdamW; paper 1e-8, code 1e-2.
        adam_epsilon: of AdamW; 1e-8.
        clip: largest norm of all gradients together; code 1.0. 0 is no limit.
        attention_weight: of the attention loss; 0.01. 0 is without.
        detach_maximum: whether the map's maximum counts as a constant in the gradient; code False.
        masked: whether the pictures are learned inside the drawn concepts' masks only; paper and code True.
        normalise: `none` is the mean over the whole latent (paper and code), `area` over the mask.
        prior: `class` pictures (code), the `frozen` model outside the masks, or `off` (paper's text). In phase 2 only:
            in phase 1 the code's has no effect but on the clipping, since its prompt names no concept.
        prior_weight: of the prior loss; code 1.0.
        flip: probability that picture and masks are mirrored; code 0.5.
        batch: pictures in a step; 1.
        single: probability that one concept is drawn alone; None is 1 / concepts (paper and code).
        templates: sentences with one `{}` for the drawn handles; code `a photo of {}`.
        outside_noise: standard deviation of noise on the latent outside the masks at the first step, fading out as
            1 - (step / steps)^32 (MagicTailor's, there 0.5 on pixels); the reference has none, 0.
        norm_guard: a row grows to at most this many times its first length; None is no limit (paper and code).
        precision: of the arithmetic; the trained weights are float32 always; code float16.
        seed: of all that is drawn.

    Raises:
        InputError: a number is not one that training can use.
    """

    mode: Mode
    phase1_steps: int = 400
    phase2_steps: int = 400
    phase1_rows_rate: float = 5e-4
    phase2_rows_rate: float
    weights_rate: float
    text_encoder: bool
    rank: int = 16
    alpha: float = 16.0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-2
    adam_epsilon: float = 1e-8
    clip: float = 1.0
    attention_weight: float = 1e-2
    detach_maximum: bool = False
    masked: bool = True
    normalise: Area
    prior: Prior
    prior_weight: float = 1.0
    flip: float = 0.5
    batch: int = 1
    single: float | None = None
    templates: tuple[str, ...] = ("a photo of {}",)
    outside_noise: float = 0.0
    norm_guard: float | None = None
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if str(field.type).startswith("float") and type(getattr(self, field.name)) is int:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))  # 1 and 1.0 are one setting
        rates = ("phase1_rows_rate", "phase2_rows_rate", "weights_rate", "adam_epsilon")
        amounts = ("weight_decay", "clip", "attention_weight", "prior_weight", "outside_noise")
        for name in ("phase1_steps", "phase2_steps"):
            self._demand(name, 0, 2**31)
        for name in ("rank", "batch"):
            self._demand(name, 1, 2**16)
        for name in ("alpha", *rates, *amounts):
            self._demand(name, 1e-300 if name in ("alpha", *rates) else 0, 1e9)
        for name in ("beta1", "beta2"):
            self._demand(name, 0, 1 - 1e-9)
        self._demand("flip", 0, 1)
        self._demand("seed", 0, 2**64 - 1)
        if self.single is not None:
            self._demand("single", 0, 1)
        if self.norm_guard is not None:
            self._demand("norm_guard", 1, 1e9)
        if not self.steps:
            raise InputError("Train Settings: both phases have 0 steps. Raise those of at least one phase.")
        _check_templates(self.templates)

    @property
    def steps(self) -> int:
        """Steps of both phases."""
        return self.phase1_steps + self.phase2_steps

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic's type."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]

    def _demand(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most:  # also false for a number that is none
            raise InputError(f"Train Settings: {name} is {value}, but it has to be between {least:g} and {most:g}.")


def _check_templates(templates: Sequence[str]) -> None:
    if not templates:
        raise InputError("Train Settings: there are no templates. Write at least one, for example: a photo of {}")
    for template in templates:
        if (count := template.count("{}")) != 1:
            raise InputError(
                f"Train Settings: each template needs one {{}}, and {template!r} has {count or 'none'}. "
                "Write for example: a photo of {}"
            )


def full_settings(**changes: object) -> Settings:
    """The reference: all weights in phase 2, the plain mean, class pictures, the code's AdamW.

    Args:
        changes: fields of `Settings` that shall differ.

    >>> full_settings(phase1_steps=10).steps, full_settings().weights_rate
    (410, 2e-06)
    """
    preset = {
        "mode": "full",
        "phase2_rows_rate": 2e-6,
        "weights_rate": 2e-6,
        "text_encoder": True,
        "normalise": "none",
        "prior": "class",
    }
    return Settings(**{**preset, **changes})  # type: ignore[arg-type]


def lora_settings(**changes: object) -> Settings:
    """The default: small weights at a higher rate, the mean over the mask, and the frozen model as the prior.

    Source: MagicTailor (arXiv 2410.13370) found low-rank additions and rows as good as all weights; the mean over the
    mask is Mix-of-Show's, and gives small things the weight of large ones; the frozen prior needs no pictures. Divided
    by the mask's share the masked loss is three to ten times larger, so the attention loss is weighted ten times more.
    Chosen on the demo model (`dev.py bench ablation`, on scenes that the README's table of the method has not): the
    weight, of 0.01, 0.1 and 0.3; the rank, of 4 and 16; additions to the text encoder too, which let one token's thing
    leak less into another's pictures; the prior, of none and frozen; the rate, 1e-3 of 3e-4, 5e-4 and 1e-3 there, which
    makes 3e-4 for SD1.5: its layers are ten times as wide, so its weights are smaller by the root of ten.

    Args:
        changes: fields of `Settings` that shall differ.

    >>> lora_settings().prior, lora_settings(rank=4).rank
    ('frozen', 4)
    """
    preset = {
        "mode": "lora",
        "phase2_rows_rate": 1e-4,
        "weights_rate": 3e-4,
        "attention_weight": 0.1,
        "text_encoder": True,
        "normalise": "area",
        "prior": "frozen",
        "norm_guard": 1.4,
    }
    return Settings(**{**preset, **changes})  # type: ignore[arg-type]
