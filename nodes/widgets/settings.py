"""The widgets of Train Settings: one for each knob, with the presets' values."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...scenescope.training.settings import Settings, full_settings, lora_settings

PRESETS = {"lora": lora_settings(), "full": full_settings()}
RATES = {"min": 1e-9, "max": 1.0, "step": 1e-7, "round": False}


def knobs(preset: Settings) -> list[io.Input]:
    """All widgets with a preset's values."""
    groups = (_length_knobs, _model_knobs, _loss_knobs, _drawing_knobs, _method_knobs, _optimiser_knobs)
    return [knob for group in groups for knob in group(preset)]


def settings_of(chosen: dict[str, Any]) -> Settings:
    """Read the widgets.

    Args:
        chosen: of the preset's widget: its name under `preset`, and every knob.
    """
    values = dict(chosen)
    mode = values.pop("preset")
    values["templates"] = tuple(line.strip() for line in values["templates"].splitlines() if line.strip())
    values["single"] = values["single"] if values["single"] >= 0 else None
    values["norm_guard"] = values["norm_guard"] or None
    return Settings(mode=mode, **values)


def _length_knobs(preset: Settings) -> list[io.Input]:
    """How long each phase is, and how fast it learns."""
    return [
        io.Int.Input(
            "phase1_steps",
            default=preset.phase1_steps,
            min=0,
            max=1_000_000,
            tooltip="Steps that train the new tokens only. Paper and code: 400.",
        ),
        io.Int.Input(
            "phase2_steps",
            default=preset.phase2_steps,
            min=0,
            max=1_000_000,
            tooltip="Steps that train the model's weights together with the tokens. Paper and code: 400. 0 trains "
            "only the tokens, which are ordinary embeddings.",
        ),
        io.Float.Input(
            "phase1_rows_rate",
            default=preset.phase1_rows_rate,
            **RATES,
            tooltip="Learning rate of the tokens in phase 1. Paper and code: 5e-4.",
        ),
        io.Float.Input(
            "phase2_rows_rate",
            default=preset.phase2_rows_rate,
            **RATES,
            tooltip="Learning rate of the tokens in phase 2. Paper and code: 2e-6, the same as for the weights.",
        ),
        io.Float.Input(
            "weights_rate",
            default=preset.weights_rate,
            **RATES,
            tooltip="Learning rate of the weights in phase 2. Paper and code: 2e-6 for whole weights; low-rank "
            "additions want some 100 times more: on the demo model 1e-3 was best, which its narrower layers make "
            "3e-4 here.",
        ),
    ]


def _model_knobs(preset: Settings) -> list[io.Input]:
    """What of the model is trained, and in which arithmetic."""
    return [
        io.Int.Input(
            "rank",
            default=preset.rank,
            min=1,
            max=1024,
            tooltip="Of the low-rank additions: more can hold more, and is a larger file. 16 is 38 MB for SD1.5. "
            + ("" if preset.mode == "lora" else "Not used by full."),
        ),
        io.Boolean.Input(
            "text_encoder",
            default=preset.text_encoder,
            tooltip="Train the text encoder's weights too in phase 2. Paper and code: on. On for lora as well: on the "
            "demo model, tokens then leak less into each other's pictures.",
        ),
        io.Combo.Input(
            "precision",
            options=["float32", "bfloat16", "float16"],
            default=preset.precision,
            tooltip="Of the arithmetic; what is trained is in single precision always. Code: float16. float32 is the "
            "exact one, and the only one worth its while on a CPU; bfloat16 halves memory on newer GPUs.",
        ),
        io.Int.Input(
            "seed",
            default=preset.seed,
            min=0,
            max=2**64 - 1,
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Seed of everything random: timesteps, noise, concepts, flips. The same seed on the same machine "
            "gives the same tokens.",
        ),
    ]


def _loss_knobs(preset: Settings) -> list[io.Input]:
    """The losses and their weights."""
    return [
        io.Combo.Input(
            "prior",
            options=["frozen", "class", "off"],
            default=preset.prior,
            tooltip="What keeps the model from forgetting in phase 2 (prior preservation). class: pictures of another "
            "prompt, made beforehand (code). frozen: the untrained model's prediction outside the masks, without any "
            "pictures. off: nothing (paper's text).",
        ),
        io.Float.Input(
            "prior_weight",
            default=preset.prior_weight,
            min=0.0,
            max=1000.0,
            step=0.01,
            tooltip="Weight of the prior loss. Code: 1.0.",
        ),
        io.Combo.Input(
            "normalise",
            options=["area", "none"],
            default=preset.normalise,
            tooltip="How the masked loss is averaged. none: over the whole latent (paper and code), so that small "
            "things count little. area: over the mask.",
        ),
        io.Float.Input(
            "attention_weight",
            default=preset.attention_weight,
            min=0.0,
            max=1000.0,
            step=0.001,
            tooltip="Weight of the attention loss, which pulls each token's map towards its mask. Paper and code: "
            "0.01. lora uses 0.1, because its masked loss is a mean over the mask and so 3 to 10 times larger. 0 "
            "switches it off.",
        ),
    ]


def _drawing_knobs(preset: Settings) -> list[io.Input]:
    """What a step draws."""
    return [
        io.Int.Input(
            "batch",
            default=preset.batch,
            min=1,
            max=64,
            advanced=True,
            tooltip="Pictures per step; memory grows with it. Code: 1.",
        ),
        io.String.Input(
            "templates",
            default="\n".join(preset.templates),
            multiline=True,
            advanced=True,
            tooltip="Sentences of which each step picks one, one per line, with {} where the handles go. Code: `a "
            "photo of {}`.",
        ),
        io.Float.Input(
            "single",
            default=-1.0 if preset.single is None else preset.single,
            min=-1.0,
            max=1.0,
            step=0.05,
            advanced=True,
            tooltip="Probability that a step picks one concept alone; -1 means 1 / concepts (paper and code). More "
            "makes prompts with several concepts worse.",
        ),
        io.Float.Input(
            "flip",
            default=preset.flip,
            min=0.0,
            max=1.0,
            step=0.05,
            advanced=True,
            tooltip="Probability that picture and masks are mirrored. Code: 0.5. 0 where left and right matter, as in "
            "writing.",
        ),
        io.Float.Input(
            "outside_noise",
            default=preset.outside_noise,
            min=0.0,
            max=10.0,
            step=0.05,
            advanced=True,
            tooltip="Standard deviation of noise on the latent outside the masks, fading out towards the end "
            "(MagicTailor: 0.5). Paper and code: none, 0.",
        ),
    ]


def _method_knobs(preset: Settings) -> list[io.Input]:
    """What is seldom changed about losses, tokens and additions."""
    return [
        io.Boolean.Input(
            "masked",
            default=preset.masked,
            advanced=True,
            tooltip="Learn only what is inside the masks of the concepts in the step. Paper and code: on. Off, over "
            "the whole picture, is the paper's ablation: tokens absorb the background.",
        ),
        io.Boolean.Input(
            "detach_maximum",
            default=preset.detach_maximum,
            advanced=True,
            tooltip="Whether a map's maximum counts as a constant in the gradient. Code: off.",
        ),
        io.Float.Input(
            "norm_guard",
            default=preset.norm_guard or 0.0,
            min=0.0,
            max=100.0,
            step=0.1,
            advanced=True,
            tooltip="How many times its first length a token may grow to; 0 is no limit (paper and code). Long tokens "
            "drown out the rest of a prompt.",
        ),
        io.Float.Input(
            "alpha",
            default=preset.alpha,
            min=0.01,
            max=4096.0,
            step=0.5,
            advanced=True,
            tooltip="The low-rank additions count alpha / rank times. Equal to the rank by default, so that they "
            "count once.",
        ),
    ]


def _optimiser_knobs(preset: Settings) -> list[io.Input]:
    """AdamW."""
    return [
        io.Float.Input(
            "beta1",
            default=preset.beta1,
            min=0.0,
            max=0.9999,
            step=0.001,
            advanced=True,
            tooltip="AdamW's beta1. Paper and code: 0.9.",
        ),
        io.Float.Input(
            "beta2",
            default=preset.beta2,
            min=0.0,
            max=0.99999,
            step=0.001,
            advanced=True,
            tooltip="AdamW's beta2. Paper: 0.99, code: 0.999.",
        ),
        io.Float.Input(
            "weight_decay",
            default=preset.weight_decay,
            min=0.0,
            max=1.0,
            step=1e-8,
            round=False,
            advanced=True,
            tooltip="AdamW's weight decay. Paper: 1e-8, code: 1e-2.",
        ),
        io.Float.Input(
            "adam_epsilon",
            default=preset.adam_epsilon,
            min=1e-12,
            max=1.0,
            step=1e-9,
            round=False,
            advanced=True,
            tooltip="AdamW's epsilon. Code: 1e-8.",
        ),
        io.Float.Input(
            "clip",
            default=preset.clip,
            min=0.0,
            max=1000.0,
            step=0.1,
            advanced=True,
            tooltip="Gradients are clipped to this norm, all together. Code: 1.0. 0 is no limit.",
        ),
    ]
