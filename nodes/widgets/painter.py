"""What every node with a painter has beside the painter itself."""

from __future__ import annotations

from comfy_api.latest import io

PICTURE_EVENT = "scenescope.picture"
"""Tells the front end which picture came in, before anything is asked of what was painted on it."""


def painting(display_name: str, tooltip: str, *, advanced: bool | None = None) -> io.Input:
    """The painter: the painting's file in the input folder."""
    return io.String.Input(
        "mask",  # host contract, ComfyUI 0.33: the painter looks for a widget of this name
        default="",
        display_name=display_name,
        optional=True,
        socketless=True,
        advanced=advanced,
        extra_dict={"widgetType": "PAINTER", "image_upload": True},
        tooltip=tooltip,
    )


def copied_painting() -> io.Input:
    """The painting's file once more, for farms."""
    return io.String.Input(
        "file",  # farms copy what `image`, `video`, `audio` and `file` name: ComfyUI-Distributed, `media_sync.py`
        default="",
        display_name="painting's copy",
        optional=True,
        socketless=True,
        advanced=True,
        extra_dict={"hidden": True},
        tooltip="For render farms; filled in when you queue. It names the painting's file a second time, in an input "
        "where farms look for files to copy, and is read only if the painting itself isn't on the machine.",
    )
