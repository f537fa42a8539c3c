"""The command line says how it went."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_python(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a developer does, in the repository's root."""
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def test_a_required_host_that_is_missing_is_an_error_that_says_what_to_do(tmp_path):
    """Oracle: the exit status and the message. `HOME` and `USERPROFILE` hold no ComfyUI."""
    places = {"COMFYUI_PATH": "", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = run_python("dev.py", "test", "--require-host", **places)
    assert done.returncode != 0
    assert "no ComfyUI was found" in done.stderr
    assert "--get-host" in done.stderr


def test_a_tier_counts_what_passed_and_what_failed(tmp_path):
    """Oracle: a test file written by hand: two pass, one fails, one fixture breaks, one is not run."""
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_a(): pass\n"
        "def test_b(): pass\n"
        "def test_c(): assert False\n"
        "def test_d(broken): pass\n"
        "@pytest.mark.parametrize('nothing', [])\n"
        "def test_e(nothing): pass\n",
        "utf-8",
    )
    count = "import dev, sys, pathlib; setup = dev.Setup(pathlib.Path(sys.executable), None)\n"
    count += f"print(dev.pytest_tier({str(tmp_path)!r})(setup))"
    assert "Outcome(passed=2, failed=2)" in run_python("-c", count).stdout


def test_a_tier_that_cannot_start_counts_as_a_failure():
    """Oracle: pytest's exit status for a folder that is not there."""
    count = "import dev, sys, pathlib; setup = dev.Setup(pathlib.Path(sys.executable), None)\n"
    count += "print(dev.pytest_tier('tests/nowhere')(setup))"
    assert "Outcome(passed=0, failed=1)" in run_python("-c", count).stdout


def test_a_script_can_import_the_pack(tmp_path):
    """Oracle: what the script prints; benchmarks run this way."""
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom pack.scenescope import errors\nprint(errors.__name__, sys.argv[1:])\n", "utf-8")
    done = run_python("devtools/as_pack.py", script, "first", "second")
    assert done.stdout.strip() == "pack.scenescope.errors ['first', 'second']", done.stderr


def test_an_unknown_benchmark_is_refused_by_name():
    """Oracle: the message."""
    done = run_python("dev.py", "bench", "nonesuch")
    assert done.returncode != 0
    assert "nonesuch is not among the benchmarks" in done.stderr


def test_a_benchmark_stands_where_the_user_stands(tmp_path):
    """Oracle: by hand: the folder from which `dev.py bench` was called, for a benchmark that prints its own."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "where.py").write_text("import os, sys; print('at', os.getcwd(), sys.argv[1:])", "utf-8")
    (tmp_path / "__init__.py").touch()
    (tmp_path / "devtools").mkdir()
    shutil.copy(ROOT / "devtools" / "as_pack.py", tmp_path / "devtools")
    (tmp_path / "here").mkdir()
    script = f"""
import dev, os, pathlib, sys
dev.ROOT = pathlib.Path({str(tmp_path)!r})
dev.Setup.make = lambda *words: dev.Setup(pathlib.Path(sys.executable), None)
os.chdir(dev.ROOT / "here")
sys.exit(dev.bench(dev.read(["bench", "where", "--scene", "photo"])))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert f"at {tmp_path / 'here'} ['--scene', 'photo']" in done.stdout


def test_the_browser_tier_runs_beside_the_others_and_speaks_after_them():
    """Oracle: by hand: it waits for a file that only the tier before it in the list writes, and is shown last."""
    script = """
import argparse, dev, pathlib, sys, tempfile
place = pathlib.Path(tempfile.mkdtemp()) / "there"
waits = f"import pathlib, time\\nwhile not pathlib.Path({str(place)!r}).exists(): time.sleep(0.01)\\nprint('late')"
writes = f"import pathlib\\npathlib.Path({str(place)!r}).touch()\\nprint('early')"
tier = lambda code: lambda setup: dev.Outcome(int(setup.call(sys.executable, "-c", code) == 0), 0)
dev.TIERS = {"core": tier(writes), "web": tier(waits), "gpu": tier("print('last')")}
dev.why_not = lambda *words: None
dev.Setup.make = lambda *words: dev.Setup(pathlib.Path(sys.executable), None)
sys.exit(dev.test(argparse.Namespace(require_host=False, only=None, k=None)))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line in ("early", "late", "last")]
    assert said == ["early", "last", "late"]
    assert [line.split()[0] for line in done.stdout.splitlines()[-4:-1]] == ["core", "web", "gpu"]
    assert done.stdout.endswith("3 passed, 0 failed\n")
