"""Other programs, run to their end. Standard library only."""

from __future__ import annotations

import subprocess
from typing import Any


def run_to_its_end(command: list[str], **options: Any) -> int:
    """Run a command and return its exit status.

    Ctrl-C reaches the command too, which may be saving what it has: it is waited for.

    Args:
        command: the words.
        options: of `subprocess.Popen`.

    Raises:
        KeyboardInterrupt: it was interrupted, and has ended since.
    """
    interrupted = None
    with subprocess.Popen(command, **options) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt as interrupt:  # noqa: PERF203 - it is a wait, once or twice
                interrupted = interrupt
    if interrupted:
        raise interrupted
    return process.returncode
