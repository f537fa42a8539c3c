"""Other programs, run to their end. Standard library only."""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import Any


def run_to_its_end(command: list[str], **options: Any) -> int:
    """Run a command and return its exit status.

    Ctrl-C reaches the command too, which may be saving what it has: it is waited for. It is noted meanwhile and not
    raised, because an error in the middle of `Popen.wait` can leave its lock taken for good.

    Args:
        command: the words.
        options: of `subprocess.Popen`.

    Raises:
        KeyboardInterrupt: it was interrupted, and has ended since.
    """
    pressed: list[int] = []
    hears = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number)) if hears else None
    try:
        with subprocess.Popen(command, **options) as process:
            status = process.wait()
    finally:
        if hears:
            signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
    return status
