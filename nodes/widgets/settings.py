"""The widgets of Train Settings: one for each setting, with the presets' values."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, get_args, get_type_hints

from comfy_api.latest import io

from ...scenescope.training.settings import Settings, full_settings, lora_settings

PRESETS = {"lora": lora_settings(precision="auto"), "full": full_settings(precision="auto")}
NONE = {"single": -1.0, "norm_guard": 0.0}
"""What a widget says for None."""


def setting_inputs(preset: Settings) -> list[io.Input]:
    """All widgets with a preset's values, in the order of the fields."""
    types = get_type_hints(Settings)
    return [_input(each, types[each.name], preset) for each in fields(Settings) if each.name != "mode"]


def settings_of(chosen: dict[str, Any]) -> Settings:
    """Read the widgets.

    Args:
        chosen: of the preset's widget: its name under `preset`, and every setting.
    """
    values = dict(chosen)
    mode = values.pop("preset")
    values["templates"] = tuple(line.strip() for line in values["templates"].splitlines() if line.strip())
    values |= {name: None for name, none in NONE.items() if values[name] <= none}
    return Settings(mode=mode, **values)


def _input(each: Field[Any], kind: Any, preset: Settings) -> io.Input:
    value, bounds = getattr(preset, each.name), each.metadata["bounds"]
    words: dict[str, Any] = {"advanced": True} if each.metadata["advanced"] else {}
    words["tooltip"] = each.metadata["says"]
    if each.name == "rank" and preset.mode == "full":
        words["tooltip"] += " Not used by full."
    if kind is bool:
        return io.Boolean.Input(each.name, default=value, **words)
    if each.name == "templates":
        return io.String.Input(each.name, default="\n".join(value), multiline=True, **words)
    if bounds is None:
        return io.Combo.Input(each.name, options=list(get_args(kind)), default=value, **words)
    if kind is int:
        seed = {"control_after_generate": io.ControlAfterGenerate.fixed} if each.name == "seed" else {}
        return io.Int.Input(
            each.name, default=value, min=int(bounds.least), max=int(bounds.offered or bounds.most), **seed, **words
        )
    least, fine = NONE.get(each.name, bounds.least), {"round": False} if bounds.step < 1e-4 else {}
    shown = NONE[each.name] if value is None else value
    return io.Float.Input(each.name, default=shown, min=least, max=bounds.most, step=bounds.step, **fine, **words)
