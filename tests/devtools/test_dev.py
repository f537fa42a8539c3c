"""The command line says how it went."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pack.devtools import demo

ROOT = Path(__file__).resolve().parents[2]


def run_python(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a developer does, in the repository's root."""
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def test_a_required_host_that_is_missing_is_an_error_that_says_what_to_do(tmp_path):
    """Oracle: the exit status and the message. `HOME` and `USERPROFILE` hold no ComfyUI."""
    places = {"COMFYUI_PATH": "", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    places["SCENESCOPE_CACHE"] = str(tmp_path / "cache")
    done = run_python("dev.py", "test", "--require-host", **places)
    assert done.returncode != 0
    assert "No ComfyUI was found" in done.stderr
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
    count = "from devtools import setup, tiers; import sys, pathlib\n"
    count += f"print(tiers.pytest_tier({str(tmp_path)!r})(setup.Setup(pathlib.Path(sys.executable), None)))"
    assert "Outcome(passed=2, failed=2)" in run_python("-c", count).stdout


def test_a_tier_that_cannot_start_counts_as_a_failure():
    """Oracle: pytest's exit status for a folder that is not there."""
    count = "from devtools import setup, tiers; import sys, pathlib\n"
    count += "print(tiers.pytest_tier('tests/nowhere')(setup.Setup(pathlib.Path(sys.executable), None)))"
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
import os, pathlib, sys
from devtools import benching, command_line
benching.ROOT = pathlib.Path({str(tmp_path)!r})
benching.Setup.make = lambda *words: benching.Setup(pathlib.Path(sys.executable), None)
os.chdir(benching.ROOT / "here")
sys.exit(command_line.main(["bench", "where", "--scene", "photo"]))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert f"at {tmp_path / 'here'} ['--scene', 'photo']" in done.stdout


def test_the_tiers_run_side_by_side_and_each_speaks_as_a_whole():
    """Oracle: by hand: two tiers wait for each other's file; the longest begins first; the report keeps the order."""
    script = """
import pathlib, sys, tempfile
from devtools import command_line, testing, tiers
place = pathlib.Path(tempfile.mkdtemp())
def code(own, other):
    return (f"import pathlib, time\\npathlib.Path({str(place / own)!r}).touch()\\nprint('{own} says')\\n"
            f"while not pathlib.Path({str(place / other)!r}).exists(): time.sleep(0.01)\\nprint('{own} ends')")
def tier(text, minutes):
    return tiers.Tier(lambda setup: tiers.Outcome(int(setup.call(sys.executable, "-c", text) == 0), 0), (), minutes)
missing = tiers.Tier(None, (lambda comfyui: "no reason.",))
testing.TIERS = {"a": tier(code("a", "b"), 1), "gone": missing, "b": tier(code("b", "a"), 2), "c": tier("", 0.1)}
testing.os.cpu_count = lambda: 2
testing.find_comfyui = lambda: None
testing.Setup.make = lambda *words: testing.Setup(pathlib.Path(sys.executable), None)
sys.exit(command_line.main(["test"]))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("b has started")
    for name in "ab":
        assert lines[lines.index(f"{name} says") + 1] == f"{name} ends"
    assert [line.split()[0] for line in lines[-6:-2]] == ["a", "gone", "b", "c"]
    assert lines[-2:] == ["ran: a, b, c; did not run: gone", "3 passed, 0 failed"]


def test_an_old_python_is_told_so_in_a_sentence():
    """Oracle: the message, in a Python that says it is old; and the file is one that Python 3.4 could read."""
    script = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path('dev.py', run_name='__main__')"
    done = run_python("-c", script)
    assert done.returncode == 1
    assert done.stderr == "dev.py: this is Python 3.9, but 3.10 or newer is needed.\n"
    text = (ROOT / "dev.py").read_text("utf-8")
    ast.parse(text, feature_version=(3, 4))
    assert "from __future__" not in text  # what 3.6 does not know is an error of syntax there


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("KeyboardInterrupt()", "Stopped."),
        ("OSError(28, 'No space left on device', 'there')", "dev.py: The disk is full: there could not be written."),
        ("TroubleError('It rains.')", "dev.py: It rains."),
    ],
)
def test_trouble_ends_in_a_sentence_and_not_in_a_traceback(raised, told):
    """Oracle: what is written to the error stream, by hand."""
    script = f"""
import sys
from devtools import command_line
from devtools.trouble import TroubleError
def fail(options):
    raise {raised}
command_line.test = fail
sys.exit(command_line.main(["test"]))
"""
    done = run_python("-c", script)
    assert done.returncode == 1
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_of_ours_keeps_its_traceback():
    """Oracle: the traceback; nothing that is not the machine's trouble is hidden."""
    script = """
import sys
from devtools import command_line
def fail(options):
    raise FileNotFoundError(2, "a file of the pack", "there")
command_line.test = fail
sys.exit(command_line.main(["test"]))
"""
    assert "Traceback" in run_python("-c", script).stderr


def test_a_machine_that_can_get_no_comfyui_does_the_demo_without_one():
    """Oracle: by hand: the reason in one line, then the example scripts, under the name of the installed package."""
    script = """
import pathlib, sys
from devtools import command_line, demo
from devtools.trouble import TroubleError
def get_comfyui():
    raise TroubleError("ComfyUI could not be got: there is no network.")
demo.find_comfyui, demo.get_comfyui = lambda: None, get_comfyui
class Said(demo.Setup):
    @classmethod
    def make(cls, comfyui):
        assert comfyui is None
        return cls(pathlib.Path(sys.executable), None)
    def call(self, *words):
        print(*(pathlib.Path(str(word)).name for word in words[1:5]), flush=True)
        return 0
demo.Setup = Said
sys.exit(command_line.main(["demo"]))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("==")]
    assert lines[0] == ("ComfyUI could not be got: there is no network. The demo does the same job without ComfyUI.")
    assert lines[1:3] == [
        "as_pack.py --as scenescope where_words_went.py",
        "as_pack.py --as scenescope learn_a_token.py",
    ]
    assert lines[3].startswith("The pictures are in ")


def test_the_demo_begins_with_what_one_learns_first_and_leaves_no_example_out():
    """Oracle: the files that there are, and the example that the README begins with."""
    files = demo.learning_order()
    assert files[0].stem == "first_heatmap"
    assert sorted(files) == sorted((ROOT / "example_workflows").glob("*.json"))


def test_tests_on_a_machine_that_can_get_no_comfyui_go_on_without_unless_it_is_required():
    """Oracle: by hand: the reason and the tiers that ran; with --require-host the reason alone."""
    script = """
import pathlib, sys
from devtools import command_line, testing, tiers
from devtools.trouble import TroubleError
def get_comfyui():
    raise TroubleError("ComfyUI could not be got: there is no network.")
testing.find_comfyui, testing.get_comfyui = lambda: None, get_comfyui
testing.Setup.make = lambda *words: testing.Setup(pathlib.Path(sys.executable), None)
testing.TIERS = {
    "lint": tiers.Tier(lambda setup: tiers.Outcome(1, 0)),
    "host": tiers.Tier(None, (tiers.a_host,)),
}
sys.exit(command_line.main(["test", "--get-host", *sys.argv[1:]]))
"""
    done = run_python("-c", script)
    assert done.stdout.startswith("ComfyUI could not be got: there is no network. The tiers that need one are left")
    assert done.stdout.endswith("ran: lint; did not run: host\n1 passed, 0 failed\n")
    done = run_python("-c", script, "--require-host")
    assert done.returncode == 1
    assert done.stderr == "dev.py: ComfyUI could not be got: there is no network.\n"
