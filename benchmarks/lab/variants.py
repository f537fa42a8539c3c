"""The ways to train that are compared, each written as a short text: a name, and what differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pack.scenescope.training.settings import Settings, full_settings, lora_settings

UNTRAINED = "untrained"
"""No training: the prompt names the words that the concepts would begin as."""
Rates = Mapping[str, Mapping[str, Any]]
DEMO_RATES: Rates = {
    "full": {"phase1_rows_rate": 5e-3, "weights_rate": 2e-4, "phase2_rows_rate": 1e-4, "prior": "off"},
    "lora": {"phase1_rows_rate": 5e-3, "phase2_rows_rate": 1e-3, "weights_rate": 1e-3, "prior": "off"},
}
"""Mode -> what the demo model wants otherwise: its rows are longer, and its layers narrower, than SD1.5's.

Without a prior: one takes as long again as the rest of a step, and is none of the parts that the paper's table leaves
out. `full:prior=class` and `lora:prior=frozen` are the methods with theirs.
"""
OWN_RATES: Rates = {"full": {}, "lora": {}}
"""For SD1.5, the settings' own."""
WITHOUT: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("", {}),
    "-masks": (" without masked loss", {"masked": False}),
    "-attention": (" without attention loss", {"attention_weight": 0.0}),
    "-union": (" without union sampling", {"single": 1.0}),
    "-phase1": (" without phase 1", {"phase1_steps": 0}),
}
"""What is left out, as names and titles have it, and the settings that leave it out."""
TITLES = {
    **{f"{mode}{name}": f"{mode}{title}" for mode in ("full", "lora") for name, (title, _) in WITHOUT.items()},
    UNTRAINED: "no training, starting words",
    "foreign": "floor: unrelated things",
    "coloured": "floor: only colours right",
    "mirrored": "ceiling: true picture, mirrored",
    "reconstructed": "ceiling: true picture through the autoencoder",
    "true": "ceiling: true picture",
}
WITHOUT_TRAINING = (UNTRAINED, "foreign", "coloured", "mirrored", "reconstructed", "true")
"""Need no settings; all but the first need no sampling either: `bounds` draws them."""
DEFAULT = ("full", "full-masks", "full-attention", "full-union", "full-phase1", "lora", *WITHOUT_TRAINING)


SWITCH = {"true": True, "false": False}


def title_of(variant: str) -> str:
    """What the table calls a way to train.

    >>> title_of("full-masks"), title_of("lora:rank=4")
    ('full without masked loss', 'lora, rank=4')
    """
    name, _, changes = variant.partition(":")
    return ", ".join([TITLES[name], *(changes.split(",") if changes else [])])


def settings_of(variant: str, steps: tuple[int, int], seed: int, rates: Rates = DEMO_RATES) -> Settings:
    """Read a way to train.

    Args:
        variant: `full` or `lora`, perhaps `-` and what is left out, perhaps `:` and changes `field=value`, with commas.
        steps: of the two phases.
        seed: of the training.
        rates: for each mode, what the model wants otherwise.

    >>> settings_of("lora-phase1:rank=4,prior=off", (10, 20), 0).steps
    20
    """
    name, _, changes = variant.partition(":")
    mode, dash, without = name.partition("-")
    make = {"full": full_settings, "lora": lora_settings}[mode]
    preset = {**rates[mode], "seed": seed, "phase1_steps": steps[0], "phase2_steps": steps[1]}
    return make(**{**preset, **WITHOUT[dash + without][1], **read_changes(changes)})


def read_changes(text: str) -> dict[str, Any]:
    """Read `field=value` pairs with commas between, each value of its field's type.

    Raises:
        SystemExit: no setting has that name, or the value is none of its type's.

    >>> read_changes("rank=4,weights_rate=1e-3,text_encoder=True,single=none,prior=off")
    {'rank': 4, 'weights_rate': 0.001, 'text_encoder': True, 'single': None, 'prior': 'off'}
    """
    types = get_type_hints(Settings)
    read: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in types:
            raise SystemExit(f"bench: there is no setting {name!r}. Choose from {', '.join(types)}.")
        read[name] = _value(name, value, types[name])
    return read


def _value(name: str, text: str, kind: Any) -> Any:
    """A value as its setting has it: a number, a switch, one of some words, or `none`."""
    choices = get_args(kind)  # of a Literal its words, of `float | None` its types
    if get_origin(kind) is tuple:
        return (text,)
    if get_origin(kind) is Literal:
        if text in choices:
            return text
        raise _wrong(name, text, f"one of {', '.join(choices)}")
    if type(None) in choices and text.lower() == "none":
        return None
    if kind is bool:
        if text.lower() in SWITCH:
            return SWITCH[text.lower()]
        raise _wrong(name, text, "true or false")
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise _wrong(name, text, "a whole number" if kind is int else "a number") from None


def _wrong(name: str, text: str, wanted: str) -> SystemExit:
    return SystemExit(f"bench: {name} is {text!r}, but it has to be {wanted}.")
