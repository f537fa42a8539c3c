"""How a node declares its widgets: a line of facts, then the tooltip.

    share("start", 0.05)("Share of the steps before the region is used.")

Each function here gives what takes the tooltip, so that no widget goes without one. What only some widgets have
(`advanced`, `optional`, `multiline`, `control_after_generate`) is passed on to the host's input by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from comfy_api.latest import io

from .bounds import SHARE, Bound

TakesTooltip = Callable[[str], io.Input]

_FIELDS = {field.name for field in dataclasses.fields(io.Schema)}
SHOWS_ON_THE_WAY: dict[str, Any] = {name: True for name in ("has_intermediate_output",) if name in _FIELDS}
"""For the schema of a node that shows something and ends nothing: answered from the cache, it is shown again.

Source: host contract, ComfyUI 0.33 `io.Schema.has_intermediate_output`; an older host has no such field.
"""


def choice(name: str, options: Iterable[str], default: str | None = None, **more: Any) -> TakesTooltip:
    """One of several words; the host's first where no default is named."""
    return lambda tooltip: io.Combo.Input(name, options=list(options), default=default, tooltip=tooltip, **more)


def text(name: str, default: str = "", **more: Any) -> TakesTooltip:
    """A line of text, or several with `multiline`."""
    return lambda tooltip: io.String.Input(name, default=default, tooltip=tooltip, **more)


def whole(name: str, default: int, bound: Bound, **more: Any) -> TakesTooltip:
    """A whole number."""
    least, most = int(bound.least), int(bound.most)
    return lambda tooltip: io.Int.Input(name, default=default, min=least, max=most, tooltip=tooltip, **more)


def number(name: str, default: float, bound: Bound, step: float, **more: Any) -> TakesTooltip:
    """A number; the editor's arrows change it by the step."""
    return lambda tooltip: io.Float.Input(
        name, default=default, min=bound.least, max=bound.most, step=step, tooltip=tooltip, **more
    )


def share(name: str, default: float, **more: Any) -> TakesTooltip:
    """A number from 0 to 1."""
    return number(name, default, SHARE, 0.05, **more)


def switch(name: str, default: bool = False, **more: Any) -> TakesTooltip:
    """Yes or no."""
    return lambda tooltip: io.Boolean.Input(name, default=default, tooltip=tooltip, **more)
