"""The scripts under examples/ and the snippets of their page run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run_script(script: Path, *words: object) -> str:
    """Run a script in which the pack has the name that it has when it is installed; what it prints."""
    command = [sys.executable, ROOT / "devtools" / "as_pack.py", "--as", "scenescope", script, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_snippets_of_the_page_run(tmp_path: Path):
    """Oracle: nothing is raised, from top to bottom."""
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert snippets
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(snippets), "utf-8")
    assert "maps" in run_script(script)


@pytest.mark.parametrize(
    ("name", "words", "pictures"),
    [("where_words_went.py", (), 5), ("learn_a_token.py", ("--steps", 1, 1), 3)],
)
def test_an_example_runs_and_leaves_pictures(tmp_path: Path, name, words, pictures):
    """Oracle: every picture that it names can be opened and is not blank."""
    said = run_script(ROOT / "examples" / name, "--output", tmp_path, *words)
    named = [Path(line) for line in said.splitlines() if line.endswith(".png")]
    assert len(named) == pictures
    for path in named:
        low, high = Image.open(path).convert("L").getextrema()
        assert low < high, path.name
