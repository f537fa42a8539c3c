"""Which device these tests run on: CUDA's, or the simulated one where `REHEARSE` is set in the environment."""

from __future__ import annotations

import os
from typing import Any

import torch

REHEARSE = "SCENESCOPE_REHEARSE"
"""Set, the tests run on the simulated device, each once: whether they run at all is what is asked."""
SIMULATED = REHEARSE in os.environ
THERE = SIMULATED or torch.cuda.is_available()
if SIMULATED:
    from pack.tests.rehearsal.simulated import device  # noqa: F401  which makes `torch.simulated`
MODULE: Any = torch.get_device_module("simulated" if SIMULATED else "cuda")
