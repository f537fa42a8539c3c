"""Prompts in API format, made from what a server says of its nodes."""

from __future__ import annotations

from typing import Any


def node(info: dict[str, Any], kind: str, **inputs: Any) -> dict[str, Any]:
    """One node of a prompt: the inputs given, and the defaults of the other required widgets."""
    return {"class_type": kind, "inputs": {**_defaults(info[kind]["input"]["required"]), **inputs}}


def choosing(info: dict[str, Any], kind: str, widget: str, choice: str, **inputs: Any) -> dict[str, Any]:
    """One node with a widget that brings widgets of its own: theirs are given without the widget's name before them."""
    options = info[kind]["input"]["required"][widget][1]["options"]
    (own,) = (option["inputs"]["required"] for option in options if option["key"] == choice)
    return {
        "class_type": kind,
        "inputs": {widget: choice, **{f"{widget}.{name}": value for name, value in (_defaults(own) | inputs).items()}},
    }


def _defaults(sections: dict[str, Any]) -> dict[str, Any]:
    widgets = {name: more for name, (_, *more) in sections.items()}
    return {name: more[0]["default"] for name, more in widgets.items() if more and "default" in more[0]}
