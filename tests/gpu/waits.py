"""How often the host waited for the device, by torch's own count."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pack.tests.gpu.chosen import MODULE

WORDS = "synchronizing CUDA operation"


@contextlib.contextmanager
def counting_waits() -> Iterator[Counter[str]]:
    """Count until left: the line that waited, and how often.

    Source: `torch.cuda.set_sync_debug_mode`, which warns of each; it does not see waits for an event or a stream.
    """
    found: Counter[str] = Counter()
    before = MODULE.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        MODULE.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            MODULE.set_sync_debug_mode(before)
            for warning in told:
                if WORDS in str(warning.message):
                    found[f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"] += 1
