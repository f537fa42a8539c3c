"""Every setting of the method, with the paper's and the reference code's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple

import torch

from ..errors import InputError

Mode = Literal["lora", "full"]
Normalise = Literal["area", "none"]
Prior = Literal["frozen", "class", "off"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Bounds(NamedTuple):
    """What a number may be, and how far one click of a widget changes it.

    `offered` is the most that a widget takes, where files of earlier versions may hold more.
    """

    least: float
    most: float
    step: float = 1.0
    offered: float | None = None


RATE = Bounds(1e-9, 1.0, 1e-7)
STEPS = Bounds(0, 1_000_000, offered=100_000)
"""Widgets offer 250 times the paper's; the time left is shown from the first steps on, and a run that is cancelled goes
on later. The curves, a row of 28 bytes a step for two concepts, are copied at each step: 3 MB there, 28 at the most."""


def setting(says: str, bounds: Bounds | None = None, *, default: Any = MISSING, advanced: bool = False) -> Any:
    """A field of `Settings`, stated once: the check, the documentation and the widget are made of it.

    Args:
        says: what it does, with the paper's and the code's value.
        bounds: of a number.
        default: the value of every preset that does not say otherwise.
        advanced: whether it is seldom changed.
    """
    return field(default=default, metadata={"says": says, "bounds": bounds, "advanced": advanced})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How concepts are learned; `full_settings` is the reference, `lora_settings` the default.

    Source: Avrahami et al. 2023, section 3 and appendix B.1 (paper), and the released `train.py` (code). A `single` of
    None is 1 / concepts, a `norm_guard` of None is no limit. In phase 1 the code's prior has no effect but on the
    clipping, since its prompt names no concept, so it is used in phase 2 alone. `outside_noise` fades out as
    1 - (step / steps)^32 (MagicTailor's, there on pixels).

    Raises:
        InputError: a number is not one that training can use.
    """

    mode: Mode
    phase1_steps: int = setting("Steps that train the new tokens only. Paper and code: 400.", STEPS, default=400)
    phase2_steps: int = setting(
        "Steps that train the model's weights together with the tokens. Paper and code: 400. 0 trains only the tokens, "
        "which are ordinary embeddings.",
        STEPS,
        default=400,
    )
    phase1_rows_rate: float = setting(
        "Learning rate of the tokens in phase 1. Paper and code: 5e-4.", RATE, default=5e-4
    )
    phase2_rows_rate: float = setting(
        "Learning rate of the tokens in phase 2. Paper and code: 2e-6, the same as for the weights.", RATE
    )
    weights_rate: float = setting(
        "Learning rate of the weights in phase 2. Paper and code: 2e-6 for whole weights; low-rank additions need some "
        "100 times more. 1e-3 was best on the demo model; SD1.5's layers are wider, hence 3e-4.",
        RATE,
    )
    rank: int = setting(
        "Rank of the low-rank additions: a higher rank holds more detail and makes a larger file. 16 is 38 MB for "
        "SD1.5.",
        Bounds(1, 1024),
        default=16,
    )
    text_encoder: bool = setting(
        "Train the text encoder's weights too in phase 2. Paper and code: on. On for lora as well: on the demo model, "
        "tokens then leak less into each other's pictures."
    )
    precision: Precision = setting(
        "Precision of the computation; what is trained is always kept in single precision. auto, the default: bfloat16 "
        "on a GPU that has it, float16 on an older one, float32 on a CPU; the node says which. In half precision, full "
        "keeps AdamW's moments in a byte each and fits into 12 GB. Code: float16.",
        default="float32",
    )
    seed: int = setting(
        "Seed of everything random: timesteps, noise, concepts, flips. The same seed on the same machine gives the "
        "same tokens.",
        Bounds(0, 2**64 - 1),
        default=0,
    )
    prior: Prior = setting(
        "What keeps the model from forgetting in phase 2 (prior preservation). class: pictures of another prompt, made "
        "beforehand (code). frozen: the untrained model's prediction outside the masks, without any pictures. off: "
        "nothing (paper's text)."
    )
    prior_weight: float = setting("Weight of the prior loss. Code: 1.0.", Bounds(0, 1000, 0.01), default=1.0)
    normalise: Normalise = setting(
        "How the masked loss is averaged. none: over the whole latent (paper and code), so that small things count "
        "little. area: over the mask."
    )
    attention_weight: float = setting(
        "Weight of the attention loss, which pulls each token's map towards its mask. Paper and code: 0.01. lora uses "
        "0.1, because its masked loss is a mean over the mask and so 3 to 10 times larger. 0 switches it off.",
        Bounds(0, 1000, 0.001),
        default=1e-2,
    )
    batch: int = setting("Pictures per step; memory grows with it. Code: 1.", Bounds(1, 64), default=1, advanced=True)
    templates: tuple[str, ...] = setting(
        "Sentences of which each step picks one, one per line, with {} where the handles go. Code: `a photo of {}`.",
        default=("a photo of {}",),
        advanced=True,
    )
    single: float | None = setting(
        "Probability that a step picks one concept alone; -1 means 1 / concepts (paper and code). A higher value "
        "makes prompts with several concepts worse.",
        Bounds(0, 1, 0.05),
        default=None,
        advanced=True,
    )
    flip: float = setting(
        "Probability that picture and masks are mirrored. Code: 0.5. 0 if left and right matter, as in writing.",
        Bounds(0, 1, 0.05),
        default=0.5,
        advanced=True,
    )
    outside_noise: float = setting(
        "Standard deviation of noise on the latent outside the masks, fading out towards the end (MagicTailor: 0.5). "
        "Paper and code: none, 0.",
        Bounds(0, 10, 0.05),
        default=0.0,
        advanced=True,
    )
    masked: bool = setting(
        "Learn only what is inside the masks of the concepts in the step. Paper and code: on. Off, over the whole "
        "picture, is the paper's ablation: tokens absorb the background.",
        default=True,
        advanced=True,
    )
    detach_maximum: bool = setting(
        "Treat a map's maximum as a constant in the gradient. Code: off.", default=False, advanced=True
    )
    norm_guard: float | None = setting(
        "How many times its initial length a token may grow to; 0 is no limit (paper and code). Long tokens drown out "
        "the rest of a prompt.",
        Bounds(1, 100, 0.1),
        default=None,
        advanced=True,
    )
    alpha: float = setting(
        "The low-rank additions count alpha / rank times. Equal to the rank by default, so that they count once.",
        Bounds(0.01, 4096, 0.5),
        default=16.0,
        advanced=True,
    )
    beta1: float = setting("AdamW's beta1. Paper and code: 0.9.", Bounds(0, 0.9999, 0.001), default=0.9, advanced=True)
    beta2: float = setting(
        "AdamW's beta2. Paper: 0.99, code: 0.999.", Bounds(0, 0.99999, 0.001), default=0.999, advanced=True
    )
    weight_decay: float = setting(
        "AdamW's weight decay. Paper: 1e-8, code: 1e-2.", Bounds(0, 1, 1e-8), default=1e-2, advanced=True
    )
    adam_epsilon: float = setting("AdamW's epsilon. Code: 1e-8.", Bounds(1e-12, 1, 1e-9), default=1e-8, advanced=True)
    clip: float = setting(
        "Gradients are clipped to this norm, all together. Code: 1.0. 0 is no limit.",
        Bounds(0, 1000, 0.1),
        default=1.0,
        advanced=True,
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value, bounds = getattr(self, each.name), each.metadata.get("bounds")
            if str(each.type).startswith("float") and type(value) is int:
                object.__setattr__(self, each.name, float(value))  # 1 and 1.0 are one setting
            if bounds and value is not None and not bounds.least <= value <= bounds.most:  # nan is not within them
                raise InputError(
                    f"Train Settings: {each.name} is {value}, but it has to be between {bounds.least:g} and "
                    f"{bounds.most:g}. Correct it."
                )
        if not self.steps:
            raise InputError("Train Settings: both phases have 0 steps. Raise those of at least one phase.")
        _check_templates(self.templates)

    @property
    def steps(self) -> int:
        """Steps of both phases."""
        return self.phase1_steps + self.phase2_steps

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic's type.

        Raises:
            InputError: the precision is `auto`, which whoever knows the device has to settle.
        """
        if self.precision == "auto":
            raise InputError("Train Settings: precision is auto and the device is not known. Choose one of the others.")
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]


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
        changes: fields of `Settings` that differ.

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
    Chosen on the demo model (`dev.py bench ablation`, on other scenes than those of docs/figures.md): the
    weight, of 0.01, 0.1 and 0.3; the rank, of 4 and 16; additions to the text encoder too, which let one token's thing
    leak less into another's pictures; the prior, of none and frozen; the rate, 1e-3 of 3e-4, 5e-4 and 1e-3 there, which
    makes 3e-4 for SD1.5: its layers are ten times as wide, so its weights are smaller by the root of ten.

    Args:
        changes: fields of `Settings` that differ.

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
