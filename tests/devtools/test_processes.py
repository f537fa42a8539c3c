"""Programs that are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""Where a shell starts something behind its back, Ctrl-C is ignored, in all that comes of it too."""
SAVING = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("saving", flush=True)
    time.sleep(1)
    open("saved", "w").close()
"""

if hasattr(os, "killpg"):  # where a test can press Ctrl-C

    def test_ctrl_c_lets_a_command_save_before_all_ends(tmp_path):
        """Oracle: the file that it writes a second after it was interrupted; a second Ctrl-C changes nothing."""
        words, place = [sys.executable, "-c", HEARING + SAVING], str(tmp_path)
        script = f"from devtools.processes import run_to_its_end; print(run_to_its_end({words!r}, cwd={place!r}))"
        command, pipe = [sys.executable, "-c", HEARING + script], subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, start_new_session=True) as one:
            assert one.stdout is not None
            for state in (b"ready\n", b"saving\n"):
                assert one.stdout.readline() == state
                os.killpg(one.pid, signal.SIGINT)
            said, error = one.communicate(timeout=30)
        assert (tmp_path / "saved").exists()
        assert said == b""
        assert error.rstrip().endswith(b"KeyboardInterrupt")
