"""Find a Chromium on this machine. Standard library only."""

from __future__ import annotations

import os
import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
HOW_TO_GET_ONE = "Install one, or set CHROMIUM_PATH to it."


def find_browser() -> str | None:
    """Return `$CHROMIUM_PATH`, or the first browser of the family that is on the path, or None."""
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
