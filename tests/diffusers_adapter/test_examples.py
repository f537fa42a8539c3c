"""The scripts under examples/ and the Python in every page run as they stand."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pack.devtools.as_pack import command
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(page for at in ("docs", "demo", "web/docs") for page in sorted((ROOT / at).glob("*.md"))),
]
EXAMPLES = {"where_words_went.py": [], "learn_a_token.py": ["--steps", "1", "1"]}
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, runpy, sys
for path, words in json.loads(sys.argv[1]):
    sys.argv = [path, *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(path, run_name="__main__")
    print(json.dumps([path, out.getvalue()]), flush=True)
"""


class Said:
    """What each script prints, in one process in which the pack has the name that it has when it is installed."""

    def __init__(self, folder: Path) -> None:
        text = "\n".join(page.read_text("utf-8") for page in PAGES)
        snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert "demo_pipeline()" in "".join(snippets)
        (folder / "snippets.py").write_text("\n".join(snippets), "utf-8")
        (folder / "all.py").write_text(ONE_AFTER_THE_OTHER, "utf-8")
        calls = [(str(ROOT / "examples" / name), ["--output", str(folder), *more]) for name, more in EXAMPLES.items()]
        words = command(folder / "all.py", json.dumps([(str(folder / "snippets.py"), []), *calls]), name="scenescope")
        self.errors, self.known = folder / "errors.txt", dict[str, str]()
        with self.errors.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)

    def __getitem__(self, name: str) -> str:
        while name not in self.known:
            line = self.process.stdout.readline()
            assert line, self.errors.read_text("utf-8")
            path, text = json.loads(line)
            self.known[Path(path).name] = text
        return self.known[name]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    """The scripts, begun; each test waits for its own."""
    begun = Said(tmp_path_factory.mktemp("examples"))
    yield begun
    begun.process.kill()
    begun.process.communicate()


def test_the_python_in_the_pages_runs(said):
    """Oracle: nothing is raised, from top to bottom, all snippets in one namespace."""
    assert "maps" in said["snippets.py"]


@pytest.mark.parametrize(("name", "pictures"), [("where_words_went.py", 5), ("learn_a_token.py", 3)])
def test_an_example_runs_and_leaves_pictures(said, name, pictures):
    """Oracle: every picture that it names can be opened and is not blank."""
    named = [Path(line) for line in said[name].splitlines() if line.endswith(".png")]
    assert len(named) == pictures
    for path in named:
        low, high = Image.open(path).convert("L").getextrema()
        assert low < high, path.name
