"""The scripts under examples/ and the snippets of their page run as they stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"where_words_went.py": [], "learn_a_token.py": ["--steps", "1", "1"]}
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, runpy, sys
said = {}
for path, words in json.loads(sys.argv[1]):
    sys.argv = [path, *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(path, run_name="__main__")
    said[path] = out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each script prints, in one process in which the pack has the name that it has when it is installed."""
    folder = tmp_path_factory.mktemp("examples")
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert snippets
    (folder / "snippets.py").write_text("\n".join(snippets), "utf-8")
    (folder / "all.py").write_text(ONE_AFTER_THE_OTHER, "utf-8")
    calls = [(str(ROOT / "examples" / name), ["--output", str(folder), *more]) for name, more in EXAMPLES.items()]
    calls.append((str(folder / "snippets.py"), []))
    command = [sys.executable, ROOT / "devtools" / "as_pack.py", "--as", "scenescope", folder / "all.py"]
    done = subprocess.run([*map(str, command), json.dumps(calls)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {Path(path).name: text for path, text in json.loads(done.stdout.splitlines()[-1]).items()}


def test_the_snippets_of_the_page_run(said):
    """Oracle: nothing is raised, from top to bottom."""
    assert "maps" in said["snippets.py"]


@pytest.mark.parametrize(("name", "pictures"), [("where_words_went.py", 5), ("learn_a_token.py", 3)])
def test_an_example_runs_and_leaves_pictures(said, name, pictures):
    """Oracle: every picture that it names can be opened and is not blank."""
    named = [Path(line) for line in said[name].splitlines() if line.endswith(".png")]
    assert len(named) == pictures
    for path in named:
        low, high = Image.open(path).convert("L").getextrema()
        assert low < high, path.name
