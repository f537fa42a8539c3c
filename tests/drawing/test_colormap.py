"""The editor colours maps as the nodes do."""

from __future__ import annotations

import base64
import re

import pytest
import torch
from pack.devtools.comfyui import ROOT
from pack.scenescope.drawing.colormap import colour


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_the_editors_table_holds_the_colours_of_the_pictures(name):
    """Oracle: the core's colours at 256 even steps, byte for byte."""
    script = (ROOT / "web" / "js" / "shared" / "colour.js").read_text("utf-8")
    (held,) = re.findall(rf'{name}:\s+"([^"]+)"', script)
    wanted = (colour(torch.arange(256) / 255, name) * 255).round().to(torch.uint8)
    assert base64.b64decode(held) == wanted.numpy().tobytes()
