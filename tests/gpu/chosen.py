"""Which device these tests run on: CUDA's, or the pretended one where `REHEARSE` is set in the environment."""

from __future__ import annotations

import os
from typing import Any

import torch

REHEARSE = "SCENESCOPE_REHEARSE"
"""Set, the tests run on the pretended device, each once: whether they run at all is what is asked."""
PRETENDED = REHEARSE in os.environ
THERE = PRETENDED or torch.cuda.is_available()
if PRETENDED:
    from pack.tests.rehearsal import device  # noqa: F401  which makes `torch.pretend`
MODULE: Any = torch.get_device_module("pretend" if PRETENDED else "cuda")
